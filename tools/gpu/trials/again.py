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

from tools.gpu import programs, sanitizer
from tools.gpu.records import last_states, read, shortened
from tools.gpu.trials.runs import HUNG, LINE, Runs, Trial, place

# Between two questions what has ended.
_PAUSE = 0.05
# For what was killed: a hang within the driver outlives that.
_GRACE = 1.0
_BLOCKING = "launch blocking"
_MEMCHECK = "memcheck"


@dataclass
class _Look:
    trial: Trial
    how: str
    folder: Path
    process: subprocess.Popen
    start: float  # by time.monotonic()
    ended_after: float | None = None  # seconds, if it did not end by itself

    @property
    def records(self) -> Path:
        return self.folder / "records.jsonl"

    @property
    def output(self) -> Path:
        return self.folder / "output"


def run_again(runs: Runs, trials: Sequence[Trial], memcheck_log: Path | None, seconds: float) -> None:
    """One record each, "<backend> <trial>, <how>", as soon as it has ended; an interrupt loses no such one.

    Args:
        runs: As they were run.
        trials: Few.
        memcheck_log: Which the sanitizer's words are appended to; None: it is not asked.
        seconds: For all of them, which run at the same time.
    """
    if not trials:
        return
    program = sanitizer.find() if runs.device == "cuda" and memcheck_log is not None else None
    if memcheck_log is not None and program is None:
        why = "compute-sanitizer was not found" if runs.device == "cuda" else "there is no GPU"
        runs.records.add(f"{runs.backend} {_MEMCHECK}", "left out", why)
    with tempfile.TemporaryDirectory() as folder:
        looks: list[_Look] = []
        end = time.monotonic() + seconds
        try:
            for i, trial in enumerate(trials):
                looks.append(_start(runs, trial, _BLOCKING, Path(folder) / f"blocking {i}", [], seconds))
                if program is not None:
                    under, own = sanitizer.command(program), Path(folder) / f"memcheck {i}"
                    looks.append(_start(runs, trial, _MEMCHECK, own, under, seconds))
            while looks:
                is_over = time.monotonic() > end
                if is_over:
                    _end(looks)
                for each in list(looks):
                    if is_over or each.process.poll() is not None:
                        _tell(runs, each, memcheck_log)
                        looks.remove(each)
                time.sleep(_PAUSE)
        finally:
            # Interrupted, if any are left.
            _end(looks)
            for each in looks:
                if each.ended_after is None:
                    _tell(runs, each, memcheck_log)


def _what(runs: Runs, trial: Trial, how: str) -> str:
    return f"{runs.what(trial)}, {how}"


def _start(runs: Runs, trial: Trial, how: str, folder: Path, under: list[str], seconds: float) -> _Look:
    runs.records.add(_what(runs, trial, how), "started")
    folder.mkdir()
    program = [sys.executable, "-m", "tools.gpu.smoke"]
    options = ["--records", str(folder / "records.jsonl"), "--backend", runs.backend, "--device", runs.device]
    options += ["--limit", str(seconds), "--only", trial.name]
    environment = {"CUDA_LAUNCH_BLOCKING": "1"} | (sanitizer.ENVIRONMENT if under else {})
    with (folder / "output").open("w") as output:
        process = subprocess.Popen(
            [*under, *program, *options],
            stdout=output,
            stderr=subprocess.STDOUT,
            env=os.environ | environment,
            start_new_session=True,
        )
    return _Look(trial, how, folder, process, time.monotonic())


def _end(looks: Sequence[_Look]) -> None:
    """Those that have not ended by themselves, with what they have started."""
    for each in looks:
        if each.process.poll() is None:
            each.ended_after = time.monotonic() - each.start
            os.killpg(each.process.pid, signal.SIGKILL)
    end = time.monotonic() + _GRACE
    for each in looks:
        with contextlib.suppress(subprocess.TimeoutExpired):
            each.process.wait(max(0.0, end - time.monotonic()))


def _tell(runs: Runs, each: _Look, memcheck_log: Path | None) -> None:
    output = each.output.read_text(errors="replace")
    good, why = _outcome(each, output)
    if each.how == _MEMCHECK:
        programs.append(memcheck_log, f"===== {runs.what(each.trial)}\n{output}\n")
        found = sanitizer.parse(output.splitlines())
        if found.first:
            good, why = False, found.first
        elif found.errors == 0:
            why = f"memcheck found no error; {why or 'and the result was right'}"
    why = why and shortened(why)
    what = _what(runs, each.trial, each.how)
    print(f"{what}: {why or 'passed'}"[:LINE], flush=True)
    runs.records.add(what, "passed" if good else "failed", why)


def _outcome(each: _Look, output: str) -> tuple[bool, str | None]:
    """Whether it was right, and what it says: of itself, or with its last words."""
    records = list(last_states(read(each.records)).values())
    if records and records[0]["state"] in ("passed", "failed"):
        return records[0]["state"] == "passed", records[0].get("why")
    how = _how(each, output)
    where = place(output)
    if where:
        return False, f"{how}{where}"
    said = [line for line in output.splitlines() if line.strip() and not line.startswith("=========")]
    return False, f"{how}: {said[-1] if said else 'it said nothing'}"


def _how(each: _Look, output: str) -> str:
    """How it ended, without having said what it found."""
    status = each.process.returncode
    if each.ended_after is not None:
        return f"{'could not be ended' if status is None else 'ended'} after {each.ended_after:.0f} s"
    if HUNG in output:
        return "hung"
    return programs.how_ended(status)
