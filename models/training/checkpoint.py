"""Checkpoints of a run: each file appears whole or not at all, and the newest few are kept."""

from __future__ import annotations

import pickle
import re
from pathlib import Path
from typing import Any

import torch

from ...files import UNFINISHED, replace_file

_NAME = "step_{:09d}.ckpt"
_PATTERN = re.compile(r"step_(\d+)\.ckpt")


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
        for left_by_a_kill in self.folder.glob(f"{UNFINISHED}*"):
            left_by_a_kill.unlink()
        path = self.folder / _NAME.format(step)
        replace_file(path, lambda file: torch.save(state, file))
        for old in self._steps()[: -self.keep]:
            (self.folder / _NAME.format(old)).unlink()
        return path

    def newest(self) -> Path | None:
        """The last checkpoint, None if there is none."""
        steps = self._steps()
        return self.folder / _NAME.format(steps[-1]) if steps else None

    def _steps(self) -> list[int]:
        names = (_PATTERN.fullmatch(path.name) for path in self.folder.glob("*.ckpt"))
        return sorted(int(match[1]) for match in names if match)


def load_checkpoint(path: Path) -> dict[str, Any]:
    """The state in a checkpoint, on the CPU; tensors and plain values alone, so that no file can run code.

    Raises:
        CheckpointError: The file is damaged.
    """
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, ValueError, pickle.UnpicklingError) as error:
        first_line = str(error).partition("\n")[0]
        raise CheckpointError(
            f"{path}: damaged ({first_line}); remove it to go on from the checkpoint before it"
        ) from error
