"""The CUDA pipeline in plain host loops: the index arithmetic and the order of work that a GPU runs.

The operator attend_on_host (emulated.py) takes the kernels' bodies, the tiles and the buffers of the
CUDA backend, and only replaces each launch by a loop and cuBLAS by torch's CPU products. What it cannot see:
races, and what warps do among themselves. Of these test_launches_emulated.py sees the latter, and the
launches themselves.
"""

import re
from dataclasses import asdict

import pytest
import torch
from helpers.compare import (
    FORWARD,
    assert_half_solved,
    assert_near,
    gradients,
    half_bound,
    in_dtype,
    solve,
    steepness,
)
from helpers.emulated import generic_maps
from test_backends_agree import (
    HALF_CASES,
    assert_exact,
    assert_offsets_reach_the_top,
    dense_in,
    exact,
    least_workspace,
    poisoned,  # noqa: F401  (a fixture)
)

from contextual_attention import contextual_attention
from contextual_attention.options import PRESETS, Options
from contextual_attention.testing import CASES, Case, make_inputs

BY_NAME = {case.name: case for case in CASES}
WRAP = {"rate": 1, "propagation": "before", "boundary": "wrap"}

# Small, so that hundreds of tiles take no time, and not of equal sides.
CUT = {
    "after": Case("after", (2, 3, 18, 14), mask="holes"),
    "after, long": Case("after, long", (1, 3, 20, 12), mask="bands", options=Options(fuse_k=5, ksize=5)),
    "after, background only": Case(
        "after, background only", (1, 3, 16, 14), options=Options(normalize="background")
    ),
    "after, rebuild": Case("after, rebuild", (2, 3, 18, 14), mask="different", foreground_mask="holes"),
    "after, multiply": Case("after, multiply", (2, 3, 14, 16), options=Options(masking="multiply")),
    "after, stride": Case("after, stride", (1, 3, 9, 8), (8, 9), options=Options(rate=1, stride=2)),
    "none": Case("none", (1, 3, 18, 14), value=(2, 2), options=Options(fuse=False)),
    "before": Case("before", (2, 3, 18, 12), mask="bands", options=Options(propagation="before")),
    "before, scale 4": Case(
        "before, scale 4", (1, 3, 16, 14), options=Options(propagation="before", softmax_scale=4.0)
    ),
    "before, stride": Case(
        "before, stride", (1, 3, 9, 8), (10, 7), options=Options(rate=1, stride=2, propagation="before")
    ),
    "before, multiply": Case(
        "before, multiply", (2, 3, 14, 12), options=Options(propagation="before", masking="multiply")
    ),
    "wrap": Case("wrap", (2, 3, 9, 5), (7, 6), mask="holes", options=Options(**WRAP)),
    "wrap, multiply": Case(
        "wrap, multiply", (2, 3, 9, 5), (7, 6), mask="holes", options=Options(**WRAP, masking="multiply")
    ),
    "wrap, long": Case("wrap, long", (1, 3, 12, 3), (11, 2), options=Options(**WRAP, fuse_k=7)),
    "wrap, rebuild": Case(
        "wrap, rebuild", (1, 3, 9, 5), (10, 4), foreground_mask="holes", options=Options(**WRAP)
    ),
}
EACH_CUT = pytest.mark.parametrize("name", CUT)

# Backgrounds so wide that a lane takes two, three or four columns side by side, in one strip or in two; some
# of them idle in the last.
WIDE = {
    f"{name}, {width} wide": Case(name, (2, 2, 4, 5), (3, width), mask="holes", options=options)
    for name, options in {
        "after": Options(rate=1),
        "none": Options(rate=1, fuse=False, normalize="background"),
        "before": Options(rate=1, propagation="before"),
        "wrap": Options(**WRAP),
    }.items()
    for width in (33, 85, 128, 135)
}


pytestmark = pytest.mark.usefixtures("cuda_on_host")


@pytest.mark.usefixtures("poisoned")
@pytest.mark.parametrize("name", BY_NAME)
def test_float32(name):
    problem = make_inputs(BY_NAME[name], requires_grad=True)
    assert_exact(BY_NAME[name], problem, solve(problem, "cuda"))


@pytest.mark.usefixtures("poisoned")
@pytest.mark.parametrize("name", HALF_CASES)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_half_precision(name, dtype):
    case = BY_NAME[name]
    problem = make_inputs(case, dtype, requires_grad=True)
    found = solve(problem, "cuda")
    assert_half_solved(problem, found, exact(case, dtype), dense_in(case, dtype))
    assert_offsets_reach_the_top(in_dtype(problem, torch.float64), found[1])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("name", ["preset yu2018", "mask: different", "value at 3x, rate 3", "rebuild holes"])
def test_the_tensor_code_of_a_gpu_gives_the_same(name, dtype):
    """Around the kernels there are copies and one product, rounded once: the same bits as by the CPU's."""
    problem = make_inputs(BY_NAME[name], dtype, requires_grad=True)
    output, offsets, slopes = solve(problem, "cuda")
    with generic_maps():
        found, found_offsets, found_slopes = solve(problem, "cuda")
    assert torch.equal(found, output)
    assert torch.equal(found_offsets, offsets)
    assert all(torch.equal(found_slopes[each], slopes[each]) for each in slopes)


def workspaces(problem):
    """From the least to just short of everything at once, forward and backward."""
    least = least_workspace(problem, "cuda")
    return [least, 2 * least, 5 * least, 12 * least]


@pytest.mark.usefixtures("poisoned")
@EACH_CUT
@pytest.mark.parametrize("size", range(4))
def test_any_workspace_gives_the_same(name, size):
    """Cut into tiles, the smallest of one pixel by one; nothing is read before it is written."""
    problem = make_inputs(CUT[name], requires_grad=True)
    assert_exact(CUT[name], problem, solve(problem, "cuda", workspace=workspaces(problem)[size]))


@pytest.mark.usefixtures("poisoned")
@pytest.mark.parametrize("name", WIDE)
def test_columns_side_by_side(name):
    problem = make_inputs(WIDE[name], requires_grad=True)
    assert_exact(WIDE[name], problem, solve(problem, "cuda"))


FORWARD_CUT = (
    CUT
    | WIDE
    | {
        "wrap, square": Case("wrap, square", (1, 3, 14, 13), (12, 12), mask="holes", options=Options(**WRAP)),
        "wrap, narrow": Case("wrap, narrow", (1, 3, 8, 1), (2, 9), options=Options(**WRAP)),
        "wrap, small": Case("wrap, small", (1, 3, 2, 2), (8, 9), options=Options(**WRAP)),
    }
)


@pytest.mark.usefixtures("poisoned")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("times", [1, 1.5, 3, 7, 20])
@pytest.mark.parametrize("name", FORWARD_CUT)
def test_forward_alone_in_any_workspace(name, times, dtype):
    """It takes less than the backward does: smaller tiles; and without offsets other storage for weights."""
    case = FORWARD_CUT[name]
    problem = make_inputs(case, dtype)
    with pytest.raises(ValueError, match="workspace") as refusal:
        contextual_attention(**problem, backend="cuda", workspace=1)
    least = max(int(number) for number in re.findall(r"\d+", str(refusal.value)))
    output = contextual_attention(**problem, backend="cuda", workspace=int(times * least))
    expected = contextual_attention(**in_dtype(problem, torch.float64), backend="reference")
    if dtype == torch.float32:
        assert_near("output", output, expected, steepness(problem) * FORWARD)
    else:
        eager = dense_in(case, dtype)[0]
        assert_near("output", output, expected, *half_bound(dtype, eager, expected))


@pytest.mark.parametrize("name", FORWARD_CUT)
@pytest.mark.parametrize("times", [1, 1.5, 2, 3])
def test_offsets_of_the_forward_alone_in_less_workspace(name, times):
    """Its tiles cut the background too, so that row sums follow a growing offset."""
    case = FORWARD_CUT[name]
    problem = make_inputs(case)
    output, offsets, _ = solve(problem, "cuda", workspace=int(times * least_workspace(problem, "cuda")))
    assert_near("output", output, exact(case)[0], steepness(problem) * FORWARD)
    assert_offsets_reach_the_top(problem, offsets)


@pytest.mark.parametrize("return_offsets", [False, True])
def test_rounded_weights_of_a_row_add_up_to_one(return_offsets):
    """One candidate has all the weight: logits have no gradient, whatever its weight was rounded to."""
    options = Options(**WRAP, softmax_scale=4.0)
    case = Case("one candidate", (1, 2, 2, 5), (4, 4), mask="holes", options=options)
    problem = make_inputs(case, torch.bfloat16, requires_grad=True)
    output = contextual_attention(**problem, backend="cuda", return_offsets=return_offsets)
    slope = gradients(problem, output[0] if return_offsets else output)["foreground"]
    wide = in_dtype(problem, torch.float64)
    expected = gradients(wide, contextual_attention(**wide, backend="reference"))["foreground"]
    assert_near("gradient", slope, expected, 0, absolute=1e-5)


def test_a_sum_too_small_to_rescale_by_is_no_weight():
    options = Options(rate=1, ksize=1, normalize="background", softmax_scale=20.0, masking="multiply")
    case = Case("small", (2, 2, 3, 9), (3, 1), mask="bands", magnitude=30.0, options=options)
    output, _, slopes = solve(make_inputs(case, requires_grad=True), "cuda")
    assert output.isfinite().all()
    assert all(slope.isfinite().all() for slope in slopes.values())


@pytest.mark.usefixtures("poisoned")
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@EACH_CUT
def test_tiles_of_half_precision(name, dtype):
    """The packed operands of half precision: as in one piece, up to the rounding of weights."""
    problem = make_inputs(CUT[name], dtype, requires_grad=True)
    whole = solve(problem, "cuda")
    tiles = solve(problem, "cuda", workspace=workspaces(problem)[2])
    rounding = torch.finfo(dtype).eps
    assert_near("output", tiles[0], whole[0], rounding)
    for each, gradient in whole[2].items():
        assert_near(f"gradient of {each}", tiles[2][each], gradient, 4 * rounding)


@EACH_CUT
def test_the_same_problem_gives_the_same_bits(name):
    problem = make_inputs(CUT[name], requires_grad=True)
    first, second = (solve(problem, "cuda", workspace=workspaces(problem)[2]) for _ in range(2))
    assert torch.equal(first[0], second[0])
    assert torch.equal(first[1], second[1])
    assert all(torch.equal(first[2][each], second[2][each]) for each in first[2])


@pytest.mark.parametrize("wanted", ["foreground", "background", "value"])
@pytest.mark.parametrize("size", [1, 3])
@EACH_CUT
def test_one_gradient_alone_is_the_same(name, size, wanted):
    whole = make_inputs(CUT[name], requires_grad=True)
    if whole[wanted] is None:
        whole["value"] = whole["background"].detach().clone().requires_grad_()
    workspace = workspaces(whole)[size]
    alone = {key: x.detach() if isinstance(x, torch.Tensor) else x for key, x in whole.items()}
    alone[wanted].requires_grad_()
    output = contextual_attention(**alone, backend="cuda", workspace=workspace)
    expected = solve(whole, "cuda", workspace=workspace)[2][wanted]
    found = gradients(alone, output)[wanted]
    if wanted == "value":
        # Alone it asks for no pass over the rows before its own: their sums are the forward's.
        assert_near(wanted, found, expected, steepness(whole) * FORWARD)
    else:
        assert torch.equal(found, expected)


def test_a_sample_does_not_depend_on_its_batch():
    problem = make_inputs(BY_NAME["mask: different"])
    together = contextual_attention(**problem, backend="cuda")
    for i in range(together.shape[0]):
        one = {key: x[i : i + 1] if isinstance(x, torch.Tensor) else x for key, x in problem.items()}
        assert_near("output", contextual_attention(**one, backend="cuda"), together[i : i + 1], FORWARD)


def launches(count, batch, size=(16, 16), dtype=torch.float32, **options):
    """How many kernels and products forward and backward start for small maps."""
    x = torch.randn(batch, 2, *size).to(dtype).requires_grad_()
    count()
    output = contextual_attention(x, x, backend="cuda", **options)
    forward = count()
    output.sum().backward()
    return forward, count()


@pytest.mark.parametrize(
    ("options", "forward", "backward"),
    [
        # Forward: the pixels, their norms, the value's cells; G, weights, sums of rows, statistics, cells, O;
        # the map. Backward: the cells' gradient; G, weights, cells, dV, dE, c1 (2), dL, the gradients of both
        # norms (5), dG, df, db; the slopes of the norms, the features' gradient, the value's.
        ({"fuse": False}, 10, 20),
        # Also the shifted validity; backward that, valid dA, c2 and dX.
        ({}, 11, 24),
        # Also the propagation. Backward with dS, of one norm, and the row statistics of its own logits: their
        # sums, statistics, weights.
        ({"propagation": "before", "normalize": "background"}, 11, 23),
        # With the valid candidates counted; backward two passes each way.
        (asdict(PRESETS["yu2018"]), 12, 26),
    ],
)
def test_small_maps_are_few_launches(cuda_on_host, options, forward, backward):
    count = cuda_on_host.take_launch_count
    assert launches(count, 1, **options) == (forward, backward)
    assert launches(count, 16, **options) == (forward, backward)


@pytest.mark.parametrize(
    ("size", "forward", "backward"),
    [
        ((14, 16), 11, 24),  # 7 x 8 pixels, 8 x 9 cells: whole vectors
        ((16, 16), 12, 25),  # the last of 81 cells, of O and of dE
        ((14, 14), 12, 26),  # the last of 49 pixels, of G and in df; 64 cells
        ((18, 18), 13, 27),  # of both: 81 pixels, 100 cells
    ],
)
def test_half_precision_starts_more_only_beside_whole_vectors(cuda_on_host, size, forward, backward):
    # Windows so long are not summed by octets, which pad whole maps.
    found = launches(cuda_on_host.take_launch_count, 2, size, torch.bfloat16, fuse_k=5)
    assert found == (forward, backward)


def test_samples_are_grouped_by_the_workspace():
    """As many at once as fit; the last group may be smaller."""
    case = Case("group", (4, 3, 12, 12), mask="different")
    problem = make_inputs(case, requires_grad=True)
    for count in (1, 2, 3, 4):
        assert_exact(case, problem, solve(problem, "cuda", workspace=count * 45_000))
