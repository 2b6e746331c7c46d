"""What results look like: tables for the terminal, the table of docs/speed.md, a picture.

python benchmarks/report.py table   benchmarks/results/<machine>.json
python benchmarks/report.py docs    benchmarks/results/<machine>.json
python benchmarks/report.py plot    benchmarks/results/<machine>.json times.png
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterable, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from results import ROOT, Row, load
from screen import make_screen
from wording import PASSES, bytes_text, is_unfit, or_nothing, ratio_text, time_text, work_text

DOCS = ROOT / "docs/speed.md"
BEGIN, END = "<!-- benchmark: begin -->", "<!-- benchmark: end -->"


# The table of docs/speed.md


def markdown(about: dict[str, Any], rows: Sequence[Row]) -> str:
    """The table of docs/speed.md: a line for a problem and pass, the fastest backend's, at the widest C."""
    channels = max(row.channels for row in rows)
    lines = [
        f"| C = {channels} | textbook | dense | compiled | this package | ratio | of GEMM | memory |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for _, group in groupby(rows, key=lambda row: row.key[:-1]):
        same = list(group)
        own = [row for row in same if row.variant not in ("textbook", "dense", "compiled", "reference")]
        timed = [row for row in own if row.median is not None and not row.whole]
        if same[0].channels == channels and timed:
            lines.append(_markdown_line(min(timed, key=lambda row: row.median), same))
    return "\n".join([*lines, "", _markdown_caption(about, rows)])


def _markdown_line(best: Row, same: Sequence[Row]) -> str:
    forms = {row.label.removesuffix(", whole"): row for row in same if row.variant != best.variant}
    preset = "" if best.preset == "paper" else f", {best.preset}"
    work = f"{work_text(best)}, {best.dtype}, {PASSES[best.direction]}{preset}"
    times = [_form_text(forms.get(name)) for name in ("textbook", "dense", "compiled")]
    memory = [or_nothing(bytes_text, row and row.working_bytes) for row in (forms.get("textbook"), best)]
    cells = [
        work,
        *times,
        f"**{time_text(best.median)}**",
        or_nothing(lambda ratio: f"**{ratio_text(ratio)}**", best.ratio),
        f"{100 * best.gemm_share:.0f} %",
        " → ".join(text for text in memory if text),
    ]
    return "| " + " | ".join(cells) + " |"


def _form_text(row: Row | None) -> str:
    if row is None:
        return ""
    return time_text(row.median) if row.median is not None else (row.note or "").removeprefix("would need ")


def _markdown_caption(about: dict[str, Any], rows: Sequence[Row]) -> str:
    threads = sorted({row.threads for row in rows})
    devices = "; ".join(about["devices"].values())
    side = next(row.gemm_side for row in rows if row.gemm_side)
    return (
        f"{devices}; {', '.join(map(str, threads))} threads, torch {about['torch']}. Medians, all forms in "
        "turns in one process. *ratio*: the textbook form's time over this package's. *of GEMM*: arithmetic "
        f"of the factored form, over time, over the rate of a {side}³ matrix product in the same dtype and "
        "turns. *memory*: the most that is held beyond inputs, output and gradients, textbook → this "
        "package. Where a hole is rebuilt, the textbook form, which cannot leave anything out, rebuilds "
        "everything."
    )


def write_docs(text: str, path: Path = DOCS) -> None:
    """Put the text between the two markers.

    Raises:
        ValueError: The markers are not there.
    """
    content = path.read_text(encoding="utf-8")
    before, begin, rest = content.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"{path}: expected the lines {BEGIN} and {END}, between which the table goes")
    path.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}", encoding="utf-8")


# The picture


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


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("table", "docs", "plot"))
    parser.add_argument("results", type=Path, help="JSON as bench_attention.py writes it")
    parser.add_argument("picture", type=Path, nargs="?", help="PNG to draw (plot)")
    arguments = parser.parse_args()
    about, rows = load(arguments.results)
    if arguments.what == "docs":
        write_docs(markdown(about, rows))
    elif arguments.what == "plot":
        if arguments.picture is None:
            parser.error("plot: expected the name of the PNG to draw")
        plot(rows, arguments.picture)
    else:
        for _, group in groupby(rows, key=lambda row: row.key[:-1]):
            make_screen().table(list(group))


if __name__ == "__main__":
    main()
