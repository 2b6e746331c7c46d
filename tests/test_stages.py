"""How far a stage reads beyond what it is for: the same in C++ and in Python, enough, and no more than that.

What is enough is found by differentiating the reference: a score that a stage reads has a slope.
"""

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import assume, given, settings

from contextual_attention import reference
from contextual_attention.interface import Masking, Propagation
from contextual_attention.options import Options
from contextual_attention.problem import Problem
from contextual_attention.stages import Filter, Stage, filter_into, reach, reach_into


@st.composite
def problems(draw, most=12):
    side = st.integers(1, most)
    propagation = draw(st.sampled_from(list(Propagation)))
    return Problem(
        channels=1,
        value_channels=1,
        h=draw(side),
        w=draw(side),
        hb=draw(side),
        wb=draw(side),
        softmax_scale=10.0,
        ksize=draw(st.sampled_from([1, 3, 5])),
        stride=1 if propagation == Propagation.BEFORE_WRAP else draw(st.integers(1, 3)),
        fuse_k=draw(st.sampled_from([1, 3, 5, 7])),
        propagation=propagation.value,
        masking=Masking.EXCLUDE.value,
    )


@settings(max_examples=300)
@given(problem=problems())
def test_both_languages_say_the_same(cuda_module, problem):
    filters = list(Filter)
    own = [
        [
            filters.index(filter_into(stage, problem)),
            reach_into(stage, problem, problem.w),
            reach_into(stage, problem, problem.wb),
        ]
        for stage in Stage
    ]
    assert cuda_module.reaches(problem) == own


def diagonal_sum(taps, x, problem):
    """What a filter makes of scores (h, w, hb, wb), by the reference; of all positions, candidates or not."""
    count, step = (problem.ksize, 1) if taps is Filter.PATCH else (problem.fuse_k, problem.stride)
    h, w, hb, wb = x.shape
    if taps in (Filter.PATCH, Filter.PROPAGATION):
        # Every step-th tap of a longer window.
        x = x.permute(0, 2, 1, 3)  # (h, hb, w, wb)
        for _ in range(2):
            x = sum(one_tap(x, i * step) for i in range(-(count // 2), count // 2 + 1)).permute(2, 3, 0, 1)
        return x.permute(0, 2, 1, 3)
    if taps is Filter.LEFT_RIGHT:
        return reference.diagonal_sum(x.reshape(h * w, hb * wb), count).view(h, w, hb, wb)
    if taps is Filter.TOP_DOWN:
        turned = x.permute(1, 0, 3, 2).reshape(w * h, wb * hb)
        return reference.diagonal_sum(turned, count).view(w, h, wb, hb).permute(1, 0, 3, 2)
    return x


def one_tap(x, by):
    """x[..., n + by, m + by], zeros outside."""
    n, m = x.shape[-2:]
    padded = torch.nn.functional.pad(x, (abs(by),) * 4)
    return padded[..., abs(by) + by : abs(by) + by + n, abs(by) + by : abs(by) + by + m]


def rows_read(taps, problem, row, v):
    """The rows of foreground and background that the scores of one row of each read, as signed distances.

    Of a map that ends are run over, the shorter way round.
    """
    x = torch.zeros(problem.h, problem.w, problem.hb, problem.wb, dtype=torch.float64, requires_grad=True)
    diagonal_sum(taps, x, problem)[row, :, v].sum().backward()
    cyclic = taps is Filter.TOP_DOWN
    found = []
    for axis, own, size in ((0, row, problem.h), (2, v, problem.hb)):
        others = tuple(i for i in range(4) if i != axis)
        read = x.grad.abs().sum(others).nonzero().flatten() - own
        if cyclic:
            read = (read + size // 2) % size - size // 2
        found.append(read.abs().max().item() if len(read) else 0)
    return found


@settings(max_examples=200)
@given(problem=problems(most=9), stage=st.sampled_from(list(Stage)), data=st.data())
def test_no_stage_reads_further(problem, stage, data):
    taps = filter_into(stage, problem)
    row, v = data.draw(st.integers(0, problem.h - 1)), data.draw(st.integers(0, problem.hb - 1))
    below, beside = rows_read(taps, problem, row, v)
    assert below <= reach(taps, problem, problem.w)
    assert beside <= reach(taps, problem, problem.wb)


@pytest.mark.parametrize("taps", list(Filter))
@pytest.mark.parametrize("fuse_k", [3, 5])
def test_they_read_as_far(taps, fuse_k):
    """In the middle of maps that are large enough: memory is not held for nothing."""
    problem = Problem(1, 1, 13, 5, 13, 5, 10.0, 5, 1, fuse_k, Propagation.BEFORE_WRAP.value, 0)
    assert rows_read(taps, problem, 6, 6) == [reach(taps, problem, 5)] * 2


def test_long_windows_cross_more_rows():
    problem = Problem(1, 1, 13, 2, 13, 3, 10.0, 1, 1, 7, Propagation.BEFORE_WRAP.value, 0)
    assert rows_read(Filter.LEFT_RIGHT, problem, 6, 6) == [2, 1]
    assert [reach(Filter.LEFT_RIGHT, problem, width) for width in (2, 3)] == [2, 1]


@settings(max_examples=100)
@given(problem=problems(most=8))
def test_the_filters_are_the_reference_propagation(problem):
    """All into weights and final, one after the other: what is differentiated here is what it computes."""
    assume(problem.propagation != Propagation.NONE)
    x = torch.rand(problem.h, problem.w, problem.hb, problem.wb, dtype=torch.float64)
    assume(problem.stride == 1)  # else it is of candidates alone
    made = x
    for stage in (Stage.ROWWISE, Stage.WEIGHTS, Stage.FINAL):
        made = diagonal_sum(filter_into(stage, problem), made, problem)
    boundary = "wrap" if problem.wraps else "zero"
    options = Options(fuse_k=problem.fuse_k, boundary=boundary, propagation="before")
    torch.testing.assert_close(made, reference.propagate(x[None], options)[0], rtol=1e-12, atol=0)
