"""Tables for the terminal, of the rows of one problem and pass."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from results import Row
from wording import bytes_text, is_unfit, or_nothing, problem_text, ratio_text, time_text


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
        or_nothing(time_text, row.median),
        or_nothing(lambda x: f"{100 * x:.0f} %", row.spread),
        str(len(row.seconds) or ""),
        *(or_nothing(ratio_text, ratio) for ratio in ratios),
        row.note if is_unfit(row) else or_nothing(bytes_text, row.working_bytes),
        or_nothing(lambda x: f"{x:.0f}" if x >= 9.95 else f"{x:.1f}", row.gflops),
        or_nothing(lambda x: f"{100 * x:.0f} %", row.gemm_share),
    ]


def _caption(rows: Sequence[Row]) -> str:
    lines = [f"{row.label}: {row.note}" for row in rows if row.note and not is_unfit(row)]
    timed = next((row for row in rows if row.gemm_gflops), None)
    if timed:
        rate = f"{timed.gemm_gflops:.0f} GFLOP/s, {timed.dtype}, {timed.gemm_side}³"
        lines.append(f"GEMM: {rate}, in the same turns")
    return "\n".join(lines)
