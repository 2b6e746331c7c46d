"""compute-sanitizer: where it is, how it is asked to check a program's memory accesses, what it then says.

No racecheck and no synccheck: no kernel uses shared memory. No initcheck: rows are padded, and read whole.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from tools.gpu import programs

PLACES = ("/usr/local/cuda/bin", "/usr/local/cuda/compute-sanitizer")
# torch's caching allocator would hide what lies beyond a tensor.
ENVIRONMENT = {"PYTORCH_NO_CUDA_MEMORY_CACHING": "1"}
_LINES = 6  # of the first error


@dataclass(frozen=True)
class Findings:
    """What it says; `errors` is None if it was cut before its summary, `first` empty if there is none."""

    errors: int | None
    first: str


def find() -> str | None:
    """The program; None: it is not on PATH, nor in PLACES."""
    return programs.find("compute-sanitizer", PLACES)


def command(program: str, kernels: Sequence[str] = ()) -> list[str]:
    """What checks the command behind it.

    Args:
        program: As `find` gives it.
        kernels: Parts of the names of those that are checked; none: all.
    """
    return [
        *(program, "--tool", "memcheck", "--error-exitcode", "9"),
        # An option for each: that a kernel must match one is said of options, not of what stands in one.
        *(f"--kernel-name=kernel_substring={name}" for name in kernels),
        # Not the compilers that Triton starts.
        *("--target-processes", "application-only"),
        # torch asks CUDA some things only to see whether they are refused.
        *("--report-api-errors", "no", "--show-backtrace", "no", "--print-limit", "20"),
        # An import on a cold disk takes longer than the ten seconds that are waited for it.
        *("--launch-timeout", "60"),
    ]


def parse(lines: Sequence[str]) -> Findings:
    """The number of errors in what it printed, and the first of them, in a line."""
    told = [each.removeprefix("=========").strip() for each in lines if each.startswith("=========")]
    summary = next((each for each in told if each.startswith("ERROR SUMMARY")), None)
    count = re.search(r"\d+", summary) if summary else None
    first = next((i for i, each in enumerate(told) if _is_error(each)), None)
    block = [] if first is None else told[first : first + _LINES]
    end = next((i for i, each in enumerate(block) if not each or each.startswith("Saved host")), len(block))
    return Findings(int(count[0]) if count else None, "; ".join(block[:end]))


def _is_error(line: str) -> bool:
    begins = r"Invalid|Misaligned|Program hit|Fatal|Error|Internal|.*(fault|[Tt]imeout)"
    return re.match(begins, line) is not None
