"""Progress of what takes long: on a terminal one line that comes and goes, into a pipe or a file nothing.

The line is drawn by rich, which knows terminals: their width, what was printed meanwhile, an interruption.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from .needs import needing

Advance = Callable[..., None]


def is_watched() -> bool:
    """Whether what goes to stderr goes to a terminal."""
    return sys.stderr.isatty()


@contextmanager
def progress(words: str) -> Iterator[Advance]:
    """Show what is being done, for how long it has been and, as far as that is known, how much of it is done.

    Args:
        words: For what is being done.

    Yields:
        ``advance(done, words=None)``, to be called with the share that is done, in [0, 1], and with other
        words where they change. Until the first call the bar says that nothing is known.

    Raises:
        CommandError: There is a terminal, and the package rich is missing.
    """
    if not is_watched():
        yield lambda done, words=None: None
        return
    with needing("demo"):
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            Progress,
            TaskProgressColumn,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

    columns = (
        TextColumn("{task.description}", markup=False), BarColumn(), TaskProgressColumn(show_speed=False),
        TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn(),
    )  # fmt: skip
    # What is printed meanwhile stays above the line; where it goes into a pipe it goes there.
    line = Progress(
        *columns, console=Console(stderr=True), transient=True, redirect_stdout=sys.stdout.isatty()
    )
    with line:
        task = line.add_task(words, total=None)

        def advance(done: float, words: str | None = None) -> None:
            line.update(task, total=1.0, completed=done, description=words)

        yield advance
