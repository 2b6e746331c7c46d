"""Which pixels are missing, drawn at random: boxes, free-form strokes, files of a folder.

Every function draws from the torch.Generator that it is given and from nothing else: a seed is a mask.

Shape legend: B samples; H, W the image; a box is (top, left, height, width) in pixels.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from ...photos import read_mask
from .draws import integer, uniform
from .sources import find_pictures

# Of holes that leave nothing known: boxes that often do so do not in one of these, others always do.
_ATTEMPTS = 100

Size = tuple[int, int]
Point = tuple[float, float]


class Masks(NamedTuple):
    """Masks and what the local critic looks at.

    Attributes:
        mask: (B, 1, H, W) bool, True where a pixel is missing.
        boxes: (B, 4) int64, the region of each sample that holds its whole hole: top, left, height, width.
    """

    mask: Tensor
    boxes: Tensor


def random_boxes(
    batch: int, size: Size, box: int | Size, generator: torch.Generator, number: int = 1, shrink: int = 0
) -> Masks:
    """Rectangular holes at uniform positions, each sample its own.

    Yu et al. 2018 (arXiv:1801.07892), section 5: one box of 128 x 128 in 256 x 256. The published code
    differs: the hole is the box less a margin, uniform in 0 to 16 pixels on opposite sides (``shrink=32``:
    sides of 96 to 128, even), while the local critic sees the whole box; and a batch shares one mask.

    Args:
        batch: B, >= 1.
        size: (H, W) of the image in pixels.
        box: Side, or (height, width), of a box in pixels, at most the image's.
        generator: On the CPU.
        number: Each sample has 1 to ``number`` boxes, which may overlap; drawn again where nothing is left.
        shrink: By how much a hole may be smaller than its box, in pixels, in each direction.

    Returns:
        Masks whose boxes are the drawn ones, or for ``number`` > 1 those of `bounding_boxes`.

    Raises:
        ValueError: A box that does not fit into the image, a ``shrink`` that may leave nothing of it, or
            boxes that leave no known pixel however they are drawn.

    Examples:
        >>> holes = random_boxes(2, (256, 256), 128, torch.Generator().manual_seed(0))
        >>> holes.mask.shape, holes.mask.sum((1, 2, 3)).tolist(), holes.boxes[:, 2:].tolist()
        (torch.Size([2, 1, 256, 256]), [16384, 16384], [[128, 128], [128, 128]])
    """
    sides = (box, box) if isinstance(box, int) else box
    check_sides(sides, shrink, size)
    if number < 1:
        raise ValueError(f"number: expected at least one box, got {number}")
    mask = torch.zeros(batch, 1, *size, dtype=torch.bool)
    boxes = torch.zeros(batch, 4, dtype=torch.int64)
    for sample in range(batch):
        boxes[sample] = _place_boxes(mask[sample, 0], sides, shrink, number, generator)
    return Masks(mask, boxes if number == 1 else bounding_boxes(mask))


def check_sides(sides: Size, shrink: int, size: Size) -> None:
    """Refuse a box that does not fit into the image, or a ``shrink`` that may leave nothing of it."""
    for name, side, length in zip(("height", "width"), sides, size, strict=True):
        if not 1 <= side <= length:
            raise ValueError(f"box: expected a {name} of 1 to {length}, the image's, got {side}")
    if not 0 <= shrink < min(sides):
        raise ValueError(f"shrink: expected 0 to {min(sides) - 1}, less than the box, got {shrink}")


def _place_boxes(mask: Tensor, sides: Size, shrink: int, number: int, generator: torch.Generator) -> Tensor:
    """Cut 1 to ``number`` holes into an empty mask (H, W), so that something stays known; the last box."""
    for _ in range(_ATTEMPTS):
        for _ in range(integer(1, number, generator)):
            box = _place_box(mask, sides, shrink, generator)
        if not mask.all():
            return box
        mask.zero_()
    raise ValueError(
        f"box, number: {_ATTEMPTS} times 1 to {number} boxes of {sides[0]} x {sides[1]} covered all of "
        f"{mask.shape[0]} x {mask.shape[1]} pixels; expected smaller boxes, or fewer"
    )


def _place_box(mask: Tensor, sides: Size, shrink: int, generator: torch.Generator) -> Tensor:
    """Cut one hole into a mask (H, W); the box around it."""
    corner = [integer(0, length - side, generator) for length, side in zip(mask.shape, sides, strict=True)]
    margins = [integer(0, shrink // 2, generator) for _ in sides]
    rows, columns = (
        slice(start + margin, start + side - margin)
        for start, side, margin in zip(corner, sides, margins, strict=True)
    )
    mask[rows, columns] = True
    return torch.tensor([*corner, *sides])


def free_form(
    batch: int,
    size: Size,
    generator: torch.Generator,
    strokes: tuple[int, int] = (1, 3),
    vertices: tuple[int, int] = (4, 12),
    width: tuple[float, float] = (12 / 256, 40 / 256),
) -> Masks:
    """Brush strokes: thick zigzag lines with round ends, each sample its own.

    The strokes of the follow-up paper (Yu et al. 2019, arXiv:1806.03589, supplement) and its published code:
    from a uniform start, segments of normal length (mean an eighth of the diagonal, deviation half of that,
    within 0 and twice the mean) turn by an angle of 2 pi/5 +- 2 pi/15, every other time the other way.

    Args:
        batch: B, >= 1.
        size: (H, W) of the image in pixels.
        generator: On the CPU.
        strokes: Least and largest number of strokes.
        vertices: Least and largest number of segments of a stroke.
        width: Least and largest width of a stroke, in shares of the image's shorter side; at least 2 pixels.

    Returns:
        Masks whose boxes are those of `bounding_boxes`.

    Cost: a few passes over the pixels around each segment, about 2 ms for 256 x 256 on one core.
    """
    mask = torch.zeros(batch, 1, *size, dtype=torch.bool)
    for sample in range(batch):
        for _ in range(integer(*strokes, generator)):
            points = _stroke(size, integer(*vertices, generator), generator)
            thickness = max(2.0, min(size) * uniform(*width, generator))
            mask[sample, 0] |= near_line(points, thickness / 2, size)
    return Masks(mask, bounding_boxes(mask))


def _stroke(size: Size, segments: int, generator: torch.Generator) -> list[Point]:
    """The corners of a zigzag within the image, (row, column), one more than segments."""
    mean = math.hypot(*size) / 8
    lengths = (mean + mean / 2 * torch.randn(segments, generator=generator)).clamp(0, 2 * mean).tolist()
    turns = 2 * math.pi / 5 + 2 * math.pi / 15 * (2 * torch.rand(segments, generator=generator) - 1)
    lean = uniform(0.0, 2 * math.pi, generator)  # where the published code flips the mask at random
    points = [tuple(float(integer(0, length - 1, generator)) for length in size)]
    for number, (length, turn) in enumerate(zip(lengths, turns.tolist(), strict=True)):
        angle = lean + (turn if number % 2 else -turn)
        step = (length * math.sin(angle), length * math.cos(angle))
        ends = zip(points[-1], step, size, strict=True)
        points.append(tuple(min(max(start + change, 0.0), limit - 1.0) for start, change, limit in ends))
    return points


def near_line(points: Sequence[Point], radius: float, size: Size) -> Tensor:
    """The pixels within ``radius`` of the line through ``points``, (row, column) anywhere: (H, W) bool."""
    near = torch.zeros(size, dtype=torch.bool)
    for ends in itertools.pairwise(points):
        # Of each segment only the pixels around it.
        rows, columns = (
            slice(max(math.floor(min(span) - radius), 0), max(math.ceil(max(span) + radius) + 1, 0))
            for span in zip(*ends, strict=True)
        )
        near[rows, columns] |= _near_segment(ends, radius, rows, columns, size)
    return near


def _near_segment(
    ends: tuple[Point, Point], radius: float, rows: slice, columns: slice, size: Size
) -> Tensor:
    """The same for one segment, within some rows and columns."""
    (y0, x0), (y1, x1) = ends
    y = torch.arange(size[0], dtype=torch.float32)[rows, None] - y0
    x = torch.arange(size[1], dtype=torch.float32)[columns] - x0
    dy, dx = y1 - y0, x1 - x0
    # The nearest point of the segment, as a share of it; a segment of no length is its start.
    share = ((y * dy + x * dx) / max(dy * dy + dx * dx, 1e-12)).clamp(0, 1)
    return (y - share * dy).square() + (x - share * dx).square() <= radius**2


class MaskFolder:
    """The masks of a folder, one at random for each sample.

    A mask file is any picture, read as `contextual_attention.marks` says. It is brought to the image's size
    by "any pixel missing", so that thin strokes survive.

    Args:
        folder: Searched with its subfolders.

    Raises:
        ValueError: No such folder, or no pictures in it.
    """

    def __init__(self, folder: Path | str) -> None:
        self.paths = find_pictures(Path(folder), "masks.folder", "a folder of pictures")

    def __call__(self, batch: int, size: Size, generator: torch.Generator) -> Masks:
        """Draw ``batch`` masks; a file that is no picture, or has no hole or nothing else, is named."""
        drawn = [self.paths[integer(0, len(self.paths) - 1, generator)] for _ in range(batch)]
        mask = torch.cat([_read_mask(path, size) for path in drawn])
        return Masks(mask, bounding_boxes(mask))


def _read_mask(path: Path, size: Size) -> Tensor:
    marks = read_mask(path)
    mask = F.adaptive_max_pool2d(torch.from_numpy(marks.missing)[None, None].to(torch.float32), size).bool()
    if mask.all() or not mask.any():
        raise ValueError(
            f"{path}: a mask with {'everything' if mask.any() else 'nothing'} missing: {marks.seen}"
        )
    return mask


def bounding_boxes(mask: Tensor) -> Tensor:
    """The least region around each sample's hole, grown to a square where the image has room.

    The local critic sees it resized to its own size: a square keeps the shapes in it.

    Args:
        mask: (B, 1, H, W), non-zero = missing.

    Returns:
        (B, 4) int64: top, left, height, width.

    Raises:
        ValueError: A sample with nothing missing.

    Examples:
        >>> mask = torch.zeros(1, 1, 64, 64)
        >>> mask[..., 10:14, 60:62] = 1
        >>> bounding_boxes(mask).tolist()
        [[10, 59, 4, 4]]
    """
    size = tuple(mask.shape[2:])
    return torch.tensor([_bounding_box(sample[0] != 0, size) for sample in mask], dtype=torch.int64)


def _bounding_box(missing: Tensor, size: Size) -> list[int]:
    spans = [missing.any(1).nonzero().flatten(), missing.any(0).nonzero().flatten()]
    if not len(spans[0]):
        raise ValueError("mask: expected a hole in every sample, got one with nothing missing")
    extents = [int(span[-1] - span[0]) + 1 for span in spans]
    sides = [min(max(extents), length) for length in size]
    starts = [
        min(max(int(span[0]) - (side - extent) // 2, 0), length - side)
        for span, extent, side, length in zip(spans, extents, sides, size, strict=True)
    ]
    return [*starts, *sides]


def crop_boxes(images: Tensor, boxes: Tensor | Sequence[Sequence[int]], side: int) -> Tensor:
    """Cut each sample's box out of it and resize it to a square, as the local critic sees it.

    Args:
        images: (B, C, H, W), floating point or bool.
        boxes: (B, 4): top, left, height, width, within the image.
        side: Of the result, in pixels.

    Returns:
        (B, C, side, side), of the dtype of ``images``. A box of that size is copied exactly; another is
        resized bilinearly, antialiased when it shrinks, a bool mask by "any pixel missing".
    """
    cut = boxes.tolist() if isinstance(boxes, Tensor) else boxes
    crops = [image[:, t : t + h, left : left + w] for image, (t, left, h, w) in zip(images, cut, strict=True)]
    return torch.stack([_resize(crop, (side, side)) for crop in crops])


def _resize(image: Tensor, size: Size) -> Tensor:
    """(C, H, W) to (C, *size)."""
    if tuple(image.shape[1:]) == size:
        return image
    if image.dtype == torch.bool:
        return F.adaptive_max_pool2d(image[None].to(torch.float32), size)[0].bool()
    return F.interpolate(image[None], size, mode="bilinear", align_corners=False, antialias=True)[0]
