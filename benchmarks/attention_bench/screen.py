"""Where tables and progress go: to a terminal by rich, or as plain lines where rich is not installed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any


@dataclass(frozen=True)
class Table:
    """Cells by line, the first column's to the left; the lines in `wrong` are of what failed."""

    title: str
    headings: Sequence[str]
    lines: Sequence[Sequence[str]]
    wrong: frozenset[int] = frozenset()
    caption: str = ""


class Progress:
    """A line for every problem that is done; what is under way is not worth one."""

    def __init__(self, total: int) -> None:
        self._done, self._total = 0, total

    def tell(self, what: str) -> None:
        """What is being done."""

    def advance(self) -> None:
        """One problem is done."""
        self._done += 1
        print(f"\n{self._done} of {self._total}", flush=True)


class Screen:
    """Plain lines."""

    def say(self, text: str, style: str | None = None) -> None:
        print(text, flush=True)

    def table(self, table: Table) -> None:
        lines = [table.headings, *table.lines]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        text = ["  ".join(map(str.rjust, line, widths)) for line in lines]
        print("\n".join([table.title, *text, table.caption]), flush=True)

    @contextmanager
    def progress(self, total: int) -> Iterator[Progress]:
        yield Progress(total)


class _RichScreen(Screen):
    def __init__(self) -> None:
        from rich.console import Console

        console = Console()
        # A log has no width of its own: there the tables have room.
        self._console = console if console.is_terminal else Console(width=110)

    def say(self, text: str, style: str | None = None) -> None:
        self._console.print(text, style=style, markup=False)

    def table(self, table: Table) -> None:
        from rich.box import SIMPLE_HEAD
        from rich.table import Table as Drawn

        left = {"title_justify": "left", "caption_justify": "left"}
        drawn = Drawn(title=table.title, title_style="bold", caption=table.caption, box=SIMPLE_HEAD, **left)
        for i, heading in enumerate(table.headings):
            drawn.add_column(heading, justify="right" if i else "left", no_wrap=True)
        for i, line in enumerate(table.lines):
            drawn.add_row(*line, style="red" if i in table.wrong else None)
        self._console.print(drawn, "")

    @contextmanager
    def progress(self, total: int) -> Iterator[Progress]:
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
        from rich.progress import Progress as Bar

        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Bar(*columns, console=self._console, transient=True) as bar:
            yield _RichProgress(bar, bar.add_task("", total=total))


class _RichProgress(Progress):
    def __init__(self, bar: Any, task: Any) -> None:
        self._bar, self._task = bar, task

    def tell(self, what: str) -> None:
        self._bar.update(self._task, description=what)

    def advance(self) -> None:
        self._bar.advance(self._task)


def make_screen() -> Screen:
    return Screen() if find_spec("rich") is None else _RichScreen()
