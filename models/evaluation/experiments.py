"""The report's experiments: what the quality of a filled hole depends on.

Dumont and Guédon (2020), section 2: the size of the hole (2.2), the texture around it (2.3), and whether its
content stands elsewhere in the picture (2.4).

Shape legend: H, W the photograph; s side of a hole; h, w the grid of offsets.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ..patches.pyramid import dilate
from .figures import Panel

# From a photograph (1, 3, H, W) in [-1, 1] without its hole, and the hole (1, 1, H, W) bool, to the filled
# photograph and the offsets, as `inpaint` returns them.
Fill = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]

# Sides of holes, in pixels.
_SIZES = (16, 32, 64, 96)
_SIDE = 48
_REGIONS = 4
# How many holes each experiment fills in a photograph.
HOLES = {"sizes": len(_SIZES), "textures": _REGIONS, "replication": 2}


class Found(NamedTuple):
    """What an experiment found: a row of measures for each hole, and the rows of its figure by label."""

    rows: list[dict[str, Any]]
    figure: dict[str, list[Panel]]


class Run(NamedTuple):
    """One hole filled: the filled photograph, its measures, and the offsets; see `run_of`."""

    filled: Tensor
    measures: dict[str, float]
    offsets: Tensor


def sizes(photo: Tensor, fill: Fill) -> Found:
    """Square holes of growing size around the middle of a photograph (1, 3, H, W) in [-1, 1].

    Raises:
        ValueError: The photograph is too small for the largest hole with as much again around it.
    """
    rows, figure = [], {"hole": [], "filled": [], "photograph": []}
    for side in _SIZES:
        hole = middle_square(photo, side)
        run = run_of(photo, hole, fill)
        rows.append({"side": side, **run.measures})
        around = window(hole, max(_SIZES) // 2 - side // 2 + max(_SIZES) // 2)
        figure["hole"].append(Panel(photo.masked_fill(hole, 1)[around], f"side {side}"))
        figure["filled"].append(Panel(run.filled[around], caption(run.measures)))
        figure["photograph"].append(Panel(photo[around], ""))
    return Found(rows, figure)


def textures(photo: Tensor, fill: Fill) -> Found:
    """Holes of 48 pixels in regions of rising gradient energy of a photograph (1, 3, H, W) in [-1, 1].

    Raises:
        ValueError: The photograph has no four places for holes.
    """
    energy = F.avg_pool2d(gradient(photo).square(), _SIDE)[0, 0, 1:-1, 1:-1]
    if energy.numel() < _REGIONS:
        raise ValueError(f"photo: expected at least {4 * _SIDE} pixels a side, got {tuple(photo.shape[2:])}")
    ranked = energy.flatten().argsort()
    chosen = ranked[torch.linspace(0, len(ranked) - 1, _REGIONS).long()]
    rows, figure = [], {"hole": [], "filled": [], "photograph": []}
    for rank, place in enumerate(chosen.tolist(), 1):
        hole = square(photo, *(_SIDE * (1 + k) for k in divmod(place, energy.shape[1])), _SIDE)
        run, strength = run_of(photo, hole, fill), float(energy.flatten()[place])
        rows.append({"texture": rank, "gradient energy": strength, **run.measures})
        around = window(hole, _SIDE)
        figure["hole"].append(Panel(photo.masked_fill(hole, 1)[around], f"energy {strength:.2g}"))
        figure["filled"].append(Panel(run.filled[around], caption(run.measures)))
        figure["photograph"].append(Panel(photo[around], ""))
    return Found(rows, figure)


def replication(photo: Tensor, fill: Fill) -> Found:
    """A hole of 48 pixels without and with a copy of the photograph (1, 3, H, W) beside it.

    With the copy, the content of the hole stands exactly one width to the right; the share of the hole's
    offsets that lead there is in the table, None of a network without attention.

    Raises:
        ValueError: The photograph is too small for the hole.
    """
    width = photo.shape[3]
    rows, figure = [], {}
    for name, picture in (("alone", photo), ("with a replica", torch.cat([photo, photo], 3))):
        hole = torch.zeros_like(picture[:, :1], dtype=torch.bool)
        hole[..., :width] = middle_square(photo, _SIDE)
        run = run_of(picture, hole, fill)
        share = _share_at(run.offsets, hole, width)
        rows.append({"background": name, **run.measures, "from the true place": share})
        around = window(hole, _SIDE)
        figure[name] = [
            Panel(picture.masked_fill(hole, 1), "" if share is None else f"{share:.0%} from the true place"),
            Panel(picture.masked_fill(hole, 1)[around], "hole"),
            Panel(run.filled[around], caption(run.measures)),
            Panel(picture[around], "photograph"),
        ]
    return Found(rows, figure)


def _share_at(offsets: Tensor, hole: Tensor, width: int) -> float | None:
    """The share of the hole's offsets that are one width to the right and none down; None without any."""
    if offsets.shape[2:] == (1, 1):
        return None
    # A network's offsets count patches of so many pixels.
    step = -(-hole.shape[2] // offsets.shape[2])
    missing = F.max_pool2d(hole.float(), step, ceil_mode=True)[0, 0] > 0
    to_copy = offsets.new_tensor([0, width]) / step
    return float((to_copy == offsets[0][:, missing].T).all(1).float().mean())


def square(photo: Tensor, top: int, left: int, side: int) -> Tensor:
    """A hole (1, 1, H, W) bool with half its side of known pixels around it.

    Raises:
        ValueError: The photograph has no room for it.
    """
    room = side // 2
    for n, at in zip(photo.shape[2:], (top, left), strict=True):
        if at < room or at + side + room > n:
            raise ValueError(
                f"photo: a hole of {side} pixels needs {2 * side} a side, got {tuple(photo.shape[2:])}"
            )
    hole = torch.zeros_like(photo[:, :1], dtype=torch.bool)
    hole[..., top : top + side, left : left + side] = True
    return hole


def middle_square(photo: Tensor, side: int) -> Tensor:
    """The hole in the middle of a photograph; see `square`."""
    return square(photo, *(n // 2 - side // 2 for n in photo.shape[2:]), side)


def window(hole: Tensor, margin: int) -> tuple[Any, ...]:
    """The index of a square hole and ``margin`` pixels around it, as far as there are."""
    bounds = [(int(at.min()), int(at.max())) for at in hole[0, 0].nonzero(as_tuple=True)]
    return (..., *(slice(max(0, first - margin), last + 1 + margin) for first, last in bounds))


def run_of(photo: Tensor, hole: Tensor, fill: Fill) -> Run:
    """Fill a hole: PSNR in dB, l1 in % of the range, and the gradient's length as a share of the truth's."""
    filled, offsets = fill(photo.masked_fill(hole, 0), hole)
    difference = (filled - photo)[hole.expand_as(photo)]
    inside = ~dilate(~hole, 1)
    measures = {
        "PSNR": float(10 * torch.log10(4 / difference.square().mean().clamp(min=1e-10))),
        "l1": float(50 * difference.abs().mean()),
        "gradient": float(gradient(filled)[inside].mean() / gradient(photo)[inside].mean().clamp(min=1e-6)),
    }
    return Run(filled, measures, offsets)


def caption(measures: dict[str, float]) -> str:
    return f"{measures['PSNR']:.1f} dB, l1 {measures['l1']:.1f} %"


def gradient(photo: Tensor) -> Tensor:
    """(1, 1, H, W): the length of the gradient of the grey values."""
    grey = F.pad(photo.mean(1, keepdim=True), (0, 1, 0, 1), mode="replicate")
    return torch.hypot(grey.diff(dim=2)[..., :-1], grey.diff(dim=3)[..., :-1, :])
