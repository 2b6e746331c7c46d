"""The report's experiments: what the quality of a filled hole depends on.

Dumont and Guédon (2020), section 2: the size of the hole (2.2), the texture around it (2.3), and whether its
content stands elsewhere in the picture (2.4).

Shape legend: H, W the photograph; s side of a hole.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from .inpaint import inpaint
from .pyramid import dilate

# Sides of holes, in pixels.
_SIZES = (16, 32, 64, 96)
_SIDE = 48
_REGIONS = 4


class Found(NamedTuple):
    """What an experiment found: a row of measures for each hole, and pictures (1, 3, h, w) in [-1, 1]."""

    rows: list[dict[str, Any]]
    figure: Tensor


def sizes(photo: Tensor, method: str = "exemplar") -> Found:
    """Square holes of growing size around the middle of a photograph (1, 3, H, W) in [-1, 1].

    Raises:
        ValueError: The photograph is too small for the largest hole with as much again around it.
    """
    middle = [n // 2 for n in photo.shape[2:]]
    rows, pictures = [], []
    for side in _SIZES:
        hole = _square(photo, *(at - side // 2 for at in middle), side)
        filled, row, _ = _filled(photo, hole, method)
        rows.append({"side": side, **row})
        pictures.append(torch.cat([photo.masked_fill(hole, 1), filled], 2))
    return Found(rows, torch.cat(pictures, 3))


def textures(photo: Tensor, method: str = "exemplar") -> Found:
    """Holes of 48 pixels in regions of rising gradient energy of a photograph (1, 3, H, W) in [-1, 1].

    Raises:
        ValueError: The photograph has no four places for holes.
    """
    energy = F.avg_pool2d(_gradient(photo).square(), _SIDE)[0, 0, 1:-1, 1:-1]
    if energy.numel() < _REGIONS:
        raise ValueError(f"photo: expected at least {4 * _SIDE} pixels a side, got {tuple(photo.shape[2:])}")
    ranked = energy.flatten().argsort()
    chosen = ranked[torch.linspace(0, len(ranked) - 1, _REGIONS).long()]
    rows, pictures = [], []
    for place in chosen.tolist():
        top, left = (_SIDE * (1 + k) for k in divmod(place, energy.shape[1]))
        hole = _square(photo, top, left, _SIDE)
        filled, row, _ = _filled(photo, hole, method)
        rows.append({"gradient energy": float(energy.flatten()[place]), **row})
        around = (..., slice(top - _SIDE, top + 2 * _SIDE), slice(left - _SIDE, left + 2 * _SIDE))
        shown = (photo.masked_fill(hole, 1), filled, photo)
        pictures.append(torch.cat([picture[around] for picture in shown], 3))
    return Found(rows, torch.cat(pictures, 2))


def replication(photo: Tensor, method: str = "exemplar") -> Found:
    """A hole of 48 pixels without and with a copy of the photograph (1, 3, H, W) beside it.

    With the copy, the content of the hole stands exactly one width to the right; the share of the hole's
    pixels that were copied from there is in the table.

    Raises:
        ValueError: The photograph is too small for the hole.
    """
    rows, pictures = [], []
    top, left = (n // 2 - _SIDE // 2 for n in photo.shape[2:])
    for name, picture in (("alone", photo), ("with a replica", torch.cat([photo, photo], 3))):
        hole = _square(picture, top, left, _SIDE)
        filled, row, offsets = _filled(picture, hole, method)
        to_copy = offsets.new_tensor([0, photo.shape[3]])
        share = (to_copy == offsets[0][:, hole[0, 0]].T).all(1).float().mean()
        rows.append({"background": name, **row, "from the true place": float(share)})
        pictures += [x[..., : photo.shape[3]] for x in (picture.masked_fill(hole, 1), filled)]
    return Found(rows, torch.cat(pictures, 3))


def to_markdown(rows: list[dict[str, Any]]) -> str:
    """Rows of one experiment as a table."""
    lines = ["| " + " | ".join(rows[0]) + " |", "|---" * len(rows[0]) + "|"]
    for row in rows:
        cells = (f"{value:.4g}" if isinstance(value, float) else str(value) for value in row.values())
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _square(photo: Tensor, top: int, left: int, side: int) -> Tensor:
    """A hole (1, 1, H, W) bool with half its side of known pixels around it."""
    room = side // 2
    for n, at in zip(photo.shape[2:], (top, left), strict=True):
        if at < room or at + side + room > n:
            raise ValueError(
                f"photo: a hole of {side} pixels needs {2 * side} a side, got {tuple(photo.shape[2:])}"
            )
    hole = torch.zeros_like(photo[:, :1], dtype=torch.bool)
    hole[..., top : top + side, left : left + side] = True
    return hole


def _filled(photo: Tensor, hole: Tensor, method: str) -> tuple[Tensor, dict[str, float], Tensor]:
    """The photograph with its hole filled; PSNR in dB, l1 in % of the range, gradient kept; the offsets."""
    filled, offsets = inpaint(photo.masked_fill(hole, 0), hole, method, return_offsets=True)
    difference = (filled - photo)[hole.expand_as(photo)]
    inside = ~dilate(~hole, 1)
    row = {
        "PSNR": float(10 * torch.log10(4 / difference.square().mean().clamp(min=1e-10))),
        "l1": float(50 * difference.abs().mean()),
        "gradient": float(_gradient(filled)[inside].mean() / _gradient(photo)[inside].mean().clamp(min=1e-6)),
    }
    return filled, row, offsets


def _gradient(photo: Tensor) -> Tensor:
    """(1, 1, H, W): the length of the gradient of the grey values."""
    grey = F.pad(photo.mean(1, keepdim=True), (0, 1, 0, 1), mode="replicate")
    return torch.hypot(grey.diff(dim=2)[..., :-1], grey.diff(dim=3)[..., :-1, :])
