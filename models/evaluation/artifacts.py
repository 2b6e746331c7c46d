"""Whether what goes wrong in a hole goes wrong in the same way in other photographs.

Dumont and Guédon (2020) saw the same artifact whatever they filled. Here the same hole is cut into every
photograph, and the residuals, filled minus true, are correlated pixel by pixel.

Shape legend: n photographs; s side of the hole.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from .experiments import Fill, Found, Run, caption, middle_square, run_of, window
from .figures import Panel

# Of the hole, and of the worst region in it, in pixels.
_SIDE = 96
_REGION = 24
_FRAME = (1.0, 0.1, 0.1)  # red, in [-1, 1]


def artifacts(photos: dict[str, Tensor], fill: Fill) -> Found:
    """The worst region of a hole of 96 pixels in the middle of each photograph, the worst photograph first.

    In the table, beside the measures of the whole hole: *worst l1*, of the grey values of its worst 24 x 24
    pixels, in % of the range; *place*: row and column where those begin, from the hole's corner;
    *correlation*: the mean over the other photographs of `correlations`; *mirrored*: the same if the others'
    residuals are turned by 180 degrees, so that what stands at the same place does not meet: about as large
    if nothing repeats.

    Args:
        photos: By name: (1, 3, H, W) in [-1, 1]; at least two.
        fill: What fills them.

    Raises:
        ValueError: Fewer than two photographs, or one that is too small for the hole.
    """
    if len(photos) < 2:
        raise ValueError(f"photos: what repeats shows in at least 2 photographs, got {len(photos)}")
    holes = {name: middle_square(photo, _SIDE) for name, photo in photos.items()}
    runs = {name: run_of(photo, holes[name], fill) for name, photo in photos.items()}
    residuals = torch.stack([_residual(runs[name], photos[name], holes[name]) for name in photos])
    found = (
        _mean_of_others(correlations(residuals, residuals)),
        _mean_of_others(correlations(residuals, residuals.flip(1, 2))),
        map(worst_region, residuals.abs()),
    )
    rows, panels = [], {}
    for (name, run), same, mirrored, (worst, *place) in zip(runs.items(), *found, strict=True):
        region = {"worst l1": 50 * worst, "place": "{}, {}".format(*place)}
        repeats = {"correlation": same, "mirrored": mirrored}
        rows.append({"photo": name, **run.measures, **region, **repeats})
        panels[name] = _panels(photos[name], holes[name], run, place, rows[-1])
    rows.sort(key=lambda row: -row["worst l1"])
    return Found(rows, {row["photo"]: panels[row["photo"]] for row in rows})


def correlations(first: Tensor, second: Tensor) -> Tensor:
    """Pearson's correlation over the pixels of each of n residuals with each of others, (n, s, s): (n, n).

    1: the same pattern up to brightness and contrast; 0: nothing in common; -1: its negative. A residual
    that is the same everywhere has no pattern, and 0 with all.
    """
    centred = (x.flatten(1) - x.flatten(1).mean(1, keepdim=True) for x in (first, second))
    # What is shorter than eps is rounding.
    a, b = (F.normalize(x, eps=1e-4) for x in centred)
    return a @ b.T


def worst_region(error: Tensor) -> tuple[float, int, int]:
    """The mean of the 24 x 24 pixels of an error map (s, s) where it is largest, and their row and column."""
    means = F.avg_pool2d(error[None, None], _REGION, stride=1)[0, 0]
    return float(means.max()), *divmod(int(means.argmax()), means.shape[1])


def _mean_of_others(matrix: Tensor) -> list[float]:
    """The mean of each row without its diagonal."""
    return ((matrix.sum(1) - matrix.diagonal()) / (len(matrix) - 1)).tolist()


def _residual(run: Run, photo: Tensor, hole: Tensor) -> Tensor:
    """Filled minus true in the hole, mean of the colours: (s, s)."""
    return (run.filled - photo).mean(1)[window(hole, 0)][0]


def _panels(photo: Tensor, hole: Tensor, run: Run, place: list[int], row: dict[str, Any]) -> list[Panel]:
    """The hole; filled, with its worst region framed; true; the residual around grey; the region itself."""
    around, within = window(hole, _SIDE // 4), window(hole, 0)
    region = (..., *(slice(at, at + _REGION) for at in place))
    filled = run.filled.clone()
    _frame(filled[within], place)
    residual = (run.filled - photo).where(hole, 0)
    return [
        Panel(photo.masked_fill(hole, 1)[around], "hole"),
        Panel(filled[around], caption(row)),
        Panel(photo[around], "photograph"),
        Panel(residual[around] / 2, "residual"),
        Panel(run.filled[within][region], f"worst region, l1 {row['worst l1']:.1f} %"),
        Panel(photo[within][region], "photograph"),
    ]


def _frame(picture: Tensor, place: list[int]) -> None:
    """Draw the border of a region into a picture (1, 3, s, s)."""
    rows, columns = (slice(at, at + _REGION) for at in place)
    border = torch.zeros_like(picture[:, :1], dtype=torch.bool)
    border[..., rows, columns] = True
    border[..., rows.start + 1 : rows.stop - 1, columns.start + 1 : columns.stop - 1] = False
    picture.copy_(picture.new_tensor(_FRAME).view(1, 3, 1, 1).where(border, picture))
