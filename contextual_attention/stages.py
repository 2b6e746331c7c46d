"""The stages of scores, the filters between them, and how far a stage reads.

What Triton's strips and plans go by; csrc/common/stages.h is the same for the kernels in C++, which cannot be
asked where the extension is not compiled. tests/test_stages.py compares the two.
"""

from __future__ import annotations

from enum import Enum
from itertools import pairwise
from typing import NamedTuple

from .problem import Problem


class Stage(Enum):
    """In the order in which they are made. One that the options do not ask for is the one before it."""

    GRAM = 0  # <f_p, b_q>
    SIMILARITY = 1  # of patches
    ROWWISE = 2  # a wrapped propagation's first pass over them
    WEIGHTS = 3  # of the softmax
    FINAL = 4  # propagated
    CELLS = 5  # sums over the patches that paste on them
    # Backward only: gradients.
    CELL_GRADIENT = 6
    ATTENTION_GRADIENT = 7  # of the final weights
    LOGIT_GRADIENT = 8  # of the softmax's logits
    COLUMNWISE_GRADIENT = 9  # of a wrapped propagation's second pass, which comes first here
    PRODUCT_GRADIENT = 10  # of the products of patches
    GRAM_GRADIENT = 11  # of those of pixels


class Filter(Enum):
    """Sums along diagonals, by what they run over."""

    NONE = 0  # the score alone
    PATCH = 1  # a patch
    PROPAGATION = 2  # the taps of a propagation
    LEFT_RIGHT = 3  # those of the pass of a wrapped one that runs over the ends of rows
    TOP_DOWN = 4  # and of columns
    PASTING = 5  # the patches that paste on a cell
    PASTED = 6  # the cells that a patch pastes on


class Reach(NamedTuple):
    """Rows and columns of a map that are read before and after those that are made."""

    before: int
    after: int

    def beyond(self, other: Reach) -> Reach:
        return Reach(self.before + other.before, self.after + other.after)

    def or_more(self, other: Reach) -> Reach:
        return Reach(max(self.before, other.before), max(self.after, other.after))


def filter_into(stage: Stage, problem: Problem) -> Filter:
    """What makes a stage of the one before it."""
    before = Filter.PROPAGATION if problem.before else Filter.NONE
    if stage in (Stage.SIMILARITY, Stage.GRAM_GRADIENT):
        return Filter.PATCH
    if stage in (Stage.ROWWISE, Stage.PRODUCT_GRADIENT):
        return Filter.LEFT_RIGHT if problem.wraps else Filter.NONE
    if stage in (Stage.WEIGHTS, Stage.COLUMNWISE_GRADIENT):
        return Filter.TOP_DOWN if problem.wraps else before
    if stage in (Stage.FINAL, Stage.LOGIT_GRADIENT):
        return Filter.PROPAGATION if problem.after else Filter.NONE
    if stage is Stage.CELLS:
        return Filter.PASTING
    return Filter.PASTED if stage is Stage.ATTENTION_GRADIENT else Filter.NONE


def reach_of(taps: Filter, problem: Problem, columns: int) -> Reach:
    """That of a filter on a map of so many columns.

    The wrapped passes may read all columns: this is how far they read in rows. With a map's shorter side for
    its columns, both passes together read no further than the sum of theirs, in columns either.
    """
    if taps is Filter.PASTING:
        return Reach(1, 0)
    if taps is Filter.PASTED:
        return Reach(0, 1)
    if taps is Filter.PATCH:
        radius = problem.patch_reach
    elif taps in (Filter.PROPAGATION, Filter.TOP_DOWN):
        radius = problem.tap_reach
    elif taps is Filter.LEFT_RIGHT:
        radius = -(-problem.tap_reach // columns)  # the rows whose ends it runs over
    else:
        radius = 0
    return Reach(radius, radius)


def reach_into(stage: Stage, problem: Problem, columns: int) -> Reach:
    """That of a stage in the one before it."""
    return reach_of(filter_into(stage, problem), problem, columns)


def reaches(problem: Problem, columns: int, *made: Stage) -> dict[Stage, Reach]:
    """How far every stage behind those `made`, which have the size of a tile, must go beyond it."""
    found = dict.fromkeys(made, Reach(0, 0))

    def need(stage: Stage, reach: Reach) -> None:
        found[stage] = reach.or_more(found.get(stage, reach))

    order = list(Stage)
    for before, stage in reversed(list(pairwise(order))):
        if stage not in found:
            continue
        here = found[stage]
        # The gradient of the cells is a product, of no stage before it.
        if stage is not Stage.CELL_GRADIENT:
            need(before, here.beyond(reach_into(stage, problem, columns)))
        # That of the final weights is centred by them. (With these come all weights that a softmax's reads.)
        if stage is Stage.ATTENTION_GRADIENT:
            need(Stage.FINAL, here)
    return found
