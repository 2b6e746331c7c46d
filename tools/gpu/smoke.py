"""The smoke step: small cases of one backend, a line each at once; of a wrong one, the stage that is wrong.

    python -m tools.gpu.smoke --records FILE --backend cuda [--device cuda] [--memcheck-log FILE] [--limit 68]
    python -m tools.gpu.smoke --records FILE --backend cuda --only "paper float32"

Cases run in other processes (isolation.py), so that a lost context, a crash or a hang takes its own case
alone. The first two bad ones run again by themselves: with CUDA_LAUNCH_BLOCKING=1, so that an error is met at
the launch that made it, and under compute-sanitizer's memcheck. `--only` runs one case, in this process.

Ends with status 1 if a case was not right, or was not reached within the time.
"""

from __future__ import annotations

import argparse
import faulthandler
import sys
import time
from dataclasses import replace
from pathlib import Path

from tools.gpu import ROOT

# The suite's problems and bounds; the package as it lies in the checkout.
sys.path.append(str(ROOT / "tests"))

from tools.gpu.records import Records
from tools.gpu.trials import START
from tools.gpu.trials.again import run_again
from tools.gpu.trials.cases import TRIALS
from tools.gpu.trials.runs import Runs, run_here

# From here on, for all cases, by device; those that have not begun by then are left out. Without a GPU there
# is no hurry, and the processors may have other work.
_SECONDS = {"cuda": 35.0, "cpu": 50.0}
_RUN_AGAIN = 2
# What is kept of the limit for telling how it ended; and what bad ones get when nothing is left of it.
_MARGIN, _LEAST = 2.0, 5.0


def main() -> int:
    arguments = _parser().parse_args()
    records, end = Records(arguments.records, "smoke"), time.monotonic() + _SECONDS[arguments.device]
    runs = Runs(records, arguments.backend, arguments.device, end)

    def left() -> float:
        return START + arguments.limit - time.monotonic()

    if arguments.only is not None:
        (trial,) = (each for each in TRIALS if each.name == arguments.only)
        faulthandler.enable()
        return 0 if run_here(replace(runs, limit=max(1.0, left() - _MARGIN)), trial, sys.stderr) else 1
    states = runs.run(TRIALS)
    bad = [each for each in TRIALS if states[each.name] == "failed"]
    run_again(runs, bad[:_RUN_AGAIN], arguments.memcheck_log, max(_LEAST, left() - _MARGIN))
    return 0 if set(states.values()) == {"passed"} else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--records", type=Path, required=True, help="file that lines are appended to")
    parser.add_argument("--backend", choices=("cuda", "triton", "cpu"), required=True)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda", help="default: cuda")
    parser.add_argument("--memcheck-log", type=Path, help="what memcheck says of bad cases is appended to it")
    parser.add_argument(
        "--limit",
        type=float,
        default=68.0,
        metavar="SECONDS",
        help="from the start of the program, until which it has ended; default: 68",
    )
    parser.add_argument("--only", choices=[each.name for each in TRIALS], metavar="CASE", help="one case")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
