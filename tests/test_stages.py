"""How far stages read beyond what they are for: the same in C++ and in Python, enough, and no more than that.

What is enough is traced: which scores the values of a tile depend on, by the operator's equations and the
reference's sums, from the last stage to the first, every score by itself.
"""

import hypothesis.strategies as st
import pytest
import torch
from helpers import native_build
from helpers.native_build import CSRC, NATIVE
from hypothesis import assume, event, given, settings

from contextual_attention import reference
from contextual_attention.interface import Masking, Propagation
from contextual_attention.options import Options
from contextual_attention.problem import Problem
from contextual_attention.stages import Filter, Reach, Stage, filter_into, reach_into, reaches

# What passes make of a tile: row statistics, cells, those that a tile's pixels paste on, the centres of the
# softmax's gradient, and gradients, with the cells that a tile answers for or that its pixels paste on.
MADE = [
    (Stage.WEIGHTS,),
    (Stage.CELLS,),
    (Stage.FINAL,),
    (Stage.LOGIT_GRADIENT,),
    (Stage.CELLS, Stage.GRAM_GRADIENT),
    (Stage.FINAL, Stage.GRAM_GRADIENT),
]


@pytest.fixture(scope="module")
def in_cpp(build_script):
    """csrc/common/stages.h as a module."""
    builder = native_build.Builder(build_script, native_build.folder_of("reaches"))
    sources = [CSRC / "common/stages.cpp", NATIVE / "reaches.cpp"]
    return native_build.load_library("reaches", builder.library("reaches", sources))


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
@given(problem=problems(), columns=st.integers(1, 12), made=st.sampled_from(MADE))
def test_both_languages_say_the_same(in_cpp, problem, columns, made):
    filters, stages = list(Filter), list(Stage)
    into = [
        (filters.index(filter_into(stage, problem)), *reach_into(stage, problem, columns)) for stage in stages
    ]
    assert in_cpp.into(problem, columns) == into
    found = reaches(problem, columns, *made)
    assert in_cpp.reaches(problem, columns, [stages.index(stage) for stage in made]) == [
        found.get(stage) for stage in stages
    ]


# Sums of scores (h, w, hb, wb), of all positions, candidates or not.


def box_sum(x, count, step):
    """Over every step-th of the positions of a window, as many in each direction; zeros outside."""
    x = x.permute(0, 2, 1, 3)  # (h, hb, w, wb)
    for _ in range(2):
        x = sum(one_tap(x, i * step) for i in range(-(count // 2), count // 2 + 1)).permute(2, 3, 0, 1)
    return x.permute(0, 2, 1, 3)


def one_tap(x, by):
    """x[..., n + by, m + by], zeros outside."""
    n, m = x.shape[-2:]
    padded = torch.nn.functional.pad(x, (abs(by),) * 4)
    return padded[..., abs(by) + by : abs(by) + by + n, abs(by) + by : abs(by) + by + m]


def left_right(x, count):
    h, w, hb, wb = x.shape
    return reference.diagonal_sum(x.reshape(h * w, hb * wb), count).view(h, w, hb, wb)


def top_down(x, count):
    return left_right(x.permute(1, 0, 3, 2), count).permute(1, 0, 3, 2)


def pasting(x):
    """Cells (h + 1, w + 1, hb + 1, wb + 1) of weights: a patch pastes 2 x 2."""
    h, w, hb, wb = x.shape
    cells = x.new_zeros(h + 1, w + 1, hb + 1, wb + 1)
    for i in range(2):
        for j in range(2):
            cells[i : i + h, j : j + w, i : i + hb, j : j + wb] += x
    return cells


def sources(problem):
    """By the equations: of every stage those that it reads and by what sum, in the order of their making."""
    k, step = problem.fuse_k, problem.stride

    def same(x):
        return x

    def box(x):
        return box_sum(x, k, step)

    def patches(x):
        return box_sum(x, problem.ksize, 1)

    rows, columns = (lambda x: left_right(x, k)), (lambda x: top_down(x, k))
    first, second = (rows, columns) if problem.wraps else (same, box if problem.before else same)
    after = box if problem.after else same
    return {
        Stage.SIMILARITY: [(Stage.GRAM, patches)],
        Stage.ROWWISE: [(Stage.SIMILARITY, first)],
        Stage.WEIGHTS: [(Stage.ROWWISE, second)],  # their sums over a row are statistics
        Stage.FINAL: [(Stage.WEIGHTS, after)],
        Stage.CELLS: [(Stage.FINAL, pasting)],
        # dX = valid / Z2 (dA - c2), c2 = sum_q A2 dA, and dL = A1 (dA1 - c1), dA1 = D_fuse dX.
        Stage.ATTENTION_GRADIENT: [(Stage.FINAL, same)],
        Stage.LOGIT_GRADIENT: [(Stage.ATTENTION_GRADIENT, after), (Stage.WEIGHTS, same)],
        # dS = D_fuse dL, or L T dL: the adjoint of T L; dG = D_ksize dR.
        Stage.COLUMNWISE_GRADIENT: [(Stage.LOGIT_GRADIENT, second)],
        Stage.PRODUCT_GRADIENT: [(Stage.COLUMNWISE_GRADIENT, first)],
        Stage.GRAM_GRADIENT: [(Stage.PRODUCT_GRADIENT, patches)],
    }


def read_through(make, made, shape):
    """Which scores (of this shape) a linear `make` takes for those that are `made`: they have a slope."""
    x = torch.zeros(shape, dtype=torch.float64, requires_grad=True)
    make(x)[made].sum().backward()
    return torch.zeros(shape, dtype=torch.bool) if x.grad is None else x.grad > 0


def traced(problem, made, whole_rows):
    """Every stage's scores that those `made` depend on: masks (h, w, hb, wb) by stage, themselves included.

    With `whole_rows`, whoever makes one score of a row makes all of it, and they read what they do.
    """
    shape = (problem.h, problem.w, problem.hb, problem.wb)
    found = dict(made)
    for stage, reads in reversed(sources(problem).items()):
        if stage not in found:
            continue
        for source, make in reads:
            read = read_through(make, found[stage], shape)
            if whole_rows:
                read = read.any(1, keepdim=True).any(3, keepdim=True).expand(shape)
            found[source] = found[source] | read if source in found else read
    return found


def strip_of(problem, stage, tile, block):
    """A mask of a stage's scores for rows and columns [top, bottom), [left, right) of both maps."""
    cells = 1 if stage is Stage.CELLS else 0
    shape = (problem.h + cells, problem.w + cells, problem.hb + cells, problem.wb + cells)
    mask = torch.zeros(shape, dtype=torch.bool)
    (y, x), (v, u) = tile, block
    mask[slice(*y), slice(*x), slice(*v), slice(*u)] = True
    return mask


def lines(mask, axis):
    """The rows or columns, whichever lie along this axis, that have any score."""
    return {i for i, line in enumerate(mask.unbind(axis)) if line.any()}


def around(line, reach, size, cyclic):
    wanted = range(line[0] - reach.before, line[1] + reach.after)
    return {i % size for i in wanted} if cyclic else {i for i in wanted if 0 <= i < size}


@st.composite
def lines_of(draw, size):
    first = draw(st.integers(0, size - 1))
    return first, draw(st.integers(first + 1, size))


@settings(max_examples=150)
@given(problem=problems(most=7), made=st.sampled_from(MADE), whole_rows=st.booleans(), data=st.data())
def test_they_are_enough(problem, made, whole_rows, data):
    """For tiles and blocks anywhere; with wrapped passes also of whole rows, as wide as the maps."""
    event(f"{Propagation(problem.propagation).name}, {'whole rows' if whole_rows else 'boxes'}")
    sides = [(problem.h, problem.w), (problem.hb, problem.wb)]
    tile, block = (
        (data.draw(lines_of(rows)), (0, columns) if whole_rows else data.draw(lines_of(columns)))
        for rows, columns in sides
    )
    found = traced(problem, {stage: strip_of(problem, stage, tile, block) for stage in made}, whole_rows)
    for axis, (rows, columns), (own_rows, own_columns) in ((0, sides[0], tile), (2, sides[1], block)):
        reach = reaches(problem, columns if whole_rows else min(rows, columns), *made)
        for stage in found.keys() - set(made):
            cyclic = problem.wraps
            assert lines(found[stage], axis) <= around(own_rows, reach[stage], rows, cyclic), stage
            if not whole_rows:
                assert lines(found[stage], axis + 1) <= around(own_columns, reach[stage], columns, cyclic)


@pytest.mark.parametrize("made", MADE, ids=lambda made: "+".join(stage.name for stage in made))
@pytest.mark.parametrize(
    ("propagation", "ksize", "fuse_k", "stride", "columns"),
    [
        (Propagation.NONE, 3, 3, 1, 3),
        (Propagation.NONE, 1, 3, 1, 3),
        (Propagation.AFTER_ZERO, 3, 3, 1, 5),
        (Propagation.AFTER_ZERO, 1, 3, 2, 5),
        (Propagation.BEFORE_ZERO, 3, 3, 1, 5),
        (Propagation.BEFORE_WRAP, 3, 3, 1, 3),
        (Propagation.BEFORE_WRAP, 1, 5, 1, 1),
    ],
)
def test_they_are_no_more_than_enough(made, propagation, ksize, fuse_k, stride, columns):
    """In the middle of maps that are large enough: no memory is held for nothing."""
    rows = 23
    problem = Problem(
        1, 1, rows, columns, rows, columns, 10.0, ksize, stride, fuse_k, propagation.value, Masking.EXCLUDE
    )
    strip = ((rows // 2, rows // 2 + 1), (0, columns))
    found = traced(problem, {stage: strip_of(problem, stage, strip, strip) for stage in made}, True)
    reach = reaches(problem, columns, *made)
    # The cells' gradient is a product: only its reader tells how far it is read.
    assert found.keys() | {Stage.CELL_GRADIENT} >= reach.keys() >= found.keys()
    for stage in found.keys() - set(made):
        for axis in (0, 2):
            read = lines(found[stage], axis)
            assert Reach(strip[0][0] - min(read), max(read) - strip[0][0]) == reach[stage], stage


def test_a_gradient_reads_the_cells_of_its_patches():
    problem = Problem(1, 1, 9, 9, 9, 9, 10.0, 3, 1, 3, Propagation.AFTER_ZERO.value, Masking.EXCLUDE)
    reach = reaches(problem, 9, Stage.ATTENTION_GRADIENT)
    patch = torch.zeros(9, 9, 9, 9, dtype=torch.float64)
    patch[4, 4, 4, 4] = 1
    cells = lines(pasting(patch) > 0, 0)
    assert cells == around((4, 5), reach[Stage.CELL_GRADIENT], 10, cyclic=False) == {4, 5}


@settings(max_examples=100)
@given(problem=problems(most=8))
def test_the_sums_are_the_reference_propagation(problem):
    """All into weights and final, one after the other: what is traced here is what it computes."""
    assume(problem.propagation != Propagation.NONE)
    assume(problem.stride == 1)  # else it is of candidates alone
    made = torch.rand(problem.h, problem.w, problem.hb, problem.wb, dtype=torch.float64)
    boundary = "wrap" if problem.wraps else "zero"
    options = Options(fuse_k=problem.fuse_k, boundary=boundary, propagation="before")
    expected = reference.propagate(made[None], options)[0]
    for stage in (Stage.ROWWISE, Stage.WEIGHTS, Stage.FINAL):
        ((_, make),) = sources(problem)[stage]
        made = make(made)
    torch.testing.assert_close(made, expected, rtol=1e-12, atol=0)
