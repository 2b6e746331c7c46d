"""What results look like: tables for the terminal, the README's table, a picture.

python benchmarks/report.py table   benchmarks/results/<machine>.json
python benchmarks/report.py readme  benchmarks/results/<machine>.json
python benchmarks/report.py plot    benchmarks/results/<machine>.json times.png
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterable, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from results import ROOT, Row, load

README = ROOT / "README.md"
BEGIN, END = "<!-- benchmark: begin -->", "<!-- benchmark: end -->"
_PASS = {"forward": "forward", "backward": "backward", "both": "forward + backward"}


# Units


def time_text(seconds: float) -> str:
    """Three digits: 7.14 s, 85.2 ms, 130 µs."""
    for factor, unit in ((1, "s"), (1e3, "ms"), (1e6, "µs")):
        if seconds * factor >= 0.9995 or unit == "µs":
            return f"{_three_digits(seconds * factor)} {unit}"
    raise AssertionError


def bytes_text(count: int) -> str:
    for factor, unit in ((1e9, "GB"), (1e6, "MB")):
        if count >= factor:
            return f"{_three_digits(count / factor)} {unit}"
    return f"{count / 1e3:.0f} kB"


def ratio_text(ratio: float) -> str:
    return f"{ratio:.2f}×" if ratio < 9.95 else f"{ratio:.1f}×" if ratio < 99.5 else f"{ratio:.0f}×"


def _three_digits(x: float) -> str:
    return f"{x:.0f}" if x >= 99.95 else f"{x:.1f}" if x >= 9.995 else f"{x:.2f}"


def _or_nothing(text: Callable[[Any], str], x: Any) -> str:
    return "" if x is None else text(x)


# What a row is about


def work_text(row: Row) -> str:
    """256×256 images, batch 4; or the features, where there is no image."""
    height, width = row.image or row.features
    kind = "" if row.image else " features"
    batch = f"{row.batch} × " if row.batch > 1 else ""
    extra = row.shape.partition("-")[2]
    stride = f", stride {extra.removeprefix('stride')}" if extra.startswith("stride") else ""
    rate = ", rate 1" if row.shape == "paper" else ""
    return f"{batch}{height}×{width}{kind}{rate}{stride}{hole_text(row)}"


def hole_text(row: Row) -> str:
    if row.hole is None:
        return ""
    (rows, columns), (height, width) = row.hole, row.features
    return f", hole of {100 * rows * columns / height / width:.0f} %"


def problem_text(row: Row) -> str:
    return (
        f"{work_text(row)} · C {row.channels} · {row.dtype} · {_PASS[row.direction]} · {row.preset} · "
        f"{row.device}, {row.threads} threads"
    )


# Tables for the terminal


def table(rows: Sequence[Row]) -> Any:
    """A rich table of the rows of one problem and pass."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    left = {"title_justify": "left", "caption_justify": "left"}
    shown = Table(
        title=problem_text(rows[0]), title_style="bold", caption=_caption(rows), box=SIMPLE_HEAD, **left
    )
    half = _is_half(rows)
    shown.add_column("variant", no_wrap=True)
    for heading in _headings(half)[1:]:
        shown.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        shown.add_row(*_cells(row, half), style="red" if row.wrong else None)
    return shown


def plain_table(rows: Sequence[Row]) -> str:
    """The same as text, where rich is not installed."""
    half = _is_half(rows)
    lines = [_headings(half), *(_cells(row, half) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    text = ["  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)) for line in lines]
    return "\n".join([problem_text(rows[0]), *text, _caption(rows)])


def _is_half(rows: Sequence[Row]) -> bool:
    return any(row.ratio_to_float32 for row in rows)


def _headings(half: bool) -> list[str]:
    extra = ["/ float32"] if half else []
    return ["variant", "time", "±", "n", "ratio", *extra, "memory", "GFLOP/s", "GEMM"]


def _cells(row: Row, half: bool) -> list[str]:
    ratios = [row.ratio, *([row.ratio_to_float32] if half else [])]
    return [
        row.label,
        _or_nothing(time_text, row.median),
        _or_nothing(lambda x: f"{100 * x:.0f} %", row.spread),
        str(len(row.seconds) or ""),
        *(_or_nothing(ratio_text, ratio) for ratio in ratios),
        row.note if _is_unfit(row) else _or_nothing(bytes_text, row.working_bytes),
        _or_nothing(lambda x: f"{x:.0f}" if x >= 9.95 else f"{x:.1f}", row.gflops),
        _or_nothing(lambda x: f"{100 * x:.0f} %", row.gemm_share),
    ]


def _caption(rows: Sequence[Row]) -> str:
    lines = [f"{row.label}: {row.note}" for row in rows if row.note and not _is_unfit(row)]
    timed = next((row for row in rows if row.gemm_gflops), None)
    if timed:
        rate = f"{timed.gemm_gflops:.0f} GFLOP/s, {timed.dtype}, {timed.gemm_side}³"
        lines.append(f"GEMM: {rate}, in the same turns")
    return "\n".join(lines)


def _is_unfit(row: Row) -> bool:
    return (row.note or "").startswith("would need")


# The README's table


def markdown(about: dict[str, Any], rows: Sequence[Row]) -> str:
    """The README's table: a line for a problem and pass, with the fastest backend, at the widest C."""
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
    work = f"{work_text(best)}, {best.dtype}, {_PASS[best.direction]}{preset}"
    times = [_form_text(forms.get(name)) for name in ("textbook", "dense", "compiled")]
    memory = [_or_nothing(bytes_text, row and row.working_bytes) for row in (forms.get("textbook"), best)]
    cells = [
        work,
        *times,
        f"**{time_text(best.median)}**",
        _or_nothing(lambda ratio: f"**{ratio_text(ratio)}**", best.ratio),
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


def write_readme(text: str, path: Path = README) -> None:
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
        time.set_title(_PASS[direction])
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
    unfit = [row for row in rows if _is_unfit(row)]
    line = {"color": colour, "label": label, "marker": "o"}
    time.plot([pixels(row) for row in timed], [row.median for row in timed], **line)
    memory.plot([pixels(row) for row in weighed], [row.working_bytes / 1e6 for row in weighed], **line)
    estimates = [row.estimated_bytes / 1e6 for row in unfit]
    memory.plot([pixels(row) for row in unfit], estimates, "o", color=colour, fillstyle="none")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("table", "readme", "plot"))
    parser.add_argument("results", type=Path, help="JSON as bench_attention.py writes it")
    parser.add_argument("picture", type=Path, nargs="?", help="PNG to draw (plot)")
    arguments = parser.parse_args()
    about, rows = load(arguments.results)
    if arguments.what == "readme":
        write_readme(markdown(about, rows))
    elif arguments.what == "plot":
        if arguments.picture is None:
            parser.error("plot: expected the name of the PNG to draw")
        plot(rows, arguments.picture)
    else:
        from screen import make_screen

        for _, group in groupby(rows, key=lambda row: row.key[:-1]):
            make_screen().table(list(group))


if __name__ == "__main__":
    main()
