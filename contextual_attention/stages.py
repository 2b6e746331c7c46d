"""The stages of scores, the filters between them, and how far a filter reads.

What Triton's strips and plans go by; csrc/common/stages.h is the same for the kernels in C++, which cannot be
asked where the extension is not compiled. tests/test_stages.py compares the two.
"""

from __future__ import annotations

from enum import Enum

from .problem import Problem


class Stage(Enum):
    """In the order in which they are made. One that the options do not ask for is the one before it."""

    GRAM = "<f_p, b_q>"
    SIMILARITY = "of patches"
    ROWWISE = "a wrapped propagation's first pass over them"
    WEIGHTS = "of the softmax"
    FINAL = "propagated"
    CELLS = "sums over the patches that paste on them"
    # Backward only: gradients.
    CELL_GRADIENT = "of the cells"
    ATTENTION_GRADIENT = "of the final weights"
    LOGIT_GRADIENT = "of the softmax's logits"
    COLUMNWISE_GRADIENT = "of a wrapped propagation's second pass, which comes first here"
    PRODUCT_GRADIENT = "of the products of patches"
    GRAM_GRADIENT = "of the products of pixels"


class Filter(Enum):
    """Sums along diagonals."""

    NONE = "of the score alone"
    PATCH = "of a patch"
    PROPAGATION = "of a propagation"
    LEFT_RIGHT = "of the pass of a wrapped one that runs over the ends of rows"
    TOP_DOWN = "of the one that runs over the ends of columns"


def filter_into(stage: Stage, problem: Problem) -> Filter:
    """What makes a stage of the one before it; cells and their gradient have taps of their own, of 2 x 2."""
    before = Filter.PROPAGATION if problem.before else Filter.NONE
    if stage in (Stage.SIMILARITY, Stage.GRAM_GRADIENT):
        return Filter.PATCH
    if stage in (Stage.ROWWISE, Stage.PRODUCT_GRADIENT):
        return Filter.LEFT_RIGHT if problem.wraps else Filter.NONE
    if stage in (Stage.WEIGHTS, Stage.COLUMNWISE_GRADIENT):
        return Filter.TOP_DOWN if problem.wraps else before
    if stage in (Stage.FINAL, Stage.LOGIT_GRADIENT):
        return Filter.PROPAGATION if problem.after else Filter.NONE
    return Filter.NONE


def reach(taps: Filter, problem: Problem, width: int) -> int:
    """How many rows above and below a filter reads, on a map of this width.

    Columns to either side: as many. The wrapped passes run over the ends of columns as over those of rows:
    with the map's shorter side as `width`, what both reach together is as much for columns.
    """
    if taps is Filter.PATCH:
        return problem.patch_reach
    if taps in (Filter.PROPAGATION, Filter.TOP_DOWN):
        return problem.tap_reach
    if taps is Filter.LEFT_RIGHT:
        return -(-problem.tap_reach // width)
    return 0


def reach_into(stage: Stage, problem: Problem, width: int) -> int:
    """How far a stage reads in the one before it."""
    return reach(filter_into(stage, problem), problem, width)
