"""Everything that there is to do on a machine with a GPU, in one command: build, test, measure.

    make gpu RESULTS=dir
    python benchmarks/gpu_session.py dir [--minutes 9] [--device cpu --quick]

Offline, with nothing installed but torch, triton, numpy, ninja, pybind11, setuptools and pytest; the package
is built in place. Writes into the folder: <device>.json (as bench_attention.py does), session.log with all
output, and summary.json. Every step has a time limit of its own and its part of the whole; one that fails
does not stop those after it. Ends with status 1 if a step failed, ran out of time or was not reached.

`--device cpu --quick` goes through the same steps where there is no GPU, to test this script.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO

ROOT = Path(__file__).resolve().parents[1]
BENCHMARK = ROOT / "benchmarks" / "bench_attention.py"
_SANITIZER = Path("/usr/local/cuda/bin/compute-sanitizer")


@dataclass(frozen=True)
class Step:
    """A command and the most seconds that it may take."""

    name: str
    command: list[str]
    limit: float
    environment: dict[str, str] = field(default_factory=dict)


@dataclass
class Outcome:
    step: str
    status: int | None  # None: not run
    seconds: float
    note: str | None = None

    @property
    def is_good(self) -> bool:
        return self.status == 0


def main() -> int:
    arguments = _parser().parse_args()
    results: Path = arguments.results
    results.mkdir(parents=True, exist_ok=True)
    end = time.monotonic() + 60 * arguments.minutes
    outcomes: list[Outcome] = []
    with (results / "session.log").open("w", encoding="utf-8") as log:
        for step in _steps(arguments):
            outcomes.append(_run(step, end - time.monotonic(), log))
            _write(results / "summary.json", json.dumps([asdict(each) for each in outcomes], indent=1))
        for each in outcomes:
            took = f"{each.seconds:6.1f} s"
            _say(log, f"{'ok    ' if each.is_good else 'FAILED'} {took}  {each.step}: {each.note or 'done'}")
    return 0 if all(each.is_good for each in outcomes) else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("results", type=Path, help="folder to write to")
    parser.add_argument("--minutes", type=float, default=8.5, help="for everything; default: 8.5")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda", help="default: cuda")
    parser.add_argument("--quick", action="store_true", help="few tests, few small problems")
    parser.add_argument("--no-build", action="store_true", help="take the extension as it is")
    return parser


def _steps(arguments: argparse.Namespace) -> Iterator[Step]:
    """In the order of their worth: what comes last is what falls out of the time."""
    python = sys.executable
    yield Step("machine", [python, "-c", _ABOUT], 60)
    if not arguments.no_build:
        yield Step("build", [python, "setup.py", "build_ext", "--inplace"], 150)
    backends = ["cpu"] if arguments.device == "cpu" else ["cuda", "triton"]
    yield Step("backends", [python, "-c", _BACKENDS, *backends], 60)
    yield _tests("tests", arguments, 170)
    yield from _benchmarks(arguments, backends, first=True)
    sanitizer = _sanitizer()
    if arguments.device == "cuda" and sanitizer is not None:
        yield _sanitized(sanitizer, arguments)
    yield from _benchmarks(arguments, backends, first=False)


_ABOUT = """
import subprocess, sys, torch
print(sys.version, "torch", torch.__version__, "CUDA", torch.version.cuda)
try:
    import triton; print("triton", triton.__version__)
except ImportError as error:
    print(error)
if torch.cuda.is_available():
    print(torch.cuda.get_device_properties(0))
    subprocess.run(["nvidia-smi"], check=False)
"""

_BACKENDS = """
import sys
from contextual_attention import available_backends
reasons = available_backends()
print(reasons)
missing = {name: reasons.get(name, "unknown") for name in sys.argv[1:] if reasons.get(name, "unknown")}
sys.exit(f"not usable: {missing}" if missing else 0)
"""


def _tests(name: str, arguments: argparse.Namespace, limit: float, *selection: str) -> Step:
    # What lies above tests/gpu needs packages that this may not ask for.
    pytest = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q", "--durations=15"]
    where = ["--confcutdir=tests/gpu", "tests/gpu"]
    if arguments.quick and not selection:
        selection = ("-k", "test_exact_pixels or memcheck")
    return Step(name, [*pytest, *where, *selection], limit)


def _sanitizer() -> str | None:
    return shutil.which("compute-sanitizer") or (str(_SANITIZER) if _SANITIZER.exists() else None)


def _sanitized(sanitizer: str, arguments: argparse.Namespace) -> Step:
    tests = _tests("memcheck", arguments, 80, "-k", "test_memcheck")
    checked = [sanitizer, "--tool", "memcheck", "--error-exitcode", "9", *tests.command]
    # torch's caching allocator would hide what lies beyond a tensor.
    return Step("memcheck", checked, tests.limit, {"PYTORCH_NO_CUDA_MEMORY_CACHING": "1"})


def _benchmarks(arguments: argparse.Namespace, backends: list[str], first: bool) -> Iterator[Step]:
    """The sizes of the README first, torch.compile, which needs minutes, for few of them."""
    if arguments.quick:
        if first:
            options = ["--shape", "1x64x64", "--quick", "--pass", "forward", "--against", "textbook"]
            yield _benchmark("1x64x64", arguments, backends, 150, *options)
        return
    half, plain = ["--dtype", "bfloat16"], ["--against", "textbook", "dense"]
    channels = ["--channels", "128"]
    small = ["--shape", "16x256x256", "1x512x680", "1x1024x1024"]
    large = ["--shape", "1x2048x2048", "1x4096x4096", "--pass", "forward"]
    everything = [*half, *channels, "--budget", "0.5"]
    if first:
        yield _benchmark("bfloat16", arguments, backends, 110, *small, *everything, *plain)
        yield _benchmark("large", arguments, backends, 60, *large, *everything, "--against")
        return
    yield _benchmark(
        "yu2018", arguments, backends, 40, *small, *everything, "--preset", "yu2018", "--against"
    )
    compiled = ["--shape", "1x512x680", *everything, "--against", "textbook", "dense", "compiled"]
    yield _benchmark("compiled", arguments, backends, 90, *compiled)
    wide = ["--shape", "1x512x680", *channels, "--budget", "0.5", *plain]
    yield _benchmark("float32", arguments, backends, 60, *wide)


def _benchmark(
    name: str, arguments: argparse.Namespace, backends: list[str], limit: float, *options: str
) -> Step:
    file = arguments.results.resolve() / f"{_device_name(arguments.device)}.json"
    command = [sys.executable, str(BENCHMARK), "--backend", *backends, *options, "--json", str(file)]
    return Step(f"benchmark {name}", command, limit)


def _device_name(device: str) -> str:
    """As a file name: nvidia-h200."""
    if device == "cpu":
        return "cpu"
    import torch

    name = torch.cuda.get_device_name() if torch.cuda.is_available() else "no-gpu"
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def _run(step: Step, left: float, log: IO[str]) -> Outcome:
    """One step, its output to the terminal and to the log, itself and its children ended at the limit."""
    limit = min(step.limit, left)
    _say(log, f"\n===== {step.name} (at most {limit:.0f} s): {' '.join(step.command)}")
    if limit < 5:
        return Outcome(step.name, None, 0.0, "no time was left")
    # The checkout is used as it lies: nothing is installed.
    paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths)), "PYTHONUNBUFFERED": "1"}
    start = time.monotonic()
    process = subprocess.Popen(
        step.command,
        cwd=ROOT,
        env=environment | step.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    timer = threading.Timer(limit, os.killpg, (process.pid, signal.SIGKILL))
    timer.start()
    try:
        for line in process.stdout:
            _say(log, line.rstrip("\n"))
        status = process.wait()
    finally:
        timer.cancel()
    seconds = time.monotonic() - start
    if status == -signal.SIGKILL and seconds >= limit - 1:
        return Outcome(step.name, status, seconds, f"ended after {limit:.0f} s")
    return Outcome(step.name, status, seconds, f"status {status}" if status else None)


def _say(log: IO[str], line: str) -> None:
    print(line, flush=True)
    print(line, file=log, flush=True)


def _write(path: Path, text: str) -> None:
    temporary = path.with_suffix(".part")
    temporary.write_text(text + "\n", encoding="utf-8")
    temporary.replace(path)


if __name__ == "__main__":
    raise SystemExit(main())
