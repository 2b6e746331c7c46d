"""Runs a step within its limit of time: its output to the log, the beginning of it to the terminal."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import IO

from tools.gpu import ROOT, programs

# From the interrupt, at which a program can still say where it was, to the kill.
GRACE = 5.0
# From the kill to giving a program up: one that hangs within the driver cannot be ended.
_GIVEN_UP = 5.0
# For what was printed last, once a program has ended: what holds its output open is not waited for.
_LAST_WORDS = 2.0
# The least time that is worth starting a step for.
LEAST = 5.0
# What of a step's output the terminal shows: what it found out is in the digest.
_SHOWN_LINES = 20
_LONGEST_LINE = 2000
# Of the last line of a program that ended badly: it may be all that says why.
_TOLD = 120
# Of the log, in characters: what is larger does not come back from the machine.
_LONGEST_LOG = 8 * 2**20


@dataclass(frozen=True)
class Command:
    """A program of a step; `name` tells its lines from those of others at the same time."""

    arguments: list[str]
    name: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Step:
    """Programs that run side by side, and the most seconds that they may take."""

    name: str
    commands: tuple[Command, ...]
    limit: float


@dataclass(frozen=True)
class Outcome:
    seconds: float
    why: str | None = None  # None: every program ended well


class Log:
    """session.log and the terminal, for lines of several threads."""

    def __init__(self, file: IO[str]) -> None:
        self._file = file
        self._lock = threading.Lock()
        self._left = _SHOWN_LINES
        self._length = 0

    def begin(self, title: str) -> None:
        """A new step: the terminal shows its first lines."""
        with self._lock:
            self._left = _SHOWN_LINES
            self._write(title, shown=True)

    def line(self, text: str) -> None:
        with self._lock:
            self._left -= 1
            self._write(text[:_LONGEST_LINE], shown=self._left >= 0)
            if self._left == -1:
                print("... the rest is in session.log", flush=True)

    def _write(self, text: str, shown: bool) -> None:
        self._length += len(text) + 1
        if self._length <= _LONGEST_LOG:
            print(text, file=self._file, flush=True)
        if shown:
            print(text, flush=True)


def run(step: Step, left: float, log: Log) -> Outcome:
    """All programs of a step, ended with their children where they exceed its limit or what is `left`."""
    limit = min(step.limit, left)
    log.begin(f"\n===== {step.name}, at most {limit:.0f} s")
    start = time.monotonic()
    running = [_Running(command, limit, log) for command in step.commands]
    reasons = [each.wait() for each in running]
    return Outcome(time.monotonic() - start, "; ".join(filter(None, reasons)) or None)


class _Running:
    """One program, as it runs."""

    def __init__(self, command: Command, limit: float, log: Log) -> None:
        self._command, self._limit, self._log = command, limit, log
        self._is_over_limit = False
        log.line(f"{self._prefix()}{' '.join(command.arguments)}")
        self._process = subprocess.Popen(
            command.arguments,
            cwd=ROOT,
            env={**os.environ, **_environment(), **command.environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        self._timers = [
            threading.Timer(limit, self._end, [signal.SIGINT]),
            threading.Timer(limit + GRACE, self._end, [signal.SIGKILL]),
        ]
        for timer in self._timers:
            timer.start()
        self._last = ""
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def wait(self) -> str | None:
        """Why it did not end well; None: it did."""
        try:
            status = self._process.wait(self._limit + GRACE + _GIVEN_UP)
        except subprocess.TimeoutExpired:
            return f"{self._prefix()}could not be ended after {self._limit:.0f} s"
        if not self._is_over_limit:
            # Children that outlive it would hold its output open.
            self._end(signal.SIGKILL)
        self._reader.join(_LAST_WORDS)
        for timer in self._timers:
            timer.cancel()
        if self._is_over_limit:
            return f"{self._prefix()}ended after {self._limit:.0f} s"
        if status == 0:
            return None
        return f"{self._prefix()}{programs.how_ended(status)}: {self._last[:_TOLD]}"

    def _prefix(self) -> str:
        return f"{self._command.name}: " if self._command.name else ""

    def _read(self) -> None:
        for line in self._process.stdout:
            self._last = line.strip() or self._last
            self._log.line(self._prefix() + line.rstrip("\n"))

    def _end(self, how: signal.Signals) -> None:
        """The program and all that it has started: a session of their own."""
        if self._process.poll() is None:
            self._is_over_limit = True
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, how)


def _environment() -> dict[str, str]:
    """The checkout is used as it lies: nothing is installed."""
    paths = [str(ROOT), str(ROOT / "benchmarks"), os.environ.get("PYTHONPATH", "")]
    return {"PYTHONPATH": os.pathsep.join(filter(None, paths)), "PYTHONUNBUFFERED": "1"}
