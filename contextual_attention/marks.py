"""What a mask marks as missing: the one reader of masks, however they were drawn.

The first of these that applies:

1. *Drawn on nothing*: some pixels are fully transparent and some are not. What is not is missing.
2. *Two colours*: 0 and 1, black and white, a palette of two. The lighter one is missing.
3. *More colours, or one*: what is light, one of its channels beyond the middle of the range, or coloured, its
   channels more than a quarter of the range apart, is missing.

With a threshold none of them: what has a grey value above it is missing, in the mask's own numbers.

Needs no Pillow itself: who has a picture of its has it.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np


class Marks(NamedTuple):
    """What a mask marks.

    Attributes:
        missing: (H, W) bool.
        seen: What the mask holds, in words, for a message to who finds nothing marked, or everything.
    """

    missing: np.ndarray
    seen: str


def read_marks(mask: Any, threshold: float | None = None) -> Marks:
    """Read a mask as the module says.

    Args:
        mask: A Pillow image of any mode.
        threshold: In the mask's own numbers: 0 to 255, or to 65535 of 16 bits. Default: rules 1 to 3.

    Raises:
        ValueError: Pixels that are no numbers, or colours that Pillow cannot turn into RGB.
    """
    grey, colours, white = _values(mask)
    seen = _described(grey, white)
    if threshold is not None:
        return Marks(grey > threshold, seen)
    drawn = _drawn(mask)
    if drawn is not None:
        return Marks(drawn, seen)
    lighter = _lighter_of_two(grey, colours)
    if lighter is not None:
        return Marks(lighter, seen)
    brightest = colours.max(2)
    # In floating point: the difference of unsigned numbers would be right, a quarter of 255 would not.
    return Marks((brightest > white / 2) | (brightest - colours.min(2) > white / 4), seen)


def _values(mask: Any) -> tuple[np.ndarray, np.ndarray, float]:
    """Grey values (H, W), channels (H, W, 1 or 3), and the number that stands for white."""
    if mask.mode == "F" or mask.mode.startswith("I"):
        grey = np.asarray(mask)
        if not np.isfinite(grey).all():
            raise ValueError("some of its pixels are no finite numbers")
        return grey, grey[..., None], 1.0 if mask.mode == "F" else 65535.0
    grey = np.asarray(mask.convert("L"))
    colourless = mask.mode in ("1", "L", "LA", "La")
    return grey, grey[..., None] if colourless else np.asarray(mask.convert("RGB")), 255.0


def _drawn(mask: Any) -> np.ndarray | None:
    """What is not fully transparent, where something is and something else is not."""
    if not mask.has_transparency_data or mask.mode.startswith("I"):
        return None
    drawn = np.asarray(mask.convert("RGBA").getchannel("A")) > 0
    return drawn if drawn.any() and not drawn.all() else None


def _lighter_of_two(grey: np.ndarray, colours: np.ndarray) -> np.ndarray | None:
    """Where a picture of two colours has the lighter one; None of a picture of one colour or more."""
    first = (colours == colours[0, 0]).all(2)
    others = colours[~first]
    if not len(others) or (others != others[0]).any():
        return None
    second = (*np.argwhere(~first)[0],)
    # Equally grey ones, such as a red and a green, are told apart by their channels: never by the place.
    ranks = [(grey[at], *colours[at].tolist()) for at in ((0, 0), second)]
    return first if ranks[0] > ranks[1] else ~first


def _described(grey: np.ndarray, white: float) -> str:
    least, most = grey.min(), grey.max()
    if least == most:
        return f"all of it has the grey value {least:g} of {white:g}"
    return f"its grey values run from {least:g} to {most:g} of {white:g}"
