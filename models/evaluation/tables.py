"""Tables of experiments: means over photographs, and Markdown."""

from __future__ import annotations

from statistics import fmean
from typing import Any

Row = dict[str, Any]


def means(rows: list[Row], by: str) -> list[Row]:
    """Rows averaged over all that have the same value in the column ``by``, in the order that those have.

    Of every other column the mean of its numbers; columns of text are left out, and so are values of None,
    down to a mean of None.
    """
    groups: dict[Any, list[Row]] = {}
    for row in rows:
        groups.setdefault(row[by], []).append(row)
    return [{by: value} | mean(group, but=by) for value, group in groups.items()]


def mean(rows: list[Row], but: str | None = None) -> Row:
    """Rows averaged, as by `means`, without the column ``but``."""
    names = [name for name in rows[0] if name != but and _counts(name, rows)]
    return {name: _mean([row[name] for row in rows]) for name in names}


def to_markdown(rows: list[Row]) -> str:
    """Rows as a table."""
    lines = ["| " + " | ".join(rows[0]) + " |", "|---" * len(rows[0]) + "|"]
    lines += ["| " + " | ".join(map(_cell, row.values())) + " |" for row in rows]
    return "\n".join(lines)


def _counts(name: str, group: list[Row]) -> bool:
    return not any(isinstance(row[name], str) for row in group)


def _mean(values: list[float | None]) -> float | None:
    numbers = [value for value in values if value is not None]
    return fmean(numbers) if numbers else None


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
