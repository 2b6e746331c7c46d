"""The textbook, the dense and the compiled form beside the backends, by bench_attention.py: for the README.

    python -m tools.gpu.forms --records FILE --json FILE [--backend cuda triton] [--limit 240]

A process for each line of the table: an error in one costs none of the others. All add to the one file of
results, which tools/docs/speed.py makes the table of docs/speed.md of.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from contextual_attention import available_backends
from tools.gpu import ROOT, programs
from tools.gpu.records import OUT_OF_TIME, Records

STEP = "forms"
_BENCHMARK = ROOT / "benchmarks/bench_attention.py"
_PLAIN = ("textbook", "dense")
_LEAST = 8.0


@dataclass(frozen=True)
class Table:
    """What a process measures, and the most seconds that it may take."""

    shape: str
    dtype: str
    forms: tuple[str, ...] = _PLAIN
    limit: float = 60.0
    options: tuple[str, ...] = ("--channels", "128", "--budget", "0.5", "--pass", "forward", "both")

    @property
    def name(self) -> str:
        return f"{self.shape} {self.dtype} {'+'.join(self.forms) or 'alone'}"


# In the order of their worth; what is compiled needs minutes.
TABLES = (
    Table("1x1024x1024", "bfloat16"),
    Table("1x512x680", "bfloat16"),
    Table("16x256x256", "bfloat16"),
    Table("1x512x680", "float32"),
    Table("1x1024x1024", "float32"),
    Table("1x2048x2048", "bfloat16", ()),
    Table("1x512x680", "bfloat16", (*_PLAIN, "compiled"), 100.0),
)
_QUICK = (
    Table("1x64x64", "float32", ("textbook",), options=("--quick", "--budget", "0.05", "--pass", "forward")),
)


def main() -> int:
    parser = programs.parser(__doc__)
    add = parser.add_argument
    add("--json", type=Path, required=True, help="file of results, to write or to add to")
    add("--backend", nargs="+", default=["cuda", "triton"], metavar="NAME", help="default: cuda triton")
    add("--limit", type=float, default=240.0, metavar="SECONDS", help="for everything; default: 240")
    add("--quick", action="store_true", help="one small shape")
    arguments = parser.parse_args()
    end = time.monotonic() + arguments.limit
    records = Records(arguments.records, STEP)
    reasons = available_backends()
    missing = [name for name in arguments.backend if reasons.get(name, "unknown") is not None]
    for name in missing:
        records.add(f"backend {name}", "failed", reasons.get(name, "unknown"))
    usable = [name for name in arguments.backend if name not in missing]
    if not usable:
        return 1
    tables = _QUICK if arguments.quick else TABLES
    good = [measure(each, usable, records, arguments.json, end) for each in tables]
    return 0 if all(good) and not missing else 1


def measure(table: Table, backends: Sequence[str], records: Records, path: Path, end: float) -> bool:
    """Whether a table was made, and all of it is right."""
    limit = min(table.limit, end - time.monotonic())
    if limit < _LEAST:
        records.add(table.name, "left out", OUT_OF_TIME)
        return False
    records.add(table.name, "started")
    before = _rows(path)
    options = ["--shape", table.shape, "--dtype", table.dtype, "--against", *table.forms, *table.options]
    command = [sys.executable, str(_BENCHMARK), "--backend", *backends, *options, "--json", str(path)]
    said, why = programs.output(command, limit, ROOT)
    print(said, flush=True)
    found = [row for row in _rows(path) if row not in before]
    for direction in dict.fromkeys(row["direction"] for row in found):
        text = line([row for row in found if row["direction"] == direction])
        records.add(f"{table.name} {direction}", "measured", line=text)
    wrong = [f"{row['label']} {row['direction']}: {row['note']}" for row in found if row["wrong"]]
    if why is not None and not wrong:
        wrong = [" ".join(said.strip().splitlines()[-1:])]
    reasons = [*([] if why is None else [why]), *wrong]
    records.add(table.name, "failed" if reasons else "measured", "; ".join(reasons) or None)
    return not reasons


def _rows(path: Path) -> list[dict[str, Any]]:
    return json.loads(path.read_text(encoding="utf-8"))["rows"] if path.exists() else []


def line(rows: Sequence[dict[str, Any]]) -> str:
    """The times of a problem and pass in milliseconds, for the digest."""
    first = rows[0]
    times = [
        f"{row['label']} {1e3 * row['median']:.3g}" if row["median"] is not None else f"{row['label']} -"
        for row in rows
    ]
    return f"{first['shape']} {first['dtype']} {first['direction']}, ms: {', '.join(times)}"


if __name__ == "__main__":
    sys.exit(main())
