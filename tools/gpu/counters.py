"""What the heaviest kernels wait for, by the hardware's counters: Nsight Compute on one call at 1024 x 1024.

    python -m tools.gpu.counters --records FILE --csv FILE [--limit 45]

Of the CUDA backend, forward, with both presets: the kernels of the first tile, matrix products among them.
Each is a record of its own; all that Nsight Compute has said is in the file of the counters.
"""

from __future__ import annotations

import csv
import json
import re
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tools.gpu import programs
from tools.gpu.records import OUT_OF_TIME, Records
from tools.gpu.timing.profiles import short_name

STEP = "counters"
_SHAPE = "1x1024x1024"
_PRESETS = ("paper", "yu2018")
_PLACES = ("/usr/local/cuda/bin", "/opt/nvidia/nsight-compute/*")
# Ours and the matrix products of cuBLAS, by the names of functions, without templates.
_KERNELS = "regex:walk_|reduce_rows|visit_points|nvjet|gemm|cutlass"
_COUNT = 8
# Of these, the longest that the digest is told of.
_SHOWN = 4
_TIME, _INSTRUCTIONS = "gpu__time_duration.sum", "sm__inst_executed.sum"
_ISSUING = "smsp__issue_active.avg.pct_of_peak_sustained_active"
_WARPS = "sm__warps_active.avg.pct_of_peak_sustained_active"
_DRAM = ("dram__bytes_read.sum", "dram__bytes_write.sum")
_L2 = "lts__t_bytes.sum"
_STALLS = [
    "barrier",
    "branch_resolving",
    "dispatch_stall",
    "drain",
    "imc_miss",
    "lg_throttle",
    "long_scoreboard",
    "math_pipe_throttle",
    "membar",
    "mio_throttle",
    "misc",
    "no_instruction",
    "not_selected",
    "short_scoreboard",
    "sleeping",
    "tex_throttle",
    "wait",
]
_STALL = "smsp__average_warps_issue_stalled_{}_per_issue_active.ratio"
METRICS = (_TIME, _INSTRUCTIONS, _ISSUING, _WARPS, *_DRAM, _L2, *map(_STALL.format, _STALLS))
_LANES = 32
# Nsight Compute may name units in full, even where base units are asked for.
_UNITS = {
    "nsecond": 1e-9, "usecond": 1e-6, "msecond": 1e-3, "second": 1.0,
    "ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0,
    "Kbyte": 1e3, "Mbyte": 1e6, "Gbyte": 1e9,
}  # fmt: skip
# Seconds of a run, and the fewest that are worth starting one for.
_MOST, _LEAST = 24.0, 8.0


@dataclass
class Launch:
    """A launch of a kernel, with its metrics in seconds, bytes, percents and counts."""

    kernel: str
    metrics: dict[str, float] = field(default_factory=dict)


def main() -> int:
    parser = programs.parser(__doc__)
    add = parser.add_argument
    add("--csv", type=Path, required=True, help="file for all that Nsight Compute says")
    add("--limit", type=float, default=43.0, metavar="SECONDS", help="for everything; default: 43")
    arguments = parser.parse_args()
    records, end = Records(arguments.records, STEP), time.monotonic() + arguments.limit
    ncu = programs.find("ncu", _PLACES)
    if ncu is None:
        places = ", ".join(("PATH", *_PLACES))
        records.add("Nsight Compute", "failed", f"there is no ncu on {places}")
        return 1
    good = [count(ncu, preset, records, arguments.csv, end) for preset in _PRESETS]
    return 0 if all(good) else 1


def count(ncu: str, preset: str, records: Records, path: Path, end: float) -> bool:
    """Profile a call with a preset and record its kernels; again without metrics that are unknown here."""
    what = f"{preset} {_SHAPE}"
    metrics = list(METRICS)
    while end - time.monotonic() > _LEAST:
        records.add(what, "started")
        said, why, tile_scores = _profile(ncu, preset, metrics, min(_MOST, end - time.monotonic()))
        programs.append(path, f"# {what}\n{said}".rstrip("\n") + "\n")
        launches = list(parse(said.splitlines()))
        longest = sorted(launches, key=lambda launch: -launch.metrics.get(_TIME, 0))[:_SHOWN]
        for i, launch in enumerate(launches):
            told = _told(launch, tile_scores)
            if launch in longest:
                told["line"] = f"{preset} {line(launch, tile_scores)}"
                print(told["line"], flush=True)
            records.add(f"{what} {i}", "measured", **told)
        if launches:
            records.add(what, "measured" if why is None else "failed", why, launches=len(launches))
            return why is None
        errors = [each for each in said.splitlines() if each.startswith("==ERROR==")]
        unknown = [
            name for name in metrics if any(re.search(rf"{re.escape(name)}(?![\w.])", e) for e in errors)
        ]
        if not unknown or len(unknown) == len(metrics):
            records.add(what, "failed", "; ".join([*errors, why or "it profiled no kernel"]))
            return False
        metrics = [name for name in metrics if name not in unknown]
    records.add(what, "left out", OUT_OF_TIME)
    return False


def _profile(
    ncu: str, preset: str, metrics: Sequence[str], limit: float
) -> tuple[str, str | None, int | None]:
    """What Nsight Compute says; why it ended badly, if it did; and the scores of a tile."""
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "ncu.csv"
        command = [
            *(ncu, "--clock-control", "none", "--profile-from-start", "off", "--kernel-name", _KERNELS),
            *("--launch-count", str(_COUNT), "--csv", "--print-units", "base", "--log-file", str(log)),
            *("--metrics", ",".join(metrics)),
            *(sys.executable, "-m", "tools.gpu.timing.one_call", "--preset", preset, "--shape", _SHAPE),
        ]
        program, why = programs.output(command, limit)
        said = log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""
    found = re.search(r'^\{"tile_scores".*$', program, re.MULTILINE)
    if why is not None:
        why = f"{why}: {' | '.join(program.strip().splitlines()[-2:])}"
    return said or program, why, json.loads(found[0])["tile_scores"] if found else None


def parse(lines: Iterable[str]) -> Iterator[Launch]:
    """The launches in the CSV of Nsight Compute's details: a line for each metric of each launch."""
    rows = csv.reader(each for each in lines if each.startswith('"'))
    header = next(rows, None)
    if header is None or not {"ID", "Kernel Name", "Metric Name", "Metric Value"} <= set(header):
        return
    launches: dict[str, Launch] = {}
    for values in rows:
        row = dict(zip(header, values, strict=False))
        launch = launches.setdefault(row["ID"], Launch(short_name(row["Kernel Name"])))
        try:
            value = float(row["Metric Value"].replace(",", ""))
        except (KeyError, ValueError):  # n/a, or a line that a kill has cut
            continue
        launch.metrics[row["Metric Name"]] = value * _UNITS.get(row.get("Metric Unit", ""), 1)
    yield from launches.values()


def _told(launch: Launch, tile_scores: int | None) -> dict[str, Any]:
    """What a record says of a launch: its metrics, what is derived of them, and what warps wait for most."""
    told: dict[str, Any] = {"kernel": launch.kernel, "metrics": launch.metrics}
    metrics = launch.metrics
    if _TIME in metrics:
        told["us"] = round(1e6 * metrics[_TIME], 2)
    if _INSTRUCTIONS in metrics and tile_scores:
        told["instructions_a_score"] = round(_LANES * metrics[_INSTRUCTIONS] / tile_scores, 1)
    if metrics.get(_TIME) and all(name in metrics for name in _DRAM):
        told["dram_gb_per_s"] = round(sum(metrics[name] for name in _DRAM) / metrics[_TIME] / 1e9, 1)
    if metrics.get(_TIME) and _L2 in metrics:
        told["l2_gb_per_s"] = round(metrics[_L2] / metrics[_TIME] / 1e9, 1)
    stalls = {name: metrics[_STALL.format(name)] for name in _STALLS if _STALL.format(name) in metrics}
    told["stalls"] = dict(sorted(stalls.items(), key=lambda item: -item[1])[:3])
    return told


def line(launch: Launch, tile_scores: int | None) -> str:
    """A launch for the digest."""
    told = _told(launch, tile_scores)
    parts = []
    for key, text in (
        ("us", "{:g} µs"),
        ("instructions_a_score", "{:g} inst/score"),
        ("dram_gb_per_s", "dram {:.0f}"),
        ("l2_gb_per_s", "L2 {:.0f} GB/s"),
    ):
        if key in told:
            parts.append(text.format(told[key]))
    for name, title in ((_ISSUING, "issue"), (_WARPS, "warps")):
        if name in launch.metrics:
            parts.append(f"{title} {launch.metrics[name]:.0f} %")
    parts += [f"{name} {waiting:.1f}" for name, waiting in list(told["stalls"].items())[:1]]
    return f"{launch.kernel}: {', '.join(parts) or 'no metrics'}"


if __name__ == "__main__":
    sys.exit(main())
