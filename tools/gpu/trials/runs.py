"""Trials in processes of their own: what becomes of each is printed and recorded, whatever it does."""

from __future__ import annotations

import faulthandler
import os
import re
import tempfile
import threading
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Protocol

import torch

from contextual_attention import available_backends
from tools.gpu import ROOT, isolation
from tools.gpu.records import OUT_OF_TIME, Records, last_states, read, shortened

_ROOT = f"{ROOT}/"
# Of a line that is printed.
LINE = 150
# How long a trial may take, and how many processes share them. On an H100 with 16 processors one took 4 s,
# most of it the exact solution on a processor, and with Triton, which compiles half a dozen kernels, 13 s.
_LIMITS = {"triton": 30.0}
_PROCESSES = {"triton": 8, "cuda": 6}
_LIMIT = 12.0
# For the start of a process, and for the end of one that has ended itself.
_MARGIN = 5.0
# How the last words of a process begin: faulthandler's, and its own.
HUNG = "Timeout ("
_RAISED = "raised "


class Result(Protocol):
    """Of a trial (trials.Outcome)."""

    @property
    def is_good(self) -> bool: ...

    def why(self) -> str: ...

    def summary(self) -> str: ...

    def data(self) -> dict[str, object]: ...


class Trial(Protocol):
    """As trials.Trial; a child finds its class by its module."""

    @property
    def name(self) -> str: ...

    def run(self, backend: str, device: str) -> Result: ...


@dataclass(frozen=True)
class Runs:
    """Trials of a backend.

    Args:
        records: Where each is told of, as "<backend> <trial>".
        backend, device: Of what is tried.
        end: By time.monotonic(), when no trial is begun any more.
        limit: Seconds that a trial may take; None: the backend's.
    """

    records: Records
    backend: str
    device: str
    end: float
    limit: float | None = None

    def what(self, trial: Trial) -> str:
        return f"{self.backend} {trial.name}"

    @property
    def seconds(self) -> float:
        """That a trial may take."""
        return _LIMITS.get(self.backend, _LIMIT) if self.limit is None else self.limit

    def run(self, trials: Sequence[Trial]) -> dict[str, str | None]:
        """All of them; the state of each, by its name."""
        count = _PROCESSES.get(self.backend, 1)
        shares = [list(trials[i::count]) for i in range(count)]
        threads = [threading.Thread(target=self._share, args=(each, count)) for each in shares if each]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        states = {each.name: self._state(each) for each in trials}
        left_out = [each for each in trials if states[each.name] == "left out"]
        if left_out:
            why = self._record(left_out[0])["why"]
            print(f"{self.backend} left out {len(left_out)} cases: {why}"[:LINE], flush=True)
        return states

    def failed(self, trial: Trial, why: str) -> None:
        self.tell(trial, "FAILED", why)
        self.records.add(self.what(trial), "failed", why)

    def tell(self, trial: Trial, state: str, text: str) -> None:
        """A line, at once."""
        line = f"{self.backend} {state} {trial.name:<22} {text}"
        # In one write: lines of two processes do not mix.
        print(line.replace("\n", " ")[:LINE] + "\n", end="", flush=True)

    def _share(self, trials: list[Trial], processes: int) -> None:
        """In one process, and where that is lost the others in a new one."""
        left = trials
        while left:
            why = self._in_child(left, processes)
            begun = next((each for each in left if self._state(each) == "started"), None)
            if begun is not None:
                self.failed(begun, why or "its process ended in it")
            now_left = [each for each in left if self._state(each) is None]
            if now_left and len(now_left) == len(left) and why is not None:
                # Not one was begun: the fault is in none of them.
                self.records.add(f"{self.backend}, every case", "failed", why)
                return self._leave_out(now_left, why)
            if time.monotonic() > self.end:
                return self._leave_out(now_left, OUT_OF_TIME)
            left = now_left
        return None

    def _in_child(self, trials: list[Trial], processes: int) -> str | None:
        """Why it ended before they did, with what it said last."""
        with tempfile.TemporaryDirectory() as folder:
            words = Path(folder) / "words"
            limit = max(self.end - time.monotonic(), 0) + self.seconds + _MARGIN
            why = isolation.in_child(_run_trials, self, trials, words, processes, limit=limit)
            said = words.read_text(errors="replace") if words.exists() else ""
        if why is None:
            return None
        if said.startswith(HUNG):
            why = f"hung for {self.seconds:.0f} s"
        elif said.startswith(_RAISED):
            return said.removeprefix(_RAISED)
        return f"{why}{place(said)}"

    def _leave_out(self, trials: list[Trial], why: str) -> None:
        for trial in trials:
            self.records.add(self.what(trial), "left out", why)

    def _state(self, trial: Trial) -> str | None:
        return self._record(trial).get("state")

    def _record(self, trial: Trial) -> dict[str, Any]:
        return last_states(read(self.records.path)).get((self.records.step, self.what(trial)), {})


def run_here(runs: Runs, trial: Trial, words: IO[str]) -> bool:
    """Whether it was right. At the limit the process ends, and its last words are where it was."""
    runs.records.add(runs.what(trial), "started")
    start = time.monotonic()
    faulthandler.dump_traceback_later(runs.seconds, exit=True, file=words)
    try:
        result = trial.run(runs.backend, runs.device)
    except Exception as error:
        runs.failed(trial, told(error))
        return False
    finally:
        faulthandler.cancel_dump_traceback_later()
    seconds = time.monotonic() - start
    more = {"seconds": round(seconds, 3), **result.data()}
    if result.is_good:
        runs.tell(trial, "passed", f"{result.summary()} {seconds:.2f} s")
        runs.records.add(runs.what(trial), "passed", **more)
    else:
        runs.tell(trial, "FAILED", result.why())
        runs.records.add(runs.what(trial), "failed", result.why(), **more)
    return result.is_good


def _run_trials(runs: Runs, trials: list[Trial], words: Path, processes: int) -> None:
    """The work of a child."""
    with words.open("w") as file:
        faulthandler.enable(file)
        try:
            reason = available_backends()[runs.backend]
            if reason is not None:
                raise RuntimeError(f"{runs.backend}: {reason}")
            torch.set_num_threads(max(1, torch.get_num_threads() // processes))
            for trial in trials:
                if time.monotonic() > runs.end:
                    return
                if not run_here(runs, trial, file) and isolation.context_is_lost():
                    os._exit(isolation.LOST)
        except Exception as error:
            # Not raised: its traceback would be printed by each of the processes.
            file.write(f"{_RAISED}{told(error)}")
            file.flush()
            os._exit(1)


def told(error: Exception) -> str:
    """What it says, and the last line of ours that it went through."""
    text = shortened(" ".join(str(error).split()))
    ours = [each for each in traceback.extract_tb(error.__traceback__) if _ROOT in each.filename]
    at = f" [{Path(ours[-1].filename).name}:{ours[-1].lineno}]" if ours else ""
    return f"{type(error).__name__}: {text[:300]}{at}"


def place(words: str) -> str:
    """Where faulthandler found the process, innermost first: the first line of ours."""
    for file, line, function in re.findall(r'File "(.+)", line (\d+) in (\S+)', words):
        if _ROOT in file:
            return f", in {function} [{Path(file).name}:{line}]"
    return ""
