"""The windows of the maps that strips of scores cover."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor


@dataclass(frozen=True)
class Window:
    """A box of a map: rows [top, top + count), columns [left, left + columns).

    Cyclic ones may run over the map's last row and column into the first ones.
    """

    top: int
    left: int
    rows: int
    columns: int
    height: int  # of the map
    width: int
    cyclic: bool = False

    @property
    def pixels(self) -> int:
        return self.rows * self.columns

    @property
    def box(self) -> tuple[slice, slice, slice]:
        """Its place in (B, height, width); not of cyclic ones that run over the end."""
        rows = slice(self.top, self.top + self.rows)
        return slice(None), rows, slice(self.left, self.left + self.columns)

    def around(self, before: int, after: int) -> Window:
        """Larger by this many rows and columns on each side, as far as the map goes."""
        if self.cyclic:
            top, rows = _ring(self.top - before, self.rows + before + after, self.height)
            left, columns = _ring(self.left - before, self.columns + before + after, self.width)
            return replace(self, top=top, left=left, rows=rows, columns=columns)
        top, left = max(0, self.top - before), max(0, self.left - before)
        rows = min(self.height, self.top + self.rows + after) - top
        columns = min(self.width, self.left + self.columns + after) - left
        return replace(self, top=top, left=left, rows=rows, columns=columns)

    def cells(self) -> Window:
        """Those that patches on these pixels paste on."""
        height, width = self.height + 1, self.width + 1
        # The map of cells has a row more: a window that runs over its end passes that one too.
        more_rows = 1 + (self.top + self.rows > self.height)
        more_columns = 1 + (self.left + self.columns > self.width)
        top, rows = _ring(self.top, self.rows + more_rows, height)
        left, columns = _ring(self.left, self.columns + more_columns, width)
        return Window(top, left, rows, columns, height, width, self.cyclic)

    def own_cells(self) -> Window:
        """One for each pixel, and for the last row and column those behind them too: each cell once."""
        rows = self.rows + (self.top + self.rows == self.height)
        columns = self.columns + (self.left + self.columns == self.width)
        return replace(self, rows=rows, columns=columns, height=self.height + 1, width=self.width + 1)

    def pick(self, x: Tensor) -> Tensor:
        """The pixels of (B, height, width, channels): (B, P, channels), a view where it can be one."""
        for axis, first, length in ((1, self.top, self.rows), (2, self.left, self.columns)):
            over = first + length - x.shape[axis]
            if over > 0:
                x = torch.cat((x.narrow(axis, first, length - over), x.narrow(axis, 0, over)), axis)
            else:
                x = x.narrow(axis, first, length)
        return x.flatten(1, 2)

    def add(self, x: Tensor, pixels: Tensor) -> None:
        """Add (B, P, channels) to the pixels of x (B, height, width, channels)."""
        box = x[self.box]
        box += pixels.view(box.shape)


def _ring(first: int, length: int, full: int) -> tuple[int, int]:
    """Start and length of a stretch of a ring, all of which starts at 0."""
    return (first % full, length) if length < full else (0, full)


class Area(NamedTuple):
    """What a strip of scores covers: foreground pixels times background pixels."""

    p: Window
    q: Window

    def around(self, p: tuple[int, int], q: tuple[int, int]) -> Area:
        return Area(self.p.around(*p), self.q.around(*q))

    def cells(self) -> Area:
        return Area(self.p.cells(), self.q.cells())

    def own_cells(self) -> Area:
        return Area(self.p.own_cells(), self.q.own_cells())
