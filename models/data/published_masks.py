"""The random holes of other publications' code, number by number as that code draws them.

Each function takes a size and a random state of the kind that its original draws from, and agrees with the
original pixel by pixel where nothing else is said. What is a slip in an original is kept, and named: holes
without slips, of any size, are those of masks.py and mask_kinds.py. Lengths are in pixels, for the size that
the original trains at.

Shape legend: H, W the image.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import Generic, NamedTuple, TypeVar

import numpy as np
import torch
from PIL import Image, ImageDraw

from .masks import Masks, Size, bounding_boxes, near_line

# Of what has to be drawn again: where this many in a row will not do, none will.
_ATTEMPTS = 1000

Corner = tuple[int, int]


class Hole(NamedTuple):
    """A hole, and the region around it.

    Attributes:
        missing: (H, W) bool, True where a pixel is missing.
        box: What a local critic sees: top, left, height, width; None: as `bounding_boxes` has it.
    """

    missing: np.ndarray
    box: tuple[int, int, int, int] | None = None


State = TypeVar("State")


class PublishedMasks(Generic[State]):
    """One of these functions as it is trained with: each sample a hole from a random state of its own.

    Most originals draw one hole for a batch.

    Args:
        draw: (size, state) to a hole.
        seeded: The state of a seed in [0, 2**32).
    """

    def __init__(self, draw: Callable[[Size, State], Hole], seeded: Callable[[int], State]) -> None:
        self.draw, self.seeded = draw, seeded

    def __call__(self, batch: int, size: Size, generator: torch.Generator) -> Masks:
        """Draw ``batch`` holes; the seeds are the generator's.

        Raises:
            ValueError: The publication's holes do not fit into an image of this size.
        """
        seeds = torch.randint(2**32, (batch,), generator=generator).tolist()
        holes = [self.draw(size, self.seeded(seed)) for seed in seeds]
        mask = torch.from_numpy(np.stack([hole.missing for hole in holes]))[:, None]
        boxes = bounding_boxes(mask)
        for sample, hole in enumerate(holes):
            if hole.box is not None:
                boxes[sample] = torch.tensor(hole.box)
        return Masks(mask, boxes)


def yu2019(size: Size, state: np.random.RandomState) -> Hole:
    """A box united with brush strokes, which DeepFill v2 is trained with.

    Yu et al. 2019, arXiv:1806.03589; code: JiahuiYu/generative_inpainting, v2.0.0, which draws the corner of
    the box by TensorFlow, and nipponjo/deepfillv2-pytorch, which draws all by NumPy, as here.

    Args:
        size: (H, W), both over 128; 256 x 256 in training.
        state: Of NumPy.

    Raises:
        ValueError: A smaller size.
    """
    box = yu2019_box(size, state)
    return Hole(box | yu2019_strokes(size, state))


def yu2019_box(size: Size, state: np.random.RandomState) -> np.ndarray:
    """The box alone: of 128 x 128, less 0 to 16 pixels on opposite sides; the last place is never taken."""
    _check_room("yu2019", size, 128 + 1)
    top, left = (state.randint(0, length - 128) for length in size)
    margins = [state.randint(0, 32 // 2 + 1) for _ in size]
    missing = np.zeros(size, bool)
    missing[top + margins[0] : top + 128 - margins[0], left + margins[1] : left + 128 - margins[1]] = True
    return missing


def yu2019_strokes(size: Size, state: np.random.RandomState) -> np.ndarray:
    """The strokes alone, drawn by Pillow; `free_form` is what they were meant to be.

    Two slips: x is held within H and y within W, so that in an image which is not square strokes leave out a
    part or go on outside; and two mirror images are made and thrown away, with two numbers drawn for them.
    """
    height, width = size
    picture = Image.new("L", (width, height))
    pen = ImageDraw.Draw(picture)
    for _ in range(state.randint(1, 4)):
        corners = _yu2019_corners(size, state)
        thickness = int(state.uniform(12, 40))
        radius = thickness // 2
        pen.line(corners, fill=1, width=thickness)
        for x, y in corners:
            pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=1)
    state.normal(size=2)
    return np.asarray(picture, bool)


def _yu2019_corners(size: Size, state: np.random.RandomState) -> list[Corner]:
    """The corners (x, y) of a stroke: a zigzag of 4 to 11 segments."""
    segments = state.randint(4, 12)
    mean, spread = 2 * math.pi / 5, 2 * math.pi / 15
    least, largest = mean - state.uniform(0, spread), mean + state.uniform(0, spread)
    angles = [state.uniform(least, largest) for _ in range(segments)]
    angles[::2] = [2 * math.pi - angle for angle in angles[::2]]
    step = math.hypot(*size) / 8
    x, y = (int(state.randint(0, limit)) for limit in size)
    corners = [(x, y)]
    for angle in angles:
        length = min(max(state.normal(step, step // 2), 0), 2 * step)
        x = int(min(max(x + length * math.cos(angle), 0), size[0]))
        y = int(min(max(y + length * math.sin(angle), 0), size[1]))
        corners.append((x, y))
    return corners


def _near_segment(missing: np.ndarray, start: Corner, end: Corner, thickness: int) -> None:
    """Mark the pixels about a line between (x, y) and (x, y) as missing, nearly as `cv2.line` does."""
    ends = [(float(y), float(x)) for x, y in (start, end)]
    missing |= near_line(ends, (thickness + 1) / 2, missing.shape).numpy()


def mmagic_irregular(
    size: Size,
    state: np.random.RandomState,
    draw_line: Callable[[np.ndarray, Corner, Corner, int], None] = _near_segment,
) -> Hole:
    """Crooked strokes that cover 15 to 65 % of the image, which mmagic trains DeepFill v2 with.

    open-mmlab/mmagic: 4 to 9 strokes of 1 to 5 segments. Three slips: angles, whole numbers and 0.01, are
    meant as parts of a turn and taken in radians; the sine goes with the rows; and the start is drawn with
    the limits of rows and columns in one order, and the lines with the other.

    Args:
        size: (H, W); 256 x 256 in training. Lengths and widths of strokes do not follow it.
        state: Of NumPy.
        draw_line: Marks a line (start and end as (x, y), width) in an array. The original's is OpenCV's, by
            which every pixel agrees; our own needs no OpenCV and differs from it in 0.2 to 0.7 % of the
            pixels, along the outlines.

    Raises:
        ValueError: A size so small that strokes cover more of it, or so large that they cover less.
    """
    for _ in range(_ATTEMPTS):
        missing = np.zeros(size, np.uint8)
        for stroke in range(state.randint(4, 10)):
            _mmagic_stroke(missing, stroke, state, draw_line)
        if 0.15 < missing.mean() < 0.65:
            return Hole(missing.astype(bool))
    raise ValueError(
        f"masks: the strokes of mmagic-irregular never covered 15 to 65 % of {size[0]} x {size[1]} pixels; "
        "expected a size nearer to 256 x 256, for which they are made, or masks of another kind"
    )


def _mmagic_stroke(
    missing: np.ndarray,
    number: int,
    state: np.random.RandomState,
    draw_line: Callable[[np.ndarray, Corner, Corner, int], None],
) -> None:
    height, width = missing.shape
    row, column = int(state.randint(width)), int(state.randint(height))  # the limits are exchanged
    segments = state.randint(1, 6)
    angles = 0.01 + state.randint(0, 6, segments)
    lengths = state.randint(20, 128, segments)
    widths = state.randint(10, 45, segments)
    for angle, length, thickness in zip(angles, lengths, widths.tolist(), strict=True):
        turn = angle if number % 2 else 2 * math.pi - angle
        start = (column, row)
        row, column = int(row + length * np.sin(turn)), int(column + length * np.cos(turn))
        draw_line(missing, start, (column, row), thickness)


def mmagic_box(size: Size, state: np.random.RandomState) -> Hole:
    """One box, which mmagic trains its Iizuka et al. with.

    Of 128 x 128, at least 20 pixels from every side of the image, less 0 to 20 pixels at the top and at the
    left: it is meant to shrink about its centre, and does not. The region here is the box before it shrinks;
    the original's is as large and is centred on the hole.

    Args:
        size: (H, W), both over 168; 256 x 256 in training.
        state: Of NumPy.

    Raises:
        ValueError: A smaller size.
    """
    _check_room("mmagic-box", size, 128 + 2 * 20 + 1)
    top, left = (int(state.randint(20, length - 20 - 128)) for length in size)
    less = [state.randint(0, 40 // 2 + 1) for _ in size]
    missing = np.zeros(size, bool)
    missing[top + less[0] : top + 128, left + less[1] : left + 128] = True
    return Hole(missing, (top, left, 128, 128))


def otenim_box(size: Size, state: random.Random) -> Hole:
    """One box of 48 to 96 pixels a side, anywhere in a region of 96 x 96 that is anywhere in the image.

    otenim/GLCIC-PyTorch, the completion network of Iizuka et al. 2017 for CelebA. The region is what the
    local critic sees.

    Args:
        size: (H, W), both at least 96; 160 x 160 in training.
        state: Of Python's own random numbers, which the original draws.

    Raises:
        ValueError: A smaller size.
    """
    _check_room("otenim-box", size, 96)
    height, width = size
    region_left, region_top = state.randint(0, width - 96), state.randint(0, height - 96)
    state.choice([1])  # the number of holes
    across, down = state.randint(48, 96), state.randint(48, 96)
    left = state.randint(region_left, region_left + 96 - across)
    top = state.randint(region_top, region_top + 96 - down)
    missing = np.zeros(size, bool)
    missing[top : top + down, left : left + across] = True
    return Hole(missing, (region_top, region_left, 96, 96))


def _check_room(kind: str, size: Size, least: int) -> None:
    if min(size) < least:
        raise ValueError(
            f"masks: {kind} needs pictures of at least {least} x {least} pixels, got {size[0]} x {size[1]}; "
            "expected a larger size, or masks of another kind"
        )
