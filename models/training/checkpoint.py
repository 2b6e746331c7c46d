"""Checkpoints of a run: each appears whole or not at all, and the newest few are kept.

A checkpoint is a folder: what torch.save writes, cut into parts that every host of files takes, and
parts.json with the length and the sum of each.
"""

from __future__ import annotations

import functools
import hashlib
import io
import json
import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import torch

from ...files import naming, remove, replace_file, replace_folder
from ..network.weight_files import WeightsError, read_saved
from .config import TrainConfig
from .settings import from_dict, frozen_changes, resumable

_NAME = "step_{:09d}.ckpt"
_PATTERN = re.compile(r"step_(\d+)\.ckpt")
_PART, _PARTS = "part_{:04d}", "parts.json"
PART_BYTES = 16 * 2**20
_WAY_OUT = "remove it to go on from the checkpoint before it"


class CheckpointError(OSError):
    """A checkpoint that cannot be read, or is not there."""


class Checkpoints:
    """The checkpoints of one run.

    Args:
        folder: Theirs alone; made when the first is saved.
        keep: How many are kept, the newest.
    """

    def __init__(self, folder: Path, keep: int) -> None:
        self.folder, self.keep = folder, keep

    def save(self, step: int, state: dict[str, Any]) -> Path:
        """Write the state after ``step`` steps, then remove what is older than the newest ``keep``."""
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / _NAME.format(step)
        encoded = io.BytesIO()  # torch.save says of a full disk no more than that a position was unexpected
        torch.save(state, encoded)
        if path.exists():
            remove(path)
        replace_folder(path, lambda folder: _write_parts(folder, encoded.getbuffer()))
        for old in self._steps()[: -self.keep]:
            remove(self.folder / _NAME.format(old))
        return path

    def start(self, resume: bool) -> Path | None:
        """The checkpoint to go on from; a run is neither resumed from nothing nor begun over another.

        Raises:
            ValueError: It would be.
        """
        newest = self.newest()
        if resume and newest is None:
            raise ValueError(f"resume: there is no checkpoint in {self.folder}; start without it")
        if newest is not None and not resume:
            raise ValueError(f"out: {newest} is of another run; resume that, or choose another folder")
        return newest

    def newest(self) -> Path | None:
        """The last checkpoint, None if there is none."""
        steps = self._steps()
        return self.folder / _NAME.format(steps[-1]) if steps else None

    def _steps(self) -> list[int]:
        names = (_PATTERN.fullmatch(path.name) for path in self.folder.glob("*.ckpt"))
        return sorted(int(match[1]) for match in names if match)


def load_checkpoint(path: Path) -> dict[str, Any]:
    """The state in a checkpoint, on the CPU; tensors and plain values alone, so that no file can run code.

    Args:
        path: Of its folder, or of a file that holds it undivided.

    Raises:
        CheckpointError: It is damaged; names the part.
    """
    try:
        with _undivided(path) as file:
            state = read_saved(file, called=path)
    except WeightsError as error:
        raise CheckpointError(f"{error}; {_WAY_OUT}") from error
    if not isinstance(state, dict):
        raise CheckpointError(f"{path}: holds a {type(state).__name__} and no state of a run; {_WAY_OUT}")
    return state


def _write_parts(folder: Path, content: memoryview) -> None:
    """Cut what a checkpoint holds into the files of a folder."""
    listed = []
    for start in range(0, len(content), PART_BYTES):
        part = content[start : start + PART_BYTES]
        listed.append({"bytes": len(part), "sha256": hashlib.sha256(part).hexdigest()})
        replace_file(folder / _PART.format(len(listed)), functools.partial(_write, part))
    text = json.dumps({"parts": listed}, indent=1) + "\n"
    replace_file(folder / _PARTS, functools.partial(_write, text.encode()))


def _write(content: bytes | memoryview, file: BinaryIO) -> None:
    file.write(content)


@contextmanager
def _undivided(path: Path) -> Iterator[Path]:
    """A file of all that a checkpoint holds, as long as it is needed."""
    if path.is_file():
        yield path
        return
    listed = _listed(path)
    parts = (_checked(path / _PART.format(number), each) for number, each in enumerate(listed, 1))
    if len(listed) == 1:
        next(parts)
        yield path / _PART.format(1)
        return
    with tempfile.TemporaryDirectory() as folder:
        whole = Path(folder, path.name)
        with whole.open("wb") as file:
            for part in parts:
                with naming(whole):
                    file.write(part)
        yield whole


def _listed(path: Path) -> list[tuple[int, str]]:
    """The length and the sum of each part of a checkpoint."""
    try:
        return [(part["bytes"], part["sha256"]) for part in json.loads(_read(path / _PARTS))["parts"]]
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise CheckpointError(f"{path}: damaged ({_PARTS}: {error}); {_WAY_OUT}") from error


def _checked(file: Path, listed: tuple[int, str]) -> bytes:
    """A part of a checkpoint, if its length and its sum are those that are listed."""
    part = _read(file)
    if (len(part), hashlib.sha256(part).hexdigest()) != listed:
        raise CheckpointError(
            f"{file.parent}: damaged ({file.name}: not the {listed[0]} bytes that were written); {_WAY_OUT}"
        )
    return part


def _read(file: Path) -> bytes:
    if not file.is_file():  # a pipe would be waited for
        raise CheckpointError(f"{file.parent}: damaged ({file.name} is missing); {_WAY_OUT}")
    return file.read_bytes()


@contextmanager
def taking_up(path: Path) -> Iterator[None]:
    """While a state is taken up: what it lacks, or has of another kind, becomes a CheckpointError."""
    try:
        yield
    # Optimisers and modules raise whatever a foreign state leads them to.
    except Exception as error:
        reason = f"lacks {error}" if isinstance(error, KeyError) else str(error).partition("\n")[0]
        raise CheckpointError(f"{path}: not the state of this run ({reason}); {_WAY_OUT}") from error


def check_settings(state: Mapping[str, Any], config: TrainConfig, path: Path) -> None:
    """Whether a run of a configuration can go on from the state in a checkpoint.

    Raises:
        ValueError: A setting differs that decides which numbers are computed.
        CheckpointError: The state has no settings.
    """
    with taking_up(path):
        before = from_dict(state["config"])
    changed = frozen_changes(before, config)
    if changed:
        free = ", ".join(resumable(config))
        raise ValueError(
            f"{'; '.join(changed)} since the checkpoint {path.name}; a resumed run can change {free} alone: "
            "set it back, or start a new run"
        )
