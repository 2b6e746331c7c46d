"""How results are worded: quantities with their units, and what a row is about."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from results import Row

PASSES = {"forward": "forward", "backward": "backward", "both": "forward + backward"}


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
