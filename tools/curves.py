"""Curves of training runs as pictures, drawn without a window."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib import pyplot


@contextmanager
def picture_of_axes(path: Path, rows: int, columns: int, size: tuple[float, float]) -> Iterator[np.ndarray]:
    """The axes to draw on, (rows, columns) of them; afterwards the picture is written.

    Args:
        path: Of the picture.
        rows, columns: Of axes.
        size: Of all of them together, in inches of 90 pixels.
    """
    matplotlib.use("Agg")  # no window
    figure, axes = pyplot.subplots(rows, columns, figsize=size, squeeze=False)
    try:
        yield axes
        figure.tight_layout()
        figure.savefig(path, dpi=90)
    finally:
        pyplot.close(figure)


def over_steps(axis: Any, last: int, **labels: Any) -> None:
    """Make an axis one over the steps of a run up to the last; ``labels`` as of matplotlib's ``set``."""
    axis.set(xlabel="steps", xlim=(0, last), **labels)
    axis.ticklabel_format(axis="y", useOffset=False)
    axis.grid(alpha=0.3)
