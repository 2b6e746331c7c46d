"""Where tables and progress go: to a terminal by rich, or as plain lines where rich is not installed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any, Protocol

from results import Row
from tables import plain_table, table


class Progress(Protocol):
    def tell(self, what: str) -> None:
        """What is being done."""

    def advance(self) -> None:
        """One problem is done."""


class Screen(Protocol):
    def say(self, text: str, style: str | None = None) -> None: ...

    def table(self, rows: Sequence[Row]) -> None: ...

    def progress(self, total: int) -> Any:
        """A context manager that gives a Progress."""


def make_screen() -> Screen:
    return _RichScreen() if find_spec("rich") is not None else _PlainScreen()


class _PlainScreen:
    """A line for every problem that is done; what is under way is not worth one."""

    def say(self, text: str, style: str | None = None) -> None:
        print(text, flush=True)

    def table(self, rows: Sequence[Row]) -> None:
        print(plain_table(rows), flush=True)

    @contextmanager
    def progress(self, total: int) -> Iterator[Progress]:
        yield _PlainProgress(total)


class _PlainProgress:
    def __init__(self, total: int) -> None:
        self._done, self._total = 0, total

    def tell(self, what: str) -> None:
        pass

    def advance(self) -> None:
        self._done += 1
        print(f"\n{self._done} of {self._total}", flush=True)


class _RichScreen:
    def __init__(self) -> None:
        from rich.console import Console

        console = Console()
        # A log has no width of its own: there the tables have room.
        self._console = console if console.is_terminal else Console(width=110)

    def say(self, text: str, style: str | None = None) -> None:
        self._console.print(text, style=style, markup=False)

    def table(self, rows: Sequence[Row]) -> None:
        self._console.print(table(rows), "")

    @contextmanager
    def progress(self, total: int) -> Iterator[Progress]:
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
        from rich.progress import Progress as Bar

        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Bar(*columns, console=self._console, transient=True) as bar:
            yield _RichProgress(bar, bar.add_task("", total=total))


class _RichProgress:
    def __init__(self, bar: Any, task: Any) -> None:
        self._bar, self._task = bar, task

    def tell(self, what: str) -> None:
        self._bar.update(self._task, description=what)

    def advance(self) -> None:
        self._bar.advance(self._task)
