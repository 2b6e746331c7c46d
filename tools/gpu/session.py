"""Everything that there is to do on a machine with a GPU, in one command: load, check, test, measure.

    make gpu RESULTS=dir
    python tools/gpu/session.py dir [--minutes 3.5] [--only smoke,tests] [--failed earlier/records.jsonl]

Offline, with nothing installed but torch, triton, numpy and pytest; the compiled module is the one that
`make gpu-bundle` has built on another machine, and only where it does not load it is built here, with
setuptools, ninja, pybind11 and nvcc. In order:

    facts     the machine, its versions and its rates
    load      the compiled module; builds it if it must
    smoke     a few small problems on every backend, and which stage is wrong where one is
    tests     tests/gpu in several processes, without the long ones
    times     eager, replayed from a graph, on the device; against exact values
    counters  of the heaviest kernels, by Nsight Compute
    memcheck  memory errors, by compute-sanitizer
    rest      the long tests
    forms     the textbook, the dense and the compiled form beside the backends, for docs/speed.md

Each step has a limit of its own; one that fails stops none after it, but where smoke or tests have failed
only the times follow, and those shortly, unless --only asks for more. The folder then holds digest.txt
(failures first; printed last), session.log, records.jsonl and what single steps leave: seven files at most.
Ends with status 1 if anything failed or no time was left for it.

`--device cpu --quick` goes through it where there is no GPU, to try this command.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

if __name__ == "__main__":
    # Where a program is started by its path this is its own folder; its package is found from the checkout.
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from tools.gpu.course import digest, running, steps
from tools.gpu.course.running import Log
from tools.gpu.course.steps import Files
from tools.gpu.records import OUT_OF_TIME, Records, last_states, read


def main() -> int:
    arguments = parse()
    files = Files(arguments.results.resolve())
    files.folder.mkdir(parents=True, exist_ok=True)
    # What an earlier session has left there would be taken for this one's.
    for file in files.all():
        file.unlink(missing_ok=True)
    end = time.monotonic() + 60 * arguments.minutes
    with files.log.open("w", encoding="utf-8") as file:
        log = Log(file)
        for name in arguments.only or steps.NAMES:
            _take(name, arguments, files, end, log)
            digest.write(files.records, files.digest)
        log.begin("")
        text = files.digest.read_text(encoding="utf-8")
        print(text, file=file)
    print(text)
    return 0 if digest.is_good(files.records) else 1


def parse(given: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("results", type=Path, help="folder to write to")
    add("--minutes", type=float, default=3.5, help="for everything; default: 3.5")
    add("--only", type=_names, metavar="STEPS", help="these alone, as in smoke,tests")
    add("--failed", type=Path, metavar="RECORDS", help="of the tests only those that failed there")
    add("--backend", nargs="+", metavar="NAME", help="default: cuda triton; cpu with --device cpu")
    add("--device", choices=("cuda", "cpu"), default="cuda", help="default: cuda")
    add("--quick", action="store_true", help="few tests, few small problems")
    arguments = parser.parse_args(given)
    if arguments.failed is not None and not arguments.failed.is_file():
        parser.error(f"--failed: there is no file {arguments.failed}; expected records.jsonl of a session")
    if arguments.failed is not None and arguments.failed.resolve().parent == arguments.results.resolve():
        parser.error(f"--failed: {arguments.failed} would be written anew; choose another folder for results")
    if arguments.backend is None:
        arguments.backend = ["cpu"] if arguments.device == "cpu" else ["cuda", "triton"]
    return arguments


def _names(text: str) -> list[str]:
    names = text.split(",")
    unknown = [name for name in names if name not in steps.NAMES]
    if unknown:
        raise argparse.ArgumentTypeError(f"expected names of {', '.join(steps.NAMES)}; got {unknown[0]!r}")
    return names


def _take(name: str, arguments: argparse.Namespace, files: Files, end: float, log: Log) -> None:
    """What is to be done by this name, and the records of how it went."""
    records = Records(files.records, digest.SESSION)
    refusal = _refusal(name, arguments, files)
    if refusal is not None:
        return records.add(name, "left out", refusal)
    step = steps.make(name, arguments, files, _is_short(arguments, files))
    if step is None:
        return records.add(name, "left out", "there is nothing to do")
    left = end - time.monotonic()
    if left < running.LEAST:
        return records.add(name, "left out", OUT_OF_TIME)
    records.add(name, "started")
    outcome = running.run(step, left, log)
    why = outcome.why or _nothing_ran(name, arguments, files)
    records.add(name, "failed" if why else "passed", why, seconds=round(outcome.seconds, 1))


def _nothing_ran(name: str, arguments: argparse.Namespace, files: Files) -> str | None:
    """Why no test did, of a step that is of tests on a GPU; None: some did, or there are none."""
    tests = [each for each in last_states(read(files.records)).values() if each["step"] == name]
    reasons = [each["why"] for each in tests if each["state"] == "left out" and "why" in each]
    if name not in ("tests", "rest") or arguments.device == "cpu" or not reasons:
        return None
    ran = any(each["state"] in ("passed", "failed") for each in tests)
    return None if ran else f"no test ran: {reasons[0]}"


def _refusal(name: str, arguments: argparse.Namespace, files: Files) -> str | None:
    """Why a step is not taken; None: it is."""
    if arguments.device == "cpu" and name in steps.OF_A_GPU:
        return "it needs a GPU"
    if name in steps.AFTER_SUCCESS and _is_short(arguments, files):
        return "smoke or tests have failed; --only takes it all the same"
    return None


def _is_short(arguments: argparse.Namespace, files: Files) -> bool:
    """Whether what is wrong comes before how long it takes."""
    return arguments.only is None and digest.has_failed(files.records)


if __name__ == "__main__":
    raise SystemExit(main())
