"""What the programs of steps share: their options, and other programs, within a limit of time.

They are started as modules (python -m tools.gpu.times, with the checkout on PYTHONPATH): one that is started
as a file would find the files of its own folder before all others of their names.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

# From the kill to giving a program up.
_GIVEN_UP = 5.0

_running: list[subprocess.Popen[str]] = []


def parser(description: str | None) -> argparse.ArgumentParser:
    """Of a program of a step: what it does, and where it records what it finds out."""
    made = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("--records", type=Path, required=True, help="file to add to")
    return made


def find(name: str, places: Sequence[str]) -> str | None:
    """The path of a program: on PATH, or in one of the folders (patterns), of several the last."""
    found = shutil.which(name)
    if found is not None:
        return found
    inside = [path for place in places for path in Path("/").glob(f"{place.lstrip('/')}/{name}")]
    return str(max(inside)) if inside else None


def output(
    command: Sequence[str],
    limit: float,
    cwd: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> tuple[str, str | None]:
    """What a program prints; and why it ended badly, None if it did not.

    At the limit it is ended with all that it has started: else these would hold the output open.
    """
    process = subprocess.Popen(
        command,
        cwd=cwd,
        env={**os.environ, **(environment or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    _running.append(process)
    try:
        printed, _ = process.communicate(timeout=limit)
    except subprocess.TimeoutExpired as error:
        _end(process)
        why = f"ended after {limit:.0f} s"
        try:
            return process.communicate(timeout=_GIVEN_UP)[0], why
        except subprocess.TimeoutExpired:
            # It hangs within the driver, or what it has started holds its output open.
            said = error.stdout or ""
            said = said if isinstance(said, str) else said.decode(errors="replace")
            return said, f"{why}, and its output is held open"
    except KeyboardInterrupt:
        _end(process)
        raise
    finally:
        _running.remove(process)
    return printed, how_ended(process.returncode) if process.returncode else None


def how_ended(status: int) -> str:
    """In words, of a status as subprocess and multiprocessing give it."""
    return f"killed by {signal.Signals(-status).name}" if status < 0 else f"status {status}"


def append(path: Path, text: str) -> None:
    """To a file that several cases or programs of a step write to, one after the other."""
    with path.open("a", encoding="utf-8") as file:
        file.write(text)


def end_all() -> None:
    """End what other threads of this process wait for."""
    for process in list(_running):
        _end(process)


def _end(process: subprocess.Popen[str]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
