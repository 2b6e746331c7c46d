"""What a session finds out: a JSON line each, in the file at once, whatever is killed later."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tools.gpu import ROOT

# "started" is followed by one of the others, unless the process ended in between.
State = Literal["started", "passed", "failed", "measured", "left out"]
# The record of what tests there are, of a step that runs tests.
COLLECTED = "what tests there are"
# Why something was not begun; a session then counts as not good.
OUT_OF_TIME = "no time was left"
# The most that is told of an error: its first characters say what it is.
_WHY = 400


@dataclass(frozen=True)
class Records:
    """Where a step writes.

    Args:
        path: The file of all steps, which several processes may append to at the same time.
        step: Its name.
    """

    path: Path
    step: str

    def add(self, what: str, state: State, why: str | None = None, **more: Any) -> None:
        """Append a record.

        Args:
            what: A test, a case, a measurement, by a name that no other of this step has.
            state: How it went.
            why: If not well.
            more: What else there is to say, for JSON.
        """
        record = {"step": self.step, "what": what, "state": state, "time": round(time.time(), 3)}
        if why is not None:
            record["why"] = " ".join(why.split())[:_WHY]
        line = json.dumps(record | more) + "\n"
        # In one write: lines of two processes do not mix.
        file = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(file, line.encode())
        finally:
            os.close(file)


def read(path: Path) -> Iterator[dict[str, Any]]:
    """Every record, in their order; a line that a full disk or a kill has cut is left out."""
    if not path.exists():
        return
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            yield json.loads(line)
        except json.JSONDecodeError:
            continue


def last_states(records: Iterator[dict[str, Any]]) -> dict[tuple[str, str], dict[str, Any]]:
    """The last record of each (step, what), in the order of the first ones; "started" of what never ended."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for record in records:
        found[record["step"], record["what"]] = record
    return found


def shortened(reason: str) -> str:
    """Without the folder of the checkout: that leaves room for what says most."""
    return reason.replace(f"{ROOT}/", "")


def is_bad(record: dict[str, Any]) -> bool:
    """Failed; or started, and ended by whatever was no longer told."""
    return record["state"] in ("failed", "started")


def unfinished(path: Path, step: str) -> list[str]:
    """Of a step's tests in an earlier session those that failed, did not end, or were not reached."""
    last = {what: record for (each, what), record in last_states(read(path)).items() if each == step}
    collected = last.pop(COLLECTED, {}).get("tests", [])
    return [what for what, record in last.items() if is_bad(record)] + [
        name for name in collected if name not in last
    ]
