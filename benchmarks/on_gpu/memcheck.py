"""Reads and writes beside the memory: compute-sanitizer on small problems of every kind (test_memcheck).

    python -m on_gpu.memcheck --records FILE --log FILE [--backend cuda triton] [--limit 38]

A run for each backend, side by side; of its kernels alone, for those of the libraries would take minutes. No
racecheck and no synccheck: no kernel uses shared memory. No initcheck: rows are padded, and read to the end.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from on_gpu import ROOT, tools
from on_gpu.records import Records

STEP = "memcheck"
_PLACES = ("/usr/local/cuda/bin", "/usr/local/cuda/compute-sanitizer")
# Of their mangled names.
KERNELS = {
    "cuda": ("walk_paths", "visit_points", "reduce_rows", "visit_items"),
    "triton": ("diagonal_sum", "exponentials", "combine", "dot", "centre", "norm_gradients", "largest"),
}
_LINES = 6  # of the first error


@dataclass(frozen=True)
class Findings:
    """What a log of compute-sanitizer says; `errors` is None if it was cut before its summary."""

    errors: int | None
    first: str


def main() -> int:
    parser = tools.parser(__doc__)
    add = parser.add_argument
    add("--log", type=Path, required=True, help="file for all that compute-sanitizer says, to add to")
    add("--backend", nargs="+", choices=KERNELS, default=list(KERNELS), help="default: cuda triton")
    add("--limit", type=float, default=38.0, metavar="SECONDS", help="for everything; default: 38")
    arguments = parser.parse_args()
    records = Records(arguments.records, STEP)
    sanitizer = tools.find("compute-sanitizer", _PLACES)
    if sanitizer is None:
        places = ", ".join(("PATH", *_PLACES))
        records.add("compute-sanitizer", "failed", f"there is no compute-sanitizer on {places}")
        return 1
    with ThreadPoolExecutor() as pool:
        found = pool.map(
            lambda backend: check(sanitizer, backend, records, arguments.log, arguments.limit),
            arguments.backend,
        )
        try:
            return 0 if all(list(found)) else 1
        except KeyboardInterrupt:
            tools.end_all()  # or the threads would go on waiting for them
            raise


def check(sanitizer: str, backend: str, records: Records, log: Path, limit: float) -> bool:
    """Run a backend's problems and record what was found; whether that was nothing."""
    records.add(backend, "started")
    test = ["-k", f"test_memcheck and {backend}", "--confcutdir=tests/gpu", "tests/gpu/test_agreement.py"]
    pytest = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q", "--tb=short", *test]
    # torch's caching allocator would hide what lies beyond a tensor.
    environment = {"PYTORCH_NO_CUDA_MEMORY_CACHING": "1"}
    said, why = tools.output([*sanitized(sanitizer, backend), *pytest], limit, ROOT, environment)
    with log.open("a", encoding="utf-8") as file:
        file.write(f"# {backend}\n{said.rstrip()}\n")
    found = parse(said.splitlines())
    reasons = [found.first] if found.errors else []
    if found.errors is None:
        reasons.append(f"compute-sanitizer has not come to its summary; {found.first}".rstrip("; "))
    if why is not None:
        reasons += [why, *_test_lines(said)]
    told = f"{backend}: {'no summary' if found.errors is None else f'{found.errors} errors'}"
    state = "failed" if reasons else "passed"
    records.add(backend, state, "; ".join(reasons) or None, errors=found.errors, line=told)
    print(told, *reasons, sep="; ", flush=True)
    return not reasons


def sanitized(sanitizer: str, backend: str) -> list[str]:
    """The command that checks the memory accesses of a backend's kernels in the command behind it."""
    # An option for each: that a kernel must match one is said of options, not of what stands in one.
    kernels = [f"--kernel-name=kernel_substring={name}" for name in KERNELS[backend]]
    return [
        *(sanitizer, "--tool", "memcheck", *kernels, "--error-exitcode", "9"),
        # Not the compilers that Triton starts.
        *("--target-processes", "application-only"),
        # torch asks CUDA some things only to see whether they are refused.
        *("--report-api-errors", "no", "--show-backtrace", "no", "--print-limit", "20"),
        # An import on a cold disk takes longer than the ten seconds that are waited for it.
        *("--launch-timeout", "60"),
    ]


def parse(lines: Sequence[str]) -> Findings:
    """The number of errors in a log and the first of them, in a line."""
    told = [each.removeprefix("=========").strip() for each in lines if each.startswith("=========")]
    summary = next((each for each in told if each.startswith("ERROR SUMMARY")), None)
    count = re.search(r"\d+", summary) if summary else None
    starts = [
        i for i, each in enumerate(told) if re.match(r"(Invalid|Misaligned|Program hit|Error|.*fault)", each)
    ]
    first = ""
    if starts:
        block = told[starts[0] : starts[0] + _LINES]
        first = "; ".join(block[: block.index("")] if "" in block else block)
    return Findings(int(count[0]) if count else None, first)


def _test_lines(said: str) -> list[str]:
    """What pytest says of a failure."""
    return [each for each in said.splitlines() if each.startswith(("E  ", "FAILED", "ERROR "))][:2]


if __name__ == "__main__":
    sys.exit(main())
