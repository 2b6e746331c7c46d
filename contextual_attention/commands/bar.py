"""The line that `progress` shows on a terminal. Needs rich, which knows terminals, and leaves them clean."""

from __future__ import annotations

import sys

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    Task,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text


def bar() -> Progress:
    """Words, a bar, the share that is done, the time that has gone and that is left; gone when it is over."""
    words = TextColumn("{task.description}", markup=False)
    columns = (words, BarColumn(), TaskProgressColumn(), TimeElapsedColumn(), _TimeLeft())
    # What is printed meanwhile stays above the line; where it goes into a pipe it goes there.
    return Progress(
        *columns, console=Console(stderr=True), transient=True, redirect_stdout=sys.stdout.isatty()
    )


class _TimeLeft(TimeRemainingColumn):
    """Nothing while it is not known."""

    def render(self, task: Task) -> Text:
        return Text() if task.time_remaining is None else Text.assemble(super().render(task), " left")
