"""The step `load`: whether the compiled module that was brought along works here; if not, it is built.

    python -m tools.gpu.load --records FILE [--device cpu]

`make gpu-bundle` has built it on another machine. What is wrong with it is told before the build begins,
which takes its architecture from the card. Ends with status 1 if in the end a backend of the device is not
usable.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tools.gpu import ROOT
from tools.gpu.records import Records, State, shortened

# By device; the first is that of the compiled module.
BACKENDS = {"cuda": ("cuda", "triton"), "cpu": ("cpu",)}
# For imports from a cold disk and the start of CUDA.
_LIMIT = 60.0
# How a line of a build says why it failed.
_ERROR = re.compile(r"\berror\b|Error: ")
_LINE = 300


@dataclass
class Look:
    """What a fresh interpreter finds here (looking.py); a field that it did not get to is as it was."""

    torch: str | None = None  # its version
    capability: list[int] | None = None  # of the card
    module: dict[str, Any] = field(default_factory=dict)  # its file, how it was built, seconds of the imports
    refusals: dict[str, str] | None = None  # the backends that do not work, and why
    host_loops: tuple[State, str | None] | None = None
    ended: str | None = None  # why it did not get to the end

    def why_not(self, backend: str) -> str | None:
        """None: it is usable."""
        return self.ended if self.refusals is None else self.refusals.get(backend)

    def why_no_module(self, device: str) -> str | None:
        """What is wrong with the compiled module; None: nothing, as far as it can be seen here."""
        has_device = device == "cpu" or self.capability is not None
        return self.why_not(device) if has_device or not self.module else None

    def can_build(self, device: str) -> bool:
        """Whether there is what a build is for."""
        return self.torch is not None and (device == "cpu" or self.capability is not None)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--records", type=Path, required=True, help="file of records to append to")
    parser.add_argument("--device", choices=tuple(BACKENDS), default="cuda", help="default: cuda")
    arguments = parser.parse_args()
    return 0 if run(Records(arguments.records, "load"), arguments.device) else 1


def run(records: Records, device: str) -> bool:
    """Whether every backend of the device is usable, in the end."""
    found = look(device)
    fault = found.why_no_module(device)
    _record(records, "ready-made module", fault, **found.module)
    if fault and found.can_build(device) and build(records, architecture(found.capability)):
        found = look(device)
        _record(records, "module built here", found.why_no_module(device), **found.module)
    _tell(records, "host loops", *(found.host_loops or ("failed", found.ended)))
    reasons = {backend: found.why_not(backend) for backend in BACKENDS[device]}
    for backend, why in reasons.items():
        _record(records, backend, why)
    return not any(reasons.values())


def _record(records: Records, what: str, why: str | None, **more: Any) -> None:
    """That it works, or why it does not."""
    _tell(records, what, "failed" if why else "passed", why, **more)


def _tell(records: Records, what: str, state: State, why: str | None, **more: Any) -> None:
    """On the terminal too, and without the folder of the checkout: that leaves room for what says most."""
    why = why and shortened(why)
    print(f"{what}: {why or state}"[:_LINE], flush=True)
    records.add(what, state, why, **more)


def look(device: str, limit: float = _LIMIT) -> Look:
    """Starts an interpreter; what it has found out counts even if it then crashes or hangs."""
    paths = [str(ROOT), str(ROOT / "tests"), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    command = [sys.executable, "-c", f"from tools.gpu import looking; looking.look({device!r})"]
    try:
        done = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=limit, check=False
        )
        output, ended = done.stdout, _why_ended(done)
    except subprocess.TimeoutExpired as error:
        output, ended = (error.stdout or b"").decode(errors="replace"), f"no answer within {limit:.0f} s"
    found = Look(ended=ended)
    for line in output.splitlines():
        if line.startswith("{"):
            vars(found).update(json.loads(line))
    return found


def _why_ended(done: subprocess.CompletedProcess) -> str | None:
    if done.returncode == 0:
        return None
    if done.returncode < 0:
        return f"importing it ended in {signal.Signals(-done.returncode).name}"
    return (done.stderr.strip().splitlines() or [f"status {done.returncode}"])[-1]


def architecture(capability: Sequence[int] | None) -> str | None:
    """As TORCH_CUDA_ARCH_LIST names a card's own, with what only that one has; None: for no card."""
    if capability is None:
        return None
    name = ".".join(map(str, capability))
    return f"{name}a" if name == "9.0" else name


def build(records: Records, code_for: str | None) -> bool:
    """In place, by setup.py: whether it could be."""
    start = time.monotonic()
    records.add("build", "started")
    with tempfile.TemporaryDirectory() as folder:
        lines = _Lines()
        try:
            status = lines.of(_build_command(folder), _build_environment(code_for))
            why = None if status == 0 else lines.error() or f"status {status}"
        except KeyboardInterrupt:
            why = f"interrupted at {lines.last}"
    _record(records, "build", why, seconds=round(time.monotonic() - start, 1), architecture=code_for)
    return why is None


def _build_command(folder: str) -> list[str]:
    """Into empty folders, whatever lies in build/: a copied file's time says nothing of its age."""
    places = ["--build-temp", folder, "--build-lib", str(Path(folder, "lib"))]
    return [sys.executable, "setup.py", "build_ext", "--inplace", "--force", *places]


def _build_environment(code_for: str | None) -> dict[str, str]:
    own = {"CA_CUDA": "0"} if code_for is None else {"CA_CUDA": "1", "TORCH_CUDA_ARCH_LIST": code_for}
    return {**os.environ, **own, "MAX_JOBS": str(len(os.sched_getaffinity(0)))}


class _Lines:
    """What a build prints: on the terminal without ninja's commands, which are long and many."""

    def __init__(self) -> None:
        self.all: list[str] = []
        self.last = "its start"

    def of(self, command: list[str], environment: dict[str, str]) -> int:
        """Runs it; its status."""
        with subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        ) as process:
            for line in process.stdout:
                self._take(line.rstrip())
        return process.returncode

    def _take(self, line: str) -> None:
        if step := re.match(r"\[\d+/\d+\]", line):
            self.last = f"step {step[0]}"
        else:
            self.all.append(line)
            print(line[:_LINE], flush=True)

    def error(self) -> str | None:
        """The first line that speaks of one, or else the last."""
        return next(filter(_ERROR.search, self.all), self.all[-1] if self.all else None)


if __name__ == "__main__":
    raise SystemExit(main())
