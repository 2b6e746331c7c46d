"""Bad trials once more, each in a process of its own that is started afresh: what does CUDA say of them?"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from on_gpu import sanitizer
from on_gpu.records import last_states, read
from on_gpu.trials.runs import LINE, Runs, Trial

# For all of them, which run at the same time.
_SECONDS = 30.0
_BLOCKING = "launch blocking"
_MEMCHECK = "memcheck"


@dataclass
class _Process:
    trial: Trial
    how: str
    folder: Path
    process: subprocess.Popen
    is_late: bool = False

    @property
    def records(self) -> Path:
        return self.folder / "records.jsonl"

    @property
    def output(self) -> Path:
        return self.folder / "output"


def run_again(runs: Runs, trials: Sequence[Trial], memcheck_log: Path | None) -> None:
    """One record each, "<backend> <trial>, <how>".

    Args:
        runs: As they were run.
        trials: Few.
        memcheck_log: Which the sanitizer's words are appended to; None: it is not asked.
    """
    if not trials:
        return
    program = sanitizer.find() if runs.device == "cuda" and memcheck_log is not None else None
    if memcheck_log is not None and program is None:
        why = "compute-sanitizer was not found" if runs.device == "cuda" else "there is no GPU"
        runs.records.add(f"{runs.backend} {_MEMCHECK}", "left out", why)
    with tempfile.TemporaryDirectory() as folder:
        started: list[_Process] = []
        end = time.monotonic() + _SECONDS
        try:
            for i, trial in enumerate(trials):
                started.append(_start(runs, trial, _BLOCKING, Path(folder) / f"blocking {i}", []))
                if program is not None:
                    under = sanitizer.command(program)
                    started.append(_start(runs, trial, _MEMCHECK, Path(folder) / f"memcheck {i}", under))
            for each in started:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    each.process.wait(max(0.0, end - time.monotonic()))
        finally:
            for each in started:
                _end(each)
        for each in started:
            _tell(runs, each, memcheck_log)


def _start(runs: Runs, trial: Trial, how: str, folder: Path, under: list[str]) -> _Process:
    folder.mkdir()
    program = [sys.executable, "-m", "on_gpu.smoke"]
    options = ["--records", str(folder / "records.jsonl"), "--backend", runs.backend, "--device", runs.device]
    environment = {"CUDA_LAUNCH_BLOCKING": "1"} | (sanitizer.ENVIRONMENT if under else {})
    with (folder / "output").open("w") as output:
        process = subprocess.Popen(
            [*under, *program, *options, "--only", trial.name],
            stdout=output,
            stderr=subprocess.STDOUT,
            env=os.environ | environment,
            start_new_session=True,
        )
    return _Process(trial, how, folder, process)


def _end(each: _Process) -> None:
    """With what it has started, where it has not ended by itself."""
    if each.process.poll() is None:
        each.is_late = True
        os.killpg(each.process.pid, signal.SIGKILL)
        each.process.wait()


def _tell(runs: Runs, each: _Process, memcheck_log: Path | None) -> None:
    output = each.output.read_text(errors="replace")
    good, why = _outcome(each, output)
    if each.how == _MEMCHECK:
        with memcheck_log.open("a") as log:
            log.write(f"===== {runs.what(each.trial)}\n{output}\n")
        found = sanitizer.parse(output.splitlines())
        if found.first:
            good, why = False, found.first
        elif found.errors == 0:
            why = f"memcheck found no error; {why or 'and the result was right'}"
    what = f"{runs.what(each.trial)}, {each.how}"
    print(f"{what}: {why or 'passed'}"[:LINE], flush=True)
    runs.records.add(what, "passed" if good else "failed", why)


def _outcome(each: _Process, output: str) -> tuple[bool, str | None]:
    """Whether it was right, and what it says."""
    records = list(last_states(read(each.records)).values())
    if records and records[0]["state"] in ("passed", "failed"):
        return records[0]["state"] == "passed", records[0].get("why")
    status = each.process.returncode
    how = f"killed by {signal.Signals(-status).name}" if status < 0 else f"status {status}"
    if each.is_late:
        how = f"ended after {_SECONDS:.0f} s"
    said = [line for line in output.splitlines() if line.strip() and not line.startswith("=========")]
    return False, f"{how}: {said[-1] if said else 'it said nothing'}"
