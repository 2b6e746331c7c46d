"""Every fused backend, at every SIMD level of this machine, against the float64 reference over CASES."""

import functools
import re
from dataclasses import asdict

import pytest
import torch
from helpers.compare import (
    FORWARD,
    assert_gradients_near,
    assert_half_solved,
    assert_near,
    assert_offsets_reach_the_top,
    gradients,
    in_dtype,
    solve,
    solve_eagerly,
)

from contextual_attention import available_backends, contextual_attention
from contextual_attention.options import Options
from contextual_attention.testing import CASES, Case, make_inputs

BY_NAME = {case.name: case for case in CASES}
EACH_CASE = pytest.mark.parametrize("name", BY_NAME)


def _suits_half(case):
    """float16 holds the numbers, and torch's half precision products, which are slow, take no seconds."""
    scores = case.foreground[0] * (case.foreground[2] * case.foreground[3] / case.options.rate**2) ** 2
    return case.magnitude == 1.0 and scores < 20_000


HALF_CASES = [case.name for case in CASES if _suits_half(case)]

# Large enough to be cut into strips and blocks when the workspace is small, one for each way of propagating.
CUT = {
    "after": Case("after", (2, 5, 44, 36), mask="holes"),
    "after, long": Case("after, long", (1, 5, 40, 44), mask="bands", options=Options(fuse_k=7, ksize=5)),
    "after, rebuild": Case("after, rebuild", (2, 5, 44, 40), mask="different", foreground_mask="holes"),
    "after, multiply": Case("after, multiply", (2, 5, 30, 36), options=Options(masking="multiply")),
    "after, stride": Case("after, stride", (1, 5, 22, 20), options=Options(rate=1, stride=2)),
    "none": Case("none", (1, 5, 44, 36), value=(3, 2), options=Options(fuse=False)),
    "before": Case("before", (2, 5, 44, 30), mask="bands", options=Options(propagation="before")),
    "before, stride": Case(
        "before, stride", (1, 5, 22, 20), (24, 17), options=Options(rate=1, stride=3, propagation="before")
    ),
    "before, rebuild": Case(
        "before, rebuild", (1, 5, 44, 40), foreground_mask="holes", options=Options(propagation="before")
    ),
    "wrap": Case("wrap", (2, 5, 30, 24), mask="holes", options=Options.from_preset("daa233")),
    "wrap, long": Case("wrap, long", (1, 5, 40, 6), options=Options.from_preset("mmagic", fuse_k=9)),
    "wrap, rebuild": Case(
        "wrap, rebuild",
        (1, 5, 30, 24),
        (22, 26),
        foreground_mask="holes",
        options=Options.from_preset("mmagic"),
    ),
}
EACH_CUT = pytest.mark.parametrize("name", CUT)


@functools.cache
def exact(case, dtype=torch.float32):
    """The float64 reference of a case with the numbers that `dtype` holds."""
    problem = make_inputs(case, dtype, requires_grad=True)
    return solve(in_dtype(problem, torch.float64), "reference")


@functools.cache
def dense_in(case, dtype):
    """The dense formula with every step in `dtype`."""
    return solve_eagerly(make_inputs(case, dtype, requires_grad=True))


def assert_exact(case, problem, found, rounding=0.0):
    output, offsets, slopes = found
    expected, _, expected_slopes = exact(case)
    assert_near("output", output, expected, FORWARD + rounding)
    assert_gradients_near(problem, slopes, expected_slopes, rounding)
    assert_offsets_reach_the_top(problem, offsets)


def test_the_cpu_backend_exists_here():
    """Without it everything else in this file would be skipped."""
    assert available_backends()["cpu"] is None


@pytest.fixture
def poisoned():
    """Every new tensor is full of NaN (or the largest integer) until it is written, and freed memory is."""
    torch.use_deterministic_algorithms(True)
    assert torch.utils.deterministic.fill_uninitialized_memory
    assert torch.empty(3).isnan().all()
    for size in 4 ** torch.arange(5, 10):
        torch.full((int(size),), float("nan"))
    yield
    torch.use_deterministic_algorithms(False)


@pytest.mark.usefixtures("poisoned")
@EACH_CASE
def test_float32(road, name):
    """Nothing is read before it is written, either."""
    problem = make_inputs(BY_NAME[name], requires_grad=True)
    assert_exact(BY_NAME[name], problem, solve(problem, road.backend), road.rounding)


@pytest.mark.parametrize("name", HALF_CASES)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_half_precision(road, name, dtype):
    case = BY_NAME[name]
    problem = make_inputs(case, dtype, requires_grad=True)
    found = solve(problem, road.backend)
    assert_half_solved(problem, found, exact(case, dtype), dense_in(case, dtype))
    # The numbers are rounded on the way in, before the reference sees them too.
    assert_offsets_reach_the_top(in_dtype(problem, torch.float64), found[1])


def least_workspace(problem, backend):
    """What the error of a workspace of one byte names; it has to do for forward and backward."""
    with pytest.raises(ValueError, match="workspace") as refusal:
        solve(problem, backend, workspace=1)
    return max(int(number) for number in re.findall(r"\d+", str(refusal.value)))


@EACH_CUT
@pytest.mark.parametrize("times", [1, 1.5, 2, 4, 16])
def test_any_workspace_gives_the_same(road, name, times):
    case = CUT[name]
    problem = make_inputs(case, requires_grad=True)
    workspace = int(times * least_workspace(problem, road.backend))
    assert_exact(case, problem, solve(problem, road.backend, workspace=workspace), road.rounding)


@EACH_CUT
def test_any_thread_count_gives_the_same(road, name):
    case = CUT[name]
    problem = make_inputs(case, requires_grad=True)
    threads = torch.get_num_threads()
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            assert_exact(case, problem, solve(problem, road.backend), road.rounding)
    finally:
        torch.set_num_threads(threads)


@EACH_CUT
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_the_same_problem_gives_the_same_bits(steady_road, name, dtype):
    problem = make_inputs(CUT[name], dtype, requires_grad=True)
    first, second = solve(problem, steady_road.backend), solve(problem, steady_road.backend)
    assert torch.equal(first[0], second[0])
    assert torch.equal(first[1], second[1])
    assert all(torch.equal(first[2][each], second[2][each]) for each in first[2])


@pytest.mark.usefixtures("poisoned")
@EACH_CUT
def test_nothing_is_read_before_it_is_written_where_memory_is_short(road, name):
    problem = make_inputs(CUT[name], requires_grad=True)
    workspace = least_workspace(problem, road.backend)
    assert_exact(CUT[name], problem, solve(problem, road.backend, workspace=workspace), road.rounding)


@pytest.mark.parametrize("wanted", ["foreground", "background", "value"])
@EACH_CUT
def test_one_gradient_alone_is_the_same(steady_road, name, wanted):
    case = CUT[name]
    whole = make_inputs(case, requires_grad=True)
    if whole[wanted] is None:
        pytest.skip("the background is pasted")
    alone = make_inputs(case)
    alone[wanted].requires_grad_()
    output = contextual_attention(**alone, backend=steady_road.backend)
    expected = solve(whole, steady_road.backend)[2][wanted]
    assert torch.equal(gradients(alone, output)[wanted], expected)


def test_a_mask_that_samples_share_is_the_mask_of_each(steady_road):
    problem = make_inputs(BY_NAME["mask: shared hole"])
    expanded = {**problem, "mask": problem["mask"].expand(problem["foreground"].shape[0], -1, -1, -1)}
    output = contextual_attention(**problem, backend=steady_road.backend)
    assert torch.equal(output, contextual_attention(**expanded, backend=steady_road.backend))


def test_a_sample_does_not_depend_on_its_batch(road):
    """Up to rounding: batches may be scheduled otherwise."""
    problem = make_inputs(BY_NAME["mask: different"])
    together = contextual_attention(**problem, backend=road.backend)
    for i in range(together.shape[0]):
        one = {name: x[i : i + 1] if isinstance(x, torch.Tensor) else x for name, x in problem.items()}
        alone = contextual_attention(**one, backend=road.backend)
        assert_near("output", alone, together[i : i + 1], FORWARD)


def test_a_sum_too_small_to_rescale_by_is_no_weight(road):
    """Its reciprocal would be infinite: invalid candidates of logit 0 have nearly all weight of a row."""
    options = Options(rate=1, ksize=1, normalize="background", softmax_scale=20.0, masking="multiply")
    case = Case("small", (2, 2, 3, 9), (3, 1), mask="bands", magnitude=30.0, options=options)
    problem = make_inputs(case, requires_grad=True)
    assert exact(case)[0].isfinite().all()
    output, _, slopes = solve(problem, road.backend)
    assert output.isfinite().all()
    assert all(slope.isfinite().all() for slope in slopes.values())


@pytest.mark.parametrize("times", [1, 3, None])
@pytest.mark.parametrize("fuse", [False, True])
def test_a_softmax_that_is_sure_of_itself_passes_no_gradient_on(road, fuse, times):
    """However its logits, in the thousands, are rounded on the way back, and in however many pieces."""
    angles = 2 * torch.pi * torch.arange(12.0).view(1, 1, 3, 4) / 12
    features = torch.cat([angles.cos(), angles.sin()], 1)  # every patch most like the one in its own place
    options = Options.from_preset("nipponjo", rate=1, ksize=1, fuse=fuse, softmax_scale=1000.0)
    problem = {
        "foreground": (4 * features).requires_grad_(),
        "background": (1.7 * features).requires_grad_(),
        "value": torch.randn(1, 3, 3, 4, generator=torch.Generator().manual_seed(0)).requires_grad_(),
        "mask": None,
        "foreground_mask": None,
        **asdict(options),
    }
    expected = solve(in_dtype(problem, torch.float64), "reference")[2]
    assert expected["foreground"].abs().max() < 1e-100
    workspace = times and times * least_workspace(problem, road.backend)
    found = solve(problem, road.backend, workspace=workspace)[2]
    assert_gradients_near(problem, found, expected, road.rounding)
