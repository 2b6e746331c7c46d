"""A picture of results: time and memory against the size of the image."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from .cases import PASSES
from .results import Row
from .wording import is_unfit


def plot(rows: Iterable[Row], path: Path) -> None:
    """Time and memory of single square-ish images against their size, a column for each pass.

    Of what did not fit into the machine's memory, the estimate is drawn as an empty mark.

    Raises:
        ValueError: There is nothing to draw.
    """
    single = [row for row in rows if row.batch == 1 and row.shape == "1x{}x{}".format(*row.image or (0, 0))]
    if not single:
        raise ValueError("--plot: there is no result of single images to draw")
    about = lambda row: (row.channels, row.dtype, row.preset, row.device, row.threads)  # noqa: E731
    single = [row for row in single if about(row) == about(single[0])]
    passes = list(dict.fromkeys(row.direction for row in single))

    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(
        2, len(passes), figsize=(4.8 * len(passes), 7.2), sharex=True, squeeze=False
    )
    labels = list(dict.fromkeys(row.label for row in single))
    for column, direction in enumerate(passes):
        time, memory = axes[:, column]
        time.set_title(PASSES[direction])
        time.set_ylabel("seconds")
        memory.set_ylabel("working memory, MB")
        memory.set_xlabel("image")
        for index, label in enumerate(labels):
            own = [row for row in single if (row.direction, row.label) == (direction, label)]
            _draw(time, memory, own, label, f"C{index}")
    images = sorted({tuple(row.image) for row in single}, key=math.prod)
    for each in axes.flat:
        each.set(xscale="log", yscale="log")
        names = ["{}×{}".format(*image) for image in images]
        each.set_xticks([math.prod(image) for image in images], names, rotation=30, ha="right")
        each.tick_params(axis="x", which="minor", bottom=False, labelbottom=False)
        each.grid(alpha=0.3)
    axes[0, 0].legend()
    channels, dtype, preset, device, threads = about(single[0])
    figure.suptitle(f"C = {channels}, {dtype}, {preset}, {device}, {threads} threads")
    figure.tight_layout()
    figure.savefig(path, dpi=150)
    pyplot.close(figure)


def _draw(time: Any, memory: Any, rows: Sequence[Row], label: str, colour: str) -> None:
    def pixels(row: Row) -> int:
        return math.prod(row.image)

    rows = sorted(rows, key=pixels)
    timed = [row for row in rows if row.median is not None]
    weighed = [row for row in rows if row.working_bytes]
    unfit = [row for row in rows if is_unfit(row)]
    line = {"color": colour, "label": label, "marker": "o"}
    time.plot([pixels(row) for row in timed], [row.median for row in timed], **line)
    memory.plot([pixels(row) for row in weighed], [row.working_bytes / 1e6 for row in weighed], **line)
    estimates = [row.estimated_bytes / 1e6 for row in unfit]
    memory.plot([pixels(row) for row in unfit], estimates, "o", color=colour, fillstyle="none")
