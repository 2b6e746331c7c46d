"""Holes as people have them: a box of any sides, the outline of an object, brush strokes.

Shape legend: B samples; H, W the image.
"""

from __future__ import annotations

import functools

import torch
from torch import Tensor

from .draws import integer, uniform
from .masks import Masks, Size, bounding_boxes, check_sides, free_form
from .outlines import draw_object, within

# How often a hole is a box, an object, strokes; and how often it is two of these.
_SHARES = (0.25, 0.5, 0.25)
_TWO = 0.2
# How often a box or object sticks out of the image, and the least and largest part of it that does.
_OUTSIDE = 0.2
_CUT = (0.1, 0.6)
# Of holes that cover more than half: among a hundred there is one of a few strokes.
_ATTEMPTS = 100


def varied(batch: int, size: Size, generator: torch.Generator, box: int, shrink: int = 0) -> Masks:
    """A hole that each sample draws the kind of: a box, the outline of an object, or brush strokes.

    One of four is a box, of any height and width; half of them are objects, as `outlines.draw_object` has
    them; the others are strokes of `free_form`, fewer, and wide in proportion to ``box``. One of five is two
    of these, and one of five boxes and objects sticks out of the image. Ours.

    Args:
        batch: B, >= 1.
        size: (H, W) of the image in pixels.
        generator: On the CPU.
        box: Largest side of a box, and extent of an object, in pixels; at most the image's.
        shrink: By how much they may be smaller, uniformly, each side of a box by itself.

    Returns:
        Masks of which at most half is missing, drawn again otherwise, with the boxes of `bounding_boxes`.

    Raises:
        ValueError: A box that does not fit into the image, a ``shrink`` that may leave nothing of it, or an
            image too small for a hole that leaves half of it.

    Cost: about 1 ms for 128 x 128 on one core.

    Examples:
        >>> holes = varied(3, (128, 128), torch.Generator().manual_seed(0), box=64, shrink=48)
        >>> holes.mask.shape, bool((holes.mask.float().mean((1, 2, 3)) <= 0.5).all())
        (torch.Size([3, 1, 128, 128]), True)
    """
    check_sides((box, box), shrink, size)
    mask = torch.stack([_hole(size, (box - shrink, box), generator) for _ in range(batch)])[:, None]
    return Masks(mask, bounding_boxes(mask))


def _hole(size: Size, sides: tuple[int, int], generator: torch.Generator) -> Tensor:
    for _ in range(_ATTEMPTS):
        number = 2 if uniform(0.0, 1.0, generator) < _TWO else 1
        missing = functools.reduce(torch.logical_or, [_draw(size, sides, generator) for _ in range(number)])
        if 0 < int(missing.sum()) <= missing.numel() // 2:
            return missing
    raise ValueError(
        f"box: {_ATTEMPTS} holes with sides of {sides[0]} to {sides[1]} in {size[0]} x {size[1]} pixels "
        "covered nothing or more than half of it; expected a smaller box, or a larger image"
    )


def _draw(size: Size, sides: tuple[int, int], generator: torch.Generator) -> Tensor:
    """One hole, its kind by chance: (H, W) bool."""
    rank = uniform(0.0, 1.0, generator)
    if rank < _SHARES[0]:
        return _box(size, sides, generator)
    if rank < _SHARES[0] + _SHARES[1]:
        return _object(size, sides, generator)
    return _strokes(size, sides, generator)


def _box(size: Size, sides: tuple[int, int], generator: torch.Generator) -> Tensor:
    extents = (integer(*sides, generator), integer(*sides, generator))
    top, left = map(round, _corner(extents, size, generator))
    missing = torch.zeros(size, dtype=torch.bool)
    missing[max(top, 0) : top + extents[0], max(left, 0) : left + extents[1]] = True
    return missing


def _object(size: Size, sides: tuple[int, int], generator: torch.Generator) -> Tensor:
    outlines = draw_object(generator)
    points = torch.cat(outlines)
    start, extents = points.amin(0), points.amax(0) - points.amin(0)
    scale = integer(*sides, generator) / float(extents.max())
    height, width = (scale * extents).tolist()
    corner = torch.tensor(_corner((height, width), size, generator))
    parts = [within(scale * (outline - start) + corner, size) for outline in outlines]
    return functools.reduce(torch.logical_or, parts)


def _strokes(size: Size, sides: tuple[int, int], generator: torch.Generator) -> Tensor:
    """As wide, beside boxes of these sides, as those of Yu et al. 2019 beside theirs of 96 to 128 pixels."""
    shares = (12 / 112, 40 / 112)
    typical = sum(sides) / 2 / min(size)
    width = (shares[0] * typical, shares[1] * typical)
    return free_form(1, size, generator, strokes=(1, 2), vertices=(2, 8), width=width).mask[0, 0]


def _corner(extents: tuple[float, float], size: Size, generator: torch.Generator) -> tuple[float, float]:
    """Where a shape begins, (row, column): within the image, or now and then partly beyond one side of it."""
    places = [uniform(0.0, length - extent, generator) for extent, length in zip(extents, size, strict=True)]
    if uniform(0.0, 1.0, generator) < _OUTSIDE:
        axis = integer(0, 1, generator)
        cut = uniform(*_CUT, generator) * extents[axis]
        places[axis] = size[axis] - extents[axis] + cut if integer(0, 1, generator) else -cut
    return places[0], places[1]
