"""The holes of Context Encoders (Pathak et al., CVPR 2016): random regions, and one box in the centre.

Shape legend: B samples; H, W the image; h, w the noise.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .masks import Masks, Size, bounding_boxes

# Cells of noise along the shorter side; noise below this is hole; the areas of holes that are taken.
_CELLS, _DENSITY = 128 * 600 / 10_000, 0.25
_LEAST, _LARGEST = 0.2, 0.3
# One hole of five has such an area.
_ATTEMPTS = 1000


def centre_box(batch: int, size: Size, generator: torch.Generator, box: int, overlap: int = 4) -> Masks:
    """The box in the middle of the image, less a rim of known pixels that the network predicts too.

    Published code (pathak22/context-encoder): 64 pixels of 128, the rim 4 (arXiv:1604.07379: 7).

    Args:
        batch: B, >= 1.
        size: (H, W) of the image in pixels.
        generator: Not drawn from: every hole is the same.
        box: Side of the box in pixels, at most the image's.
        overlap: Width of the rim in pixels.

    Returns:
        Masks whose boxes are the whole box, rim included.

    Raises:
        ValueError: A box that does not fit into the image, or that is nothing but rim.

    Examples:
        >>> holes = centre_box(1, (128, 128), torch.Generator(), box=64)
        >>> holes.mask.sum().item(), holes.boxes.tolist()
        (3136, [[32, 32, 64, 64]])
    """
    if not 2 * overlap < box <= min(size):
        raise ValueError(
            f"box: expected a side of {2 * overlap + 1} to {min(size)}, more than two rims and at most the "
            f"image's, got {box}"
        )
    top, left = ((length - box) // 2 for length in size)
    mask = torch.zeros(batch, 1, *size, dtype=torch.bool)
    mask[..., top + overlap : top + box - overlap, left + overlap : left + box - overlap] = True
    return Masks(mask, torch.tensor([[top, left, box, box]]).repeat(batch, 1))


def random_region(batch: int, size: Size, generator: torch.Generator) -> Masks:
    """Patches of no particular shape that cover 20 to 30 % of the image, each sample its own.

    Uniform noise, enlarged bicubically until 7.7 cells reach across the shorter side, is hole where it is
    less than a quarter; drawn again until the area fits. The published code (pathak22/context-encoder,
    train_random.lua) makes one such pattern of 10,000 x 10,000 pixels and cuts every hole out of it, one for
    a batch of images of 128 x 128. Here each hole is a window of a pattern of its own, for which a hundred
    numbers do. At 128 x 128 a hole has the same distribution; at other sizes it has the same shapes, while
    the published cells stay as large.

    Args:
        batch: B, >= 1.
        size: (H, W) of the image in pixels.
        generator: On the CPU.

    Returns:
        Masks whose boxes are those of `bounding_boxes`.

    Raises:
        ValueError: A size of a few pixels, where no hole has that area.

    Cost: about 1 ms for 128 x 128 on one core.
    """
    mask = torch.stack([_region(size, generator) for _ in range(batch)])[:, None]
    return Masks(mask, bounding_boxes(mask))


def _region(size: Size, generator: torch.Generator) -> Tensor:
    cell = min(size) / _CELLS
    for _ in range(_ATTEMPTS):
        rows, columns = (_enlargement(length, cell, generator) for length in size)
        noise = torch.rand(rows.shape[1], columns.shape[1], generator=generator)
        missing = rows @ noise @ columns.T < _DENSITY
        if _LEAST < float(missing.float().mean()) < _LARGEST:
            return missing
    raise ValueError(
        f"masks: no region of 20 to 30 % of {size[0]} x {size[1]} pixels was drawn in {_ATTEMPTS} attempts; "
        "expected a larger size, or masks of another kind"
    )


def _enlargement(length: int, cell: float, generator: torch.Generator) -> Tensor:
    """What makes ``length`` pixels of noise whose cells have ``cell`` of them each: (length, cells), bicubic.

    The weights of the four cells about each pixel are those of Catmull and Rom, as in Torch7's image.scale.
    """
    places = torch.rand((), generator=generator) + 1 + torch.arange(length) / cell
    first = places.floor()
    t = (places - first)[:, None]
    weights = torch.cat(
        [
            ((2 - t) * t - 1) * t,
            (3 * t - 5) * t * t + 2,
            ((4 - 3 * t) * t + 1) * t,
            (t - 1) * t * t,
        ],
        dim=1,
    )
    cells = first.long()[:, None] + torch.arange(-1, 3)
    return torch.zeros(length, int(cells.max()) + 1).scatter_(1, cells, weights / 2)
