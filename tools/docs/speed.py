"""Shows results of benchmarks/bench_attention.py: docs/speed.md and its picture, or the tables once more.

python tools/docs/speed.py table   benchmarks/results/<machine>.json
python tools/docs/speed.py docs    benchmarks/results/<machine>.json
python tools/docs/speed.py plot    benchmarks/results/<machine>.json times.png
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parents[2] / "benchmarks"))

from attention_bench.cases import PASSES
from attention_bench.plot import plot
from attention_bench.results import ROOT, Row, load
from attention_bench.screen import make_screen
from attention_bench.variants import FORMS
from attention_bench.wording import (
    bytes_text,
    or_nothing,
    percent_text,
    ratio_text,
    table,
    time_text,
    work_text,
)

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
    for same in by_problem(rows):
        own = [row for row in same if row.variant not in (*FORMS, "reference")]
        timed = [row for row in own if row.median is not None and not row.whole]
        if same[0].channels == channels and timed:
            lines.append(_markdown_line(min(timed, key=lambda row: row.median), same))
    return "\n".join([*lines, "", _markdown_caption(about, rows)])


def by_problem(rows: Sequence[Row]) -> Iterator[list[Row]]:
    """The rows of each problem and pass."""
    for _, group in groupby(rows, key=lambda row: row.key[:-1]):
        yield list(group)


def _markdown_line(best: Row, same: Sequence[Row]) -> str:
    forms = {row.label.removesuffix(", whole"): row for row in same if row.variant != best.variant}
    preset = "" if best.preset == "paper" else f", {best.preset}"
    work = f"{work_text(best)}, {best.dtype}, {PASSES[best.direction]}{preset}"
    times = [_form_text(forms.get(name)) for name in FORMS]
    memory = [or_nothing(bytes_text, row and row.working_bytes) for row in (forms.get("textbook"), best)]
    cells = [
        work,
        *times,
        f"**{time_text(best.median)}**",
        or_nothing(lambda ratio: f"**{ratio_text(ratio)}**", best.ratio),
        percent_text(best.gemm_share),
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
        for same in by_problem(rows):
            make_screen().table(table(same))


if __name__ == "__main__":
    main()
