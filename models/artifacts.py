"""Whether what goes wrong in a hole goes wrong in the same way in other photographs.

Dumont and Guédon (2020) saw the same artifact whatever they filled. Here the same hole is cut into every
photograph, and the residuals, filled minus true, are correlated pixel by pixel.

Shape legend: n photographs; s side of the hole.
"""

from __future__ import annotations

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

    In the table, beside the measures of the whole hole: *worst l1*, of its worst 24 x 24 pixels, in % of the
    range; *row*, *column*: where those begin, from the hole's corner; *correlation*: the mean over the other
    photographs of `correlations`; *mirrored*: the same if the others' residuals are turned by 180 degrees, so
    that what stands at the same place does not meet: about as large if nothing repeats.

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
    found = zip(
        _mean_of_others(correlations(residuals, residuals)),
        _mean_of_others(correlations(residuals, residuals.flip(1, 2))),
        map(worst_region, residuals.abs()),
        strict=True,
    )
    rows = {}
    for name, (same, mirrored, (worst, row, column)) in zip(photos, found, strict=True):
        place = {"worst l1": 50 * worst, "row": row, "column": column}
        repeats = {"correlation": same, "mirrored": mirrored}
        rows[name] = {"photo": name, **runs[name].measures, **place, **repeats}
    ordered = dict(sorted(rows.items(), key=lambda item: -item[1]["worst l1"]))
    panels = {
        name: _panels(photos[name], holes[name], runs[name], (row["row"], row["column"]), row["worst l1"])
        for name, row in ordered.items()
    }
    return Found(list(ordered.values()), panels)


def correlations(first: Tensor, second: Tensor) -> Tensor:
    """Pearson's correlation over the pixels of each of n residuals with each of others, (n, s, s): (n, n).

    1: the same pattern up to brightness and contrast; 0: nothing in common; -1: its negative. A residual
    that is the same everywhere has no pattern, and 0 with all.
    """
    a, b = (F.normalize(x.flatten(1) - x.flatten(1).mean(1, keepdim=True)) for x in (first, second))
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


def _panels(photo: Tensor, hole: Tensor, run: Run, place: tuple[int, int], worst: float) -> list[Panel]:
    """The hole; filled, with its worst region framed; true; the residual around grey; the region itself."""
    around, within = window(hole, _SIDE // 4), window(hole, 0)
    region = (..., *(slice(at, at + _REGION) for at in place))
    filled = run.filled.clone()
    _frame(filled[within], place)
    residual = (run.filled - photo).where(hole, 0)
    return [
        Panel(photo.masked_fill(hole, 1)[around], "hole"),
        Panel(filled[around], caption(run.measures)),
        Panel(photo[around], "photograph"),
        Panel(residual[around] / 2, "residual"),
        Panel(run.filled[within][region], f"worst region, l1 {worst:.1f} %"),
        Panel(photo[within][region], "photograph"),
    ]


def _frame(picture: Tensor, place: tuple[int, int]) -> None:
    """Draw the border of a region into a picture (1, 3, s, s)."""
    rows, columns = (slice(at, at + _REGION) for at in place)
    border = torch.zeros_like(picture[:, :1], dtype=torch.bool)
    border[..., rows, columns] = True
    border[..., rows.start + 1 : rows.stop - 1, columns.start + 1 : columns.stop - 1] = False
    picture.copy_(picture.new_tensor(_FRAME).view(1, 3, 1, 1).where(border, picture))
