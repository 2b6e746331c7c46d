"""How a problem is cut so that its scores fit into the workspace.

Scores exist for one tile of the foreground (a box of pixels) against one block of the background (rows) at a
time, each larger by what the filters read around it. With the whole background in one block, a strip knows
its row statistics by itself; with several, a pass of its own over all blocks collects them first. Of the cuts
that fit the cheapest is taken.

The stages of a strip share a few slots of memory: one is written where another is no longer needed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from typing import NamedTuple

from ..problem import Problem
from ..stages import Reach, Stage, reaches
from .windows import Area, Window

# Score scratch where the caller sets no bound, at least, and in these steps.
LEAST_DEFAULT, _DEFAULT_STEP = 256 * 2**20, 64 * 2**20
# What a strip costs beyond its scores, in scores: a dozen launches.
_STRIP_COST = 4_000_000
_GEMM_ROWS = 128
# Slots begin where a matrix product likes them to; rows of scores have whole sectors.
_ALIGNMENT = 256
_ROW = 16


class Pass(Enum):
    """What a pass over all strips is for."""

    STATISTICS = "the sums of the softmax, with several blocks"
    FORWARD = "the cells"
    CENTRES = "the sums of the softmax's gradient, with several blocks"
    BACKWARD = "the gradients"

    @property
    def is_backward(self) -> bool:
        return self in (Pass.CENTRES, Pass.BACKWARD)


# What a pass makes of a strip.
_MADE = {
    Pass.STATISTICS: (Stage.WEIGHTS,),
    Pass.FORWARD: (Stage.CELLS,),
    Pass.CENTRES: (Stage.LOGIT_GRADIENT,),
    Pass.BACKWARD: (Stage.CELLS, Stage.GRAM_GRADIENT),
}


class Array(NamedTuple):
    """A stage of a strip: its slot, and how far it reaches around tile and block."""

    slot: int
    p: Reach
    q: Reach
    cells: int = 0  # rows and columns of cells more than of pixels, at most


@dataclass(frozen=True)
class Plan:
    """A cut: samples at once, the size of a tile, the rows of a block, the bytes of each slot."""

    samples: int
    rows: int
    columns: int
    block_rows: int
    slots: tuple[int, ...]
    whole_background: bool  # in one block, and not several

    @property
    def scratch(self) -> int:
        return sum(self.slots)

    def tiles(self, problem: Problem) -> Iterator[Window]:
        for top in range(0, problem.h, self.rows):
            for left in range(0, problem.w, self.columns):
                rows, columns = min(self.rows, problem.h - top), min(self.columns, problem.w - left)
                yield Window(top, left, rows, columns, problem.h, problem.w, problem.wraps)

    def blocks(self, problem: Problem) -> Iterator[Window]:
        for top in range(0, problem.hb, self.block_rows):
            rows = min(self.block_rows, problem.hb - top)
            yield Window(top, 0, rows, problem.wb, problem.hb, problem.wb, problem.wraps)

    def strips(self, problem: Problem) -> Iterator[Area]:
        for tile in self.tiles(problem):
            for block in self.blocks(problem):
                yield Area(tile, block)


def row_length(columns: int) -> int:
    """Scores from one foreground pixel to the next."""
    return -(-columns // _ROW) * _ROW


@lru_cache(maxsize=256)
def stages(problem: Problem, in_pass: Pass) -> dict[Stage, Array]:
    """The stages of a pass. (Reaches of foreground and background differ where taps wrap.)"""
    sides = min(problem.h, problem.w), min(problem.hb, problem.wb)
    p, q = (_reaches(problem, in_pass, side) for side in sides)
    slots = _slots(problem, in_pass)
    found = {name: Array(slots[name], p[name], q[name]) for name in p}
    # A patch pastes on the cell of its position and on the next ones; a wrapped window may meet two edges.
    found[Stage.CELLS] = Array(slots[Stage.CELLS], Reach(0, 0), Reach(0, 0), 1)
    if in_pass.is_backward:
        attention = found[Stage.ATTENTION_GRADIENT]
        found[Stage.CELL_GRADIENT] = attention._replace(slot=slots[Stage.CELL_GRADIENT], cells=2)
        found[Stage.GRAM_GRADIENT] = Array(slots[Stage.GRAM_GRADIENT], Reach(0, 0), Reach(0, 0))
    return found


def _reaches(problem: Problem, in_pass: Pass, side: int) -> dict[Stage, Reach]:
    """Those of every stage of pixels, on a map whose shorter side is `side`."""
    reach = reaches(problem, side, *_MADE[in_pass])
    found = {Stage.GRAM: reach[Stage.GRAM], Stage.WEIGHTS: reach[Stage.WEIGHTS]}
    if problem.before:
        found[Stage.SIMILARITY] = reach[Stage.SIMILARITY]
    if in_pass is not Pass.STATISTICS:
        found[Stage.FINAL] = reach[Stage.FINAL]
    if in_pass.is_backward:
        # One covers the other, score by score. Before a propagation's gradient, its slot has that of logits.
        found[Stage.ATTENTION_GRADIENT] = found[Stage.FINAL]
        found[Stage.PRODUCT_GRADIENT] = reach.get(Stage.PRODUCT_GRADIENT, reach[Stage.LOGIT_GRADIENT])
    return found


def _slots(problem: Problem, in_pass: Pass) -> dict[Stage, int]:
    """Where a stage may lie: not where one does that is still read."""
    if in_pass.is_backward:
        return {
            Stage.GRAM: 0,
            Stage.SIMILARITY: 3,
            Stage.WEIGHTS: 1,
            Stage.FINAL: 2 if problem.after else 1,
            Stage.CELLS: 3,
            Stage.CELL_GRADIENT: 3,
            Stage.ATTENTION_GRADIENT: 4 if problem.after else 2,
            Stage.PRODUCT_GRADIENT: 2 if problem.after else 1,
            Stage.GRAM_GRADIENT: 3,
        }
    if problem.before:
        return {Stage.GRAM: 0, Stage.SIMILARITY: 1, Stage.WEIGHTS: 0, Stage.FINAL: 0, Stage.CELLS: 1}
    if problem.after:
        return {Stage.GRAM: 0, Stage.SIMILARITY: 1, Stage.WEIGHTS: 1, Stage.FINAL: 0, Stage.CELLS: 1}
    return {Stage.GRAM: 0, Stage.SIMILARITY: 1, Stage.WEIGHTS: 1, Stage.FINAL: 1, Stage.CELLS: 0}


def _slot_bytes(problem: Problem, in_pass: Pass, rows: int, columns: int, block_rows: int) -> dict[int, int]:
    """The most that the stages in each slot take, for one sample."""
    found: dict[int, int] = {}
    for stage in stages(problem, in_pass).values():
        p = _extent(rows, problem.h, stage.p, stage.cells) * _extent(columns, problem.w, stage.p, stage.cells)
        q = _extent(block_rows, problem.hb, stage.q, stage.cells) * (problem.wb + bool(stage.cells))
        found[stage.slot] = max(found.get(stage.slot, 0), 4 * p * row_length(q))
    return found


def _extent(length: int, full: int, reach: Reach, cells: int) -> int:
    return min(full + bool(cells), length + sum(reach) + cells)


def cut(problem: Problem, backward: bool, samples: int, rows: int, columns: int, block_rows: int) -> Plan:
    """The plan with these pieces."""
    whole_background = block_rows >= problem.hb
    passes = [Pass.BACKWARD] if backward else [Pass.FORWARD]
    if not whole_background:
        passes.append(Pass.CENTRES if backward else Pass.STATISTICS)
    taken: dict[int, int] = {}
    for in_pass in passes:
        for slot, size in _slot_bytes(problem, in_pass, rows, columns, block_rows).items():
            taken[slot] = max(taken.get(slot, 0), size)
    slots = [-(-samples * taken.get(i, 0) // _ALIGNMENT) * _ALIGNMENT for i in range(max(taken) + 1)]
    return Plan(samples, rows, columns, block_rows, tuple(slots), whole_background)


def default_workspace(memory: int) -> int:
    """The bound on the scratch where the caller sets none, on a device of so many bytes: a 64th of them."""
    return max(LEAST_DEFAULT, memory // 64 // _DEFAULT_STEP * _DEFAULT_STEP)


@lru_cache(maxsize=256)
def make_plan(problem: Problem, samples: int, workspace: int, backward: bool, default: int) -> Plan:
    """The cheapest plan within `workspace` bytes, 0: within the default, or the least possible.

    Raises:
        ValueError: No cut fits.
    """
    bound = workspace or default
    whole = cut(problem, backward, 1, problem.h, problem.w, problem.hb)
    if whole.scratch <= bound:
        # As many in every turn.
        turns = math.ceil(samples / (bound // whole.scratch))
        return cut(problem, backward, math.ceil(samples / turns), problem.h, problem.w, problem.hb)
    fitting = list(_fitting(problem, backward, bound))
    if fitting:
        return min(fitting, key=lambda plan: _cost(problem, plan, backward))
    least = _least(problem, backward)
    if workspace:
        raise ValueError(
            f"workspace: expected at least {least.scratch} bytes for this problem, got {workspace}"
        )
    return least


def least_workspace(problem: Problem, backward: bool) -> int:
    """The fewest bytes that any cut takes."""
    return _least(problem, backward).scratch


def _least(problem: Problem, backward: bool) -> Plan:
    candidates = (cut(problem, backward, 1, 1, 1, rows) for rows in {1, problem.hb})
    return min(candidates, key=lambda plan: plan.scratch)


def _fitting(problem: Problem, backward: bool, bound: int) -> Iterator[Plan]:
    """For every size of a tile the whole background, and the largest block, if they fit."""
    for rows in _parts(problem.h):
        for columns in _parts(problem.w):
            for block_rows in _parts(problem.hb):
                plan = cut(problem, backward, 1, rows, columns, block_rows)
                if plan.scratch <= bound:
                    yield plan
                    break


def _parts(length: int) -> list[int]:
    """Lengths of the pieces, longest first, when something is cut into 1, 2, 3, 4, 6, 8, 12, ... pieces."""
    found, pieces = [], 1
    while pieces < length:
        found.append(-(-length // pieces))
        pieces = max(pieces + 1, pieces * 4 // 3)
    return list(dict.fromkeys([*found, 1]))


def _cost(problem: Problem, plan: Plan, backward: bool) -> float:
    """Scores that are made, over all passes: those around a strip with it, and those that paste."""
    tiles = math.ceil(problem.h / plan.rows) * math.ceil(problem.w / plan.columns)
    blocks = math.ceil(problem.hb / plan.block_rows)
    gram = stages(problem, Pass.BACKWARD if backward else Pass.FORWARD)[Stage.GRAM]
    p = _extent(plan.rows, problem.h, gram.p, 0) * _extent(plan.columns, problem.w, gram.p, 0)
    q = _extent(plan.block_rows, problem.hb, gram.q, 0) * problem.wb
    # A product with fewer rows than a tile of a matrix product takes as long as one with those.
    pasting = max(plan.rows * plan.columns, _GEMM_ROWS) * plan.block_rows * problem.wb
    return tiles * blocks * ((1 if plan.whole_background else 2) * (p * q + _STRIP_COST) + pasting)


def area(problem: Problem, in_pass: Pass, stage: Stage, strip: Area) -> Area:
    """What a stage of pixels covers for a strip."""
    array = stages(problem, in_pass)[stage]
    return strip.around(array.p, array.q)
