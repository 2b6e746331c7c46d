"""What a run leaves behind of its losses and figures: a line of JSON each, and TensorBoard's event files."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TextIO

from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from ...files import naming, replace_file

LOSSES, VALIDATION = "losses.jsonl", "validation.jsonl"
_TENSORBOARD = "tensorboard"


class RunLog:
    """The losses of one run, and the figures of its validation.

    Args:
        folder: The run's.
        step: Where it starts: what an interrupted run has written beyond that is dropped, as it comes again.
    """

    def __init__(self, folder: Path, step: int) -> None:
        self.folder = folder
        for name in (LOSSES, VALIDATION):
            _drop_after(folder / name, step)
        self.board = SummaryWriter(str(folder / _TENSORBOARD), purge_step=step + 1 if step else None)
        self.files: dict[str, TextIO] = {}

    def losses(self, step: int, terms: Mapping[str, float], seconds: float) -> None:
        """Note the terms of one step and how long it took."""
        self._note(LOSSES, step, terms, seconds)
        self.board.add_scalar("seconds", seconds, step)

    def validation(self, step: int, figures: Mapping[str, float], seconds: float) -> None:
        """Note the figures after a step, and how long measuring took."""
        self._note(VALIDATION, step, figures, seconds)

    def picture(self, step: int, picture: Tensor) -> None:
        """Note a sample grid, (3, H, W) uint8."""
        self.board.add_image("samples", picture, step)

    def close(self) -> None:
        for file in self.files.values():
            file.close()
        self.board.close()

    def _note(self, name: str, step: int, numbers: Mapping[str, float], seconds: float) -> None:
        line = {"step": step, **numbers, "seconds": round(seconds, 4)}
        path = self.folder / name
        with naming(path):
            if name not in self.files:
                # A line at a time reaches the disk, so that a kill leaves no half line and `tail -f` works.
                self.files[name] = path.open("a", encoding="utf-8", buffering=1)
            self.files[name].write(json.dumps(line) + "\n")
        for each, number in numbers.items():
            self.board.add_scalar(f"{path.stem}/{each}", number, step)


def read_losses(folder: Path) -> list[dict[str, float]]:
    """The lines of a run's losses, in order."""
    return _lines(folder / LOSSES)


def read_validation(folder: Path) -> list[dict[str, float]]:
    """The lines of a run's validation, in order; none where nothing has been measured."""
    path = folder / VALIDATION
    return _lines(path) if path.is_file() else []


def _lines(path: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def _drop_after(path: Path, step: int) -> None:
    if not path.is_file():
        return
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True)
    kept = [line for line in lines if line.endswith("\n") and _step_of(line) <= step]
    replace_file(path, lambda file: file.write("".join(kept).encode()))


def _step_of(line: str) -> float:
    """Infinite for what is no line of a log: a machine that lost its power leaves half lines and zeros."""
    try:
        return float(json.loads(line)["step"])
    except (ValueError, TypeError, KeyError, RecursionError):
        return math.inf
