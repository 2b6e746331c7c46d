"""Windows on the GPU: how they reach a kernel, and where the pixels of one lie in another.

A kernel is given each window as one tuple. Triton compiles a kernel anew for a number of a tuple that is 1,
or divisible by 16, or in need of 64 bits, and `do_not_specialize` does not reach into tuples: every new size
of an image would cost seconds. So a window travels packed, each number as the upper half of 64 bits. It is
then never 1, always divisible by 16, and in need of 64 bits unless it is 0. Taking the upper half costs a GPU
nothing. Names come with the unpacking: of a named tuple the host would make two more for every launch.

Shape legend: B samples; P and Q the pixels of a window of the foreground and of one of the background.
"""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

import triton
import triton.language as tl
from torch import Tensor

from . import windows


class Mode(str, Enum):
    """How taps move, by rows down and columns right."""

    PLAIN = "plain"  # within the map
    WRAPPED = "wrapped"  # along the column-major, then the row-major index: left-right, then top-down
    WRAPPED_ADJOINT = "wrapped adjoint"  # in the other order


class Window(NamedTuple):
    """windows.Window, unpacked in a kernel."""

    top: tl.tensor
    left: tl.tensor
    rows: tl.tensor
    columns: tl.tensor
    height: tl.tensor  # of the map
    width: tl.tensor
    pixels: tl.tensor  # rows * columns


class Factors(NamedTuple):
    """What rows and columns of scores are multiplied by; None: 1."""

    rows: Tensor | None
    columns: Tensor | None


class Scores(NamedTuple):
    """Those of one sample, in a kernel."""

    data: tl.tensor  # pointer to (P, Q)
    row_length: tl.tensor  # elements from one foreground pixel to the next
    p: Window
    q: Window


class Pixels(NamedTuple):
    """A vector of pixels of a window, in a kernel."""

    local: tl.tensor  # index in the window
    row: tl.tensor  # in the map
    column: tl.tensor
    index: tl.tensor  # in the map
    inside: tl.tensor  # whether the window has them: a vector may be longer


def packed(window: windows.Window) -> tuple[int, ...]:
    return (
        window.top + 1 << 32,  # one more: all others are at least 1 as they are
        window.left + 1 << 32,
        window.rows << 32,
        window.columns << 32,
        window.height << 32,
        window.width << 32,
        window.pixels << 32,
    )


def packed_area(area: windows.Area) -> tuple[tuple[int, ...], tuple[int, ...]]:
    return packed(area.p), packed(area.q)


@triton.jit
def _upper_half(number):
    return (number >> 32).to(tl.int32)


@triton.jit
def unpacked(window):
    top, left, rows, columns, height, width, count = window
    return Window(
        _upper_half(top) - 1,
        _upper_half(left) - 1,
        _upper_half(rows),
        _upper_half(columns),
        _upper_half(height),
        _upper_half(width),
        _upper_half(count),
    )


@triton.jit
def unpacked_area(area):
    p, q = area
    return unpacked(p), unpacked(q)


@triton.jit
def scores_of(sample, data, row_length, area):
    """A sample's part of scores (B, P, Q) over a packed area."""
    p, q = unpacked_area(area)
    return Scores(data + sample * p.pixels * row_length, row_length, p, q)


@triton.jit
def pixels(local, window):
    """The pixels of a window by their index in it."""
    row, column = window.top + local // window.columns, window.left + local % window.columns
    row = tl.where(row >= window.height, row - window.height, row)
    column = tl.where(column >= window.width, column - window.width, column)
    return Pixels(local, row, column, row * window.width + column, local < window.pixels)


@triton.jit
def _bounded(flat, size):
    """Flat indices, 0 in place of those outside, and which are inside."""
    inside = (flat >= 0) & (flat < size)
    return tl.where(inside, flat, 0), inside


@triton.jit
def moved(at, down, right, window, MODE: tl.constexpr):
    """Where pixels read after a move: index in a window, index in the map, and whether it exists."""
    row, column, height, width = at.row, at.column, window.height, window.width
    if MODE == "plain":
        row += down
        column += right
        inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
    else:
        if MODE == "wrapped":
            flat, inside = _bounded(column * height + row + down, height * width)
            flat, within = _bounded(flat % height * width + flat // height + right, height * width)
            row, column = flat // width, flat % width
        else:
            flat, inside = _bounded(row * width + column + right, height * width)
            flat, within = _bounded(flat % width * height + flat // width + down, height * width)
            row, column = flat % height, flat // height
        inside = inside & within
    down, right = row - window.top, column - window.left
    down = tl.where(down < 0, down + height, down)
    right = tl.where(right < 0, right + width, right)
    # In this order: another one of the same sums takes registers that some kernels do not have.
    local, index = down * window.columns + right, row * width + column
    return local, index, inside & (down < window.rows) & (right < window.columns) & at.inside


@triton.jit
def local_in(window, at):
    """The index in a window of pixels that it has, taken from another window."""
    local, index, inside = moved(at, 0, 0, window, "plain")
    return local


@triton.jit
def rows_of(scores, p):
    """Where the rows of foreground pixels begin, (P, 1)."""
    return scores.data + local_in(scores.p, p).to(tl.int64)[:, None] * scores.row_length
