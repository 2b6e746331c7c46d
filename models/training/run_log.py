"""What a run leaves behind of its losses: a line of JSON a step, and TensorBoard's event files."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from ...files import naming, replace_file

LOSSES = "losses.jsonl"
_TENSORBOARD = "tensorboard"


class RunLog:
    """The losses of one run.

    Args:
        folder: The run's.
        step: Where it starts: what an interrupted run has written beyond that is dropped, as it comes again.
    """

    def __init__(self, folder: Path, step: int) -> None:
        self.path = folder / LOSSES
        _drop_after(self.path, step)
        self.board = SummaryWriter(str(folder / _TENSORBOARD), purge_step=step + 1 if step else None)
        # A line at a time reaches the disk, so that a kill leaves no half line and `tail -f` works.
        self.file = self.path.open("a", encoding="utf-8", buffering=1)

    def losses(self, step: int, terms: Mapping[str, float], seconds: float) -> None:
        """Note the terms of one step and how long it took."""
        line = {"step": step, **terms, "seconds": round(seconds, 4)}
        with naming(self.path):
            self.file.write(json.dumps(line) + "\n")
        for name, term in terms.items():
            self.board.add_scalar(f"losses/{name}", term, step)
        self.board.add_scalar("seconds", seconds, step)

    def picture(self, step: int, picture: Tensor) -> None:
        """Note a sample grid, (3, H, W) uint8."""
        self.board.add_image("samples", picture, step)

    def close(self) -> None:
        self.file.close()
        self.board.close()


def read_losses(folder: Path) -> list[dict[str, float]]:
    """The lines of a run's log, in order."""
    return [json.loads(line) for line in (folder / LOSSES).read_text(encoding="utf-8").splitlines()]


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
