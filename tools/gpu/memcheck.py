"""Reads and writes beside the memory: compute-sanitizer on small problems of every kind (test_memcheck).

    python -m tools.gpu.memcheck --records FILE --log FILE [--backend cuda triton] [--limit 38]

A run for each backend, side by side; of its kernels alone, for those of the libraries would take minutes.
"""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tools.gpu import ROOT, programs, sanitizer
from tools.gpu.records import Records

STEP = "memcheck"
# Of their mangled names.
KERNELS = {
    "cuda": ("walk_paths", "walk_octets", "visit_points", "reduce_rows", "visit_items", "march_rows"),
    "triton": ("diagonal_sum", "exponentials", "combine", "dot", "centre", "norm_gradients", "largest"),
}


def main() -> int:
    parser = programs.parser(__doc__)
    add = parser.add_argument
    add("--log", type=Path, required=True, help="file for all that compute-sanitizer says, to add to")
    add("--backend", nargs="+", choices=KERNELS, default=list(KERNELS), help="default: cuda triton")
    add("--limit", type=float, default=38.0, metavar="SECONDS", help="for everything; default: 38")
    arguments = parser.parse_args()
    records = Records(arguments.records, STEP)
    program = sanitizer.find()
    if program is None:
        places = ", ".join(("PATH", *sanitizer.PLACES))
        records.add("compute-sanitizer", "failed", f"there is no compute-sanitizer on {places}")
        return 1
    with ThreadPoolExecutor() as pool:
        found = pool.map(
            lambda backend: check(program, backend, records, arguments.log, arguments.limit),
            arguments.backend,
        )
        try:
            return 0 if all(list(found)) else 1
        except KeyboardInterrupt:
            programs.end_all()  # or the threads would go on waiting for them
            raise


def check(program: str, backend: str, records: Records, log: Path, limit: float) -> bool:
    """Run a backend's problems and record what was found; whether that was nothing."""
    records.add(backend, "started")
    test = ["-k", f"test_memcheck and {backend}", "--confcutdir=tests/gpu", "tests/gpu/test_agreement.py"]
    pytest = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q", "--tb=short", *test]
    checked = [*sanitizer.command(program, KERNELS[backend]), *pytest]
    said, why = programs.output(checked, limit, ROOT, sanitizer.ENVIRONMENT)
    programs.append(log, f"# {backend}\n{said.rstrip()}\n")
    found = sanitizer.parse(said.splitlines())
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


def _test_lines(said: str) -> list[str]:
    """What pytest says of a failure."""
    return [each for each in said.splitlines() if each.startswith(("E  ", "FAILED", "ERROR "))][:2]


if __name__ == "__main__":
    sys.exit(main())
