"""Progress of what takes long: on a terminal a line that comes and goes, into a pipe or a file nothing."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from .needs import need

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
        ``advance(done, words=None)``, to be called with the share that is done, in [0, 1], or None as long as
        nobody knows, and with other words where they change.

    Raises:
        CommandError: There is a terminal, and the package rich is missing.
    """
    if not is_watched():
        yield lambda done, words=None: None
        return
    with need("commands.bar", "demo").bar() as line:
        task = line.add_task(words, total=None)

        def advance(done: float | None, words: str | None = None) -> None:
            # New words at once: by itself the line is drawn anew every tenth of a second.
            total, anew = None if done is None else 1.0, words is not None
            line.update(task, total=total, completed=done, description=words, refresh=anew)

        yield advance
