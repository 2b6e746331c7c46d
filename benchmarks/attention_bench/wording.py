"""How results are worded: quantities with their units, what a row is about, tables of rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from .cases import PASSES
from .results import Row, Sampled
from .screen import Table

# Units


def time_text(seconds: float) -> str:
    """Three digits: 7.14 s, 85.2 ms, 130 µs."""
    for factor, unit in ((1, "s"), (1e3, "ms")):
        if seconds * factor >= 0.9995:
            return f"{_three_digits(seconds * factor)} {unit}"
    return f"{_three_digits(seconds * 1e6)} µs"


def bytes_text(count: int) -> str:
    for factor, unit in ((1e9, "GB"), (1e6, "MB")):
        if count >= factor:
            return f"{_three_digits(count / factor)} {unit}"
    return f"{count / 1e3:.0f} kB"


def ratio_text(ratio: float) -> str:
    return f"{ratio:.2f}×" if ratio < 9.95 else f"{ratio:.1f}×" if ratio < 99.5 else f"{ratio:.0f}×"


def percent_text(share: float) -> str:
    return f"{100 * share:.0f} %"


def _three_digits(x: float) -> str:
    return f"{x:.0f}" if x >= 99.95 else f"{x:.1f}" if x >= 9.995 else f"{x:.2f}"


def or_nothing(text: Callable[[Any], str], x: Any) -> str:
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
        f"{work_text(row)} · C {row.channels} · {row.dtype} · {PASSES[row.direction]} · {row.preset} · "
        f"{row.device}, {row.threads} threads"
    )


def is_unfit(row: Row) -> bool:
    return (row.note or "").startswith("would need")


# A table


def table(rows: Sequence[Row]) -> Table:
    """Of the rows of one problem and pass."""
    half = any(row.ratio_to_float32 for row in rows)
    extra = ["/ float32"] if half else []
    headings = ["variant", "time", "±", "n", "ratio", *extra, "memory", "GFLOP/s", "GEMM"]
    lines = [_cells(row, half) for row in rows]
    wrong = frozenset(i for i, row in enumerate(rows) if row.wrong)
    return Table(problem_text(rows[0]), headings, lines, wrong, _caption(rows))


def time_cells(row: Sampled) -> list[str]:
    """Under "time", "±" and "n"."""
    times = or_nothing(time_text, row.median), or_nothing(percent_text, row.spread)
    return [*times, str(len(row.seconds) or "")]


def _cells(row: Row, half: bool) -> list[str]:
    return [
        row.label,
        *time_cells(row),
        *(or_nothing(ratio_text, x) for x in (row.ratio, *([row.ratio_to_float32] if half else []))),
        row.note if is_unfit(row) else or_nothing(bytes_text, row.working_bytes),
        or_nothing(lambda x: f"{x:.0f}" if x >= 9.95 else f"{x:.1f}", row.gflops),
        or_nothing(percent_text, row.gemm_share),
    ]


def _caption(rows: Sequence[Row]) -> str:
    lines = [f"{row.label}: {row.note}" for row in rows if row.note and not is_unfit(row)]
    timed = next((row for row in rows if row.gemm_gflops), None)
    if timed:
        rate = f"{timed.gemm_gflops:.0f} GFLOP/s, {timed.dtype}, {timed.gemm_side}³"
        lines.append(f"GEMM: {rate}, in the same turns")
    return "\n".join(lines)
