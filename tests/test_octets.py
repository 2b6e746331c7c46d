"""The forward in half precision by octets (csrc/cuda/octet_plan.h), in plain host loops.

It takes most calls in half precision that ask for no offsets, and another way takes the same calls where they
do. test_launches_emulated.py runs every thread of it, test_cuda_plans.py looks at its plans.
"""

import contextlib
import math
from dataclasses import asdict, replace

import pytest
import torch
from helpers.compare import OPERANDS, assert_half_solved, assert_near, gradients, in_dtype, steepness
from helpers.emulated import stand_in
from hypothesis import event, given, note, settings
from hypothesis import strategies as st
from test_backends_agree import BY_NAME, HALF_CASES, dense_in, exact, least_workspace

from contextual_attention import contextual_attention, features, fused
from contextual_attention.options import Options
from contextual_attention.problem import Problem, scoring
from contextual_attention.testing import Case, call_of, make_inputs

HALVES = [torch.bfloat16, torch.float16]
EACH_HALF = pytest.mark.parametrize("dtype", HALVES, ids=str)
# The largest whose exponential is a float16.
FLOAT16_SCALE = 11.0
UNBOUNDED = {"propagation": "before", "normalize": "background"}


@contextlib.contextmanager
def backend_of(cuda_module):
    """The backend "cuda" on the host; new tensors hold NaN until they are written, the scratch too."""
    cuda_module.run_by(cuda_module.Way.loops)
    torch.use_deterministic_algorithms(True)
    assert torch.empty(4, dtype=torch.uint8).view(torch.bfloat16).isnan().all()
    with pytest.MonkeyPatch.context() as patch:
        stand_in(patch, cuda_module)
        yield
    torch.use_deterministic_algorithms(False)


@pytest.fixture(autouse=True, scope="module")
def module(cuda_module):
    with backend_of(cuda_module):
        yield cuda_module


def by_octets(module, problem, **keywords):
    """The output, and how it was cut."""
    output = contextual_attention(**problem, backend="cuda", **keywords)
    cut = module.last_cuda_tiling(backward=False)
    assert cut["octets"]
    return output, cut


def another_way(module, problem):
    """The output by the kernels that take every call."""
    output, _ = contextual_attention(**problem, backend="cuda", return_offsets=True)
    assert not module.last_cuda_tiling(backward=False)["octets"]
    return output


def suit(options, dtype):
    """What the filters by octets are made for."""
    # One tap propagates nothing, but rows that "multiply" left short of sum 1 are rescaled after it.
    taps = options.fuse_k if options.fuse else 0
    alone = taps == 0 or (taps == 1 and (options.propagation == "before" or options.masking == "exclude"))
    if options.ksize != 3 or options.stride != 1 or not (alone or taps == 3):
        return False
    before = not alone and options.propagation == "before"
    largest = options.softmax_scale * (9 if before else 1)
    bounded = options.normalize == "both" and largest <= 40
    if before:
        return not bounded
    return bounded and (dtype == torch.bfloat16 or largest <= FLOAT16_SCALE)


def propagates_in_pairs(problem):
    """Whether weights are float16 and added up as such (csrc/cuda/octet_plan.h)."""
    after = problem["fuse"] and problem["propagation"] == "after" and problem["fuse_k"] == 3
    return after and problem["masking"] == "exclude" and problem["softmax_scale"] <= FLOAT16_SCALE


def rounding_bound(problem, exact):
    """How far an entry of the output may be off, by the roundings on its way.

    A weight exp(L) is rounded to the dtype, and so is the sum that it is divided by, being one of such
    weights; then the sum of weights that a cell is a product with, and the output. Each is off by half an
    eps at most, of what all the terms amount to; but in float16 exp(-10) is no normal number any more. Of
    logits that are propagated the weights are float32's: then it is the logits that are off. Weights that are
    propagated as float16 are rounded on their way as well: the two factors of a row, a product with each, two
    sums across and two down a window, and two into a cell.
    """
    dtype = problem["foreground"].dtype
    half = torch.finfo(dtype).eps / 2
    weight, least, sums = half, 2**-25 if dtype == torch.float16 else 0.0, half
    if problem["fuse"] and problem["propagation"] == "before":
        # Weights of less than 1e-30 are nothing (csrc/cuda/sinks.h).
        weight, least = weight + 4 * 2**-24 * 30 * steepness(problem), max(least, 1e-30)
    elif dtype == torch.float16 or propagates_in_pairs(problem):
        weight = max(2**-11, 2**-25 * math.exp(problem["softmax_scale"]))
    if propagates_in_pairs(problem):
        # The nine terms are multiples of 2^-24, of rows that add up to 2^12.
        sums, least = half + 10 * 2**-11, max(least, 9 * 2**-37)
    value = problem["background"] if problem["value"] is None else problem["value"]
    wide = in_dtype(problem | {"value": value}, torch.float64)
    terms = contextual_attention(**wide | {"value": wide["value"].abs()}, backend="reference").abs()
    lost = least * value[0, 0].numel() * value.abs().max()
    return (2 * weight + sums) * terms + half * exact.abs() + lost


def assert_rounded(problem, output):
    exact = contextual_attention(**in_dtype(problem, torch.float64), backend="reference")
    assert output.dtype == problem["foreground"].dtype
    off, bound = (output.double() - exact).abs(), rounding_bound(problem, exact)
    assert (off <= bound).all(), f"off by {(off / bound).nan_to_num(math.inf).max():.3g} times the bound"


# Around multiples of eight, in which the background's columns lie; cells have one more.
WIDTHS = st.one_of(st.integers(1, 33), st.sampled_from([7, 8, 9, 15, 16, 17, 63, 64, 65]))


@st.composite
def problems(draw, foreground=None, most=20_000, channels=(1, 3, 8, 17)):
    """Keyword arguments of contextual_attention for a problem of so many scores.

    At rate 1 the last cells of a map of its own resolution hold nothing of it.
    """
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**32 - 1)))
    dtype = draw(st.sampled_from(HALVES))
    batch, channels = draw(st.sampled_from([1, 1, 2, 3])), draw(st.sampled_from(channels))
    height, width = draw(foreground) if foreground is not None else (None, draw(WIDTHS))
    columns = draw(WIDTHS) if height is None else draw(st.integers(1, 10))
    left = most // (width * columns * (height or 1))
    rows = draw(st.integers(1, max(1, min(left, 12))))
    height = height or draw(st.integers(1, max(1, min(left // rows, 20))))

    rate = draw(st.sampled_from([1, 2]))

    def features(channels, *size):
        shape = batch, channels, *(rate * n for n in size)
        return torch.randn(shape, generator=generator).to(dtype)

    def mask(*size):
        samples, density = draw(st.sampled_from([1, batch])), draw(st.sampled_from([0.02, 0.1, 0.5, 1.0]))
        missing = torch.rand(samples, 1, *(rate * n for n in size), generator=generator)
        return missing < density / rate**2

    value = None
    if draw(st.booleans()):
        m = draw(st.sampled_from([1, 1, 2]))
        value = features(draw(st.sampled_from([1, 2, 5, 8])), m * rows, m * columns)
    scales = [10.0, 0.0, 1.0, FLOAT16_SCALE if dtype == torch.float16 else 40.0]
    fuse, before = draw(st.booleans()), draw(st.booleans())
    before = UNBOUNDED if fuse and before else {}
    chosen = Options(
        rate=rate,
        fuse=fuse,
        boundary=draw(st.sampled_from(["zero", "wrap"])) if before else "zero",
        **before,
        masking=draw(st.sampled_from(["exclude", "multiply"])),
        softmax_scale=draw(st.sampled_from(scales)),
    )
    return {
        "foreground": features(channels, height, width),
        "background": features(channels, rows, columns),
        "mask": mask(rows, columns) if draw(st.booleans()) else None,
        "value": value,
        "foreground_mask": mask(height, width) if draw(st.booleans()) else None,
        **asdict(chosen),
    }


def near(number, generator, *shape):
    return number + 0.01 * torch.randn(shape, generator=generator)


# Foregrounds whose rows of weights add up to as much, as little or as different an amount as they can, for a
# background of patches that are alike; what a row adds up to is first multiplied with its weights in float16.
ROWS_OF_WEIGHTS = {
    "largest": lambda like: like,
    "smallest": lambda like: -like,
    "both, side by side": lambda like: torch.cat([-like[..., :4], like[..., 4:]], 3),
    "both, one above the other": lambda like: torch.cat([-like[:, :, :4], like[:, :, 4:]], 2),
    "one large": lambda like: like,
}


@EACH_HALF
@pytest.mark.parametrize("scale", [10.0, FLOAT16_SCALE])
@pytest.mark.parametrize("size", [(3, 3), (24, 24), (96, 160)], ids=str)
@pytest.mark.parametrize("name", ROWS_OF_WEIGHTS)
def test_rows_whose_weights_are_as_far_from_1_as_can_be(module, name, size, scale, dtype):
    generator = torch.Generator().manual_seed(0)
    background = near(1.0, generator, 1, 8, *size)
    if name == "one large":
        background = -background
        background[:, :, size[0] // 2 - 1 :, size[1] // 2 - 1 :][:, :, :3, :3] *= -1
    problem = {
        "foreground": ROWS_OF_WEIGHTS[name](near(1.0, generator, 1, 8, 7, 9)).to(dtype),
        "background": background.to(dtype),
        "mask": None,
        "value": torch.randn(1, 3, *size, generator=generator).to(dtype),
        "foreground_mask": None,
        **asdict(Options(rate=1, softmax_scale=scale)),
    }
    output, _ = by_octets(module, problem, workspace=2**28)
    assert_rounded(problem, output)
    few = torch.ones(1, 1, *size, dtype=torch.bool)
    few[:, :, :3, :3] = False
    holes = problem | {"mask": few, "foreground_mask": torch.rand(1, 1, 7, 9, generator=generator) < 0.2}
    assert_rounded(holes, by_octets(module, holes, workspace=2**28)[0])


def shapes(problem):
    return {name: tuple(x.shape) for name, x in problem.items() if isinstance(x, torch.Tensor)}


@settings(max_examples=200)
@given(problem=problems())
def test_any_problem(module, problem):
    """Nothing is read before it is written, either."""
    note(shapes(problem))
    output, cut = by_octets(module, problem)
    event(f"{cut['samples']} of {len(output)} samples at once")
    assert_rounded(problem, output)
    wide = contextual_attention(**in_dtype(problem, torch.float32), backend="cuda")
    assert not module.last_cuda_tiling(backward=False)["octets"]
    assert ((output - wide).abs().double() <= 1.01 * rounding_bound(problem, wide.double())).all()


def positions(problem, name):
    """Rows and columns of the downscaled map."""
    return [-(-size // problem["rate"]) for size in problem[name].shape[2:]]


def plan(module, problem, workspace):
    """How the problem is cut by octets, within so much."""
    batch, channels = problem["foreground"].shape[:2]
    (h, w), (hb, wb) = (positions(problem, name) for name in ("foreground", "background"))
    value = problem["background"] if problem["value"] is None else problem["value"]
    scores = scoring(call_of(problem).options)
    solved = Problem(channels, value[0].numel() // (hb * wb), h, w, hb, wb, *scores, batch)
    return module.plan(solved, workspace, cache=0, backward=False, octets=True)


def extremes(module, problem):
    """The least bytes that some plan takes, and those of a whole sample."""
    one = {
        name: x[:1] if name in OPERANDS and isinstance(x, torch.Tensor) else x for name, x in problem.items()
    }
    whole = plan(module, one, 2**40)["bytes"]
    none, least = 0, whole
    while least - none > 256:
        middle = (none + least) // 2
        none, least = (none, middle) if plan(module, problem, middle)["samples"] else (middle, least)
    return least, whole


@settings(max_examples=80)
@given(
    problem=problems(foreground=st.tuples(st.integers(8, 36), st.integers(8, 36)), most=30_000),
    share=st.floats(0, 1) | st.floats(1, 3),
)
def test_any_workspace(module, problem, share):
    """From the least that tiles without too much of a halo take, to that of all samples at once."""
    least, whole = extremes(module, problem)
    workspace = int(least + share * (whole - least)) if share < 1 else int(share * whole)
    # Another way may have no cut that takes so little.
    workspace = max(workspace, least_workspace(problem, "cuda"))
    note((shapes(problem), workspace))
    output, cut = by_octets(module, problem, workspace=workspace)
    assert cut["bytes"] <= workspace
    event("whole" if cut["foreground"] == positions(problem, "foreground") else "cut")
    assert_rounded(problem, output)


@EACH_HALF
@pytest.mark.parametrize("way", [{}, {"fuse": False}, UNBOUNDED, {**UNBOUNDED, "boundary": "wrap"}], ids=str)
@pytest.mark.parametrize("background", [(4, 14), (6, 16)], ids=str)
def test_tiles_with_halos_on_every_side(module, way, background, dtype):
    """As cut as can be: pixels whose tile ends left, right, above and below of them within the map."""
    case = Case("tiles", (2, 3, 128, 96), background, mask="holes", options=Options(**way))
    problem = make_inputs(case, dtype)
    output, cut = by_octets(module, problem, workspace=extremes(module, problem)[0])
    assert all(3 * side <= size for side, size in zip(cut["foreground"], (64, 48), strict=True))
    assert_rounded(problem, output)


def test_samples_are_grouped_by_the_workspace(module):
    """As many at once as fit; the last group may be smaller."""
    problem = make_inputs(Case("group", (5, 3, 9, 9), mask="different", options=Options(rate=1)), HALVES[0])
    whole = extremes(module, problem)[1]
    for at_once, samples in ((1, 1), (2, 2), (3, 3), (4, 3), (5, 5), (9, 5)):
        output, cut = by_octets(module, problem, workspace=at_once * whole)
        assert (cut["samples"], cut["bytes"]) == (samples, samples * whole)
        assert_rounded(problem, output)


@pytest.mark.parametrize("name", HALF_CASES)
@EACH_HALF
def test_each_case_takes_its_way(module, name, dtype):
    """And learns as well: the gradient is made of row sums that the forward has left."""
    case = BY_NAME[name]
    problem = make_inputs(case, dtype, requires_grad=True)
    output = contextual_attention(**problem, backend="cuda")
    assert module.last_cuda_tiling(backward=False)["octets"] == suit(case.options, dtype)
    found = output.detach(), None, gradients(problem, output)
    assert not module.last_cuda_tiling(backward=True)["octets"]
    assert_half_solved(problem, found, exact(case, dtype), dense_in(case, dtype))


SMALL = Case("small", (1, 3, 10, 12), (8, 14), mask="hole")


@pytest.mark.parametrize(
    ("changed", "dtype"),
    [
        ({"ksize": 5}, torch.bfloat16),
        ({"fuse_k": 5}, torch.bfloat16),
        ({"stride": 2}, torch.bfloat16),
        ({"normalize": "background"}, torch.bfloat16),
        ({"propagation": "before", "softmax_scale": 4.4}, torch.bfloat16),
        ({"softmax_scale": 40.1}, torch.bfloat16),
        ({"softmax_scale": 11.1}, torch.float16),
        ({}, torch.float32),
    ],
)
def test_what_octets_do_not_suit(module, changed, dtype):
    problem = make_inputs(replace(SMALL, options=replace(SMALL.options, **changed)), dtype)
    contextual_attention(**problem, backend="cuda")
    assert not module.last_cuda_tiling(backward=False)["octets"]


def test_a_value_of_another_dtype_goes_another_way(module):
    """As a caller of the operator alone may have it."""
    problem = make_inputs(SMALL, torch.bfloat16)
    given, _ = fused.operands(call_of(problem), features.TENSOR_CODE)
    attend = torch.ops.contextual_attention.attend_on_host
    for dtype in (torch.bfloat16, torch.float32):
        operands = given._replace(value=given.value.to(dtype))
        attend(*operands, *scoring(SMALL.options), False, 0)
        assert module.last_cuda_tiling(backward=False)["octets"] == (dtype == torch.bfloat16)


@EACH_HALF
def test_too_little_workspace_for_octets_is_enough_another_way(module, dtype):
    problem = make_inputs(SMALL, dtype)
    workspace = extremes(module, problem)[0] - 256
    output = contextual_attention(**problem, backend="cuda", workspace=workspace)
    assert not module.last_cuda_tiling(backward=False)["octets"]
    assert_near("output", output, by_octets(module, problem)[0], torch.finfo(dtype).eps)


@EACH_HALF
@pytest.mark.parametrize("fuse", [True, False])
@pytest.mark.parametrize("background", [(1, 1), (1, 8), (8, 1)])
@pytest.mark.parametrize("foreground", [(1, 1), (1, 9), (9, 1)])
def test_maps_of_a_pixel_or_a_line(module, foreground, background, fuse, dtype):
    foreground, background = ([2 * n for n in size] for size in (foreground, background))
    case = Case("line", (2, 3, *foreground), tuple(background), mask=None, options=Options(fuse=fuse))
    problem = make_inputs(case, dtype)
    assert_rounded(problem, by_octets(module, problem)[0])


def test_an_empty_batch(module):
    problem = make_inputs(SMALL, torch.bfloat16)
    problem |= {name: problem[name][:0] for name in ("foreground", "background")}
    output, _ = by_octets(module, problem | {"mask": None})
    assert output.shape == (0, 3, 10, 12)


@EACH_HALF
@pytest.mark.parametrize("masking", ["exclude", "multiply"])
@pytest.mark.parametrize("fuse", [True, False])
def test_nothing_valid_is_nothing(module, fuse, masking, dtype):
    options = replace(SMALL.options, fuse=fuse, masking=masking)
    output, _ = by_octets(module, make_inputs(replace(SMALL, mask="everything", options=options), dtype))
    assert not output.any()


def keeps_apart(problem):
    """Unless similarities are propagated, those of patches that are no candidates among them."""
    return not (problem["fuse"] and problem["propagation"] == "before")


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@settings(max_examples=60)
@given(problem=problems().filter(keeps_apart), data=st.data())
def test_a_bad_foreground_pixel_stays_where_it_is(module, bad, problem, data):
    """A patch with it, the propagation, and the cells of both reach three pixels: no other output changes."""
    rate, foreground = problem["rate"], problem["foreground"]
    sizes = len(foreground), *positions(problem, "foreground")
    n, y, x = (data.draw(st.integers(0, size - 1)) for size in sizes)
    good, bad_one = (
        problem | {"foreground": at_pixel(foreground, n, rate * y, rate * x, number)} for number in (0.0, bad)
    )
    expected, found = (by_octets(module, each)[0] for each in (good, bad_one))
    cell = expected.shape[3] // foreground.shape[3] * rate
    rows, columns = ((torch.arange(size) + cell // 2) // cell for size in expected.shape[2:])
    far = ((rows - y).abs()[:, None] > 3) | ((columns - x).abs() > 3)
    expected[n], found[n] = expected[n] * far, torch.where(far, found[n], 0.0)
    assert torch.equal(found, expected)
    # Columns of padding, 0 times it, lie beside the last one: where there is no other, more patches have it.
    if math.isnan(bad) and positions(problem, "background")[1] > 1:
        both = by_octets(module, bad_one)[0], another_way(module, bad_one)
        assert torch.equal(both[0].isnan(), both[1].isnan())


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@settings(max_examples=60)
@given(problem=problems().filter(keeps_apart), data=st.data())
def test_a_bad_background_pixel_under_the_mask_is_not_there(module, bad, problem, data):
    """In the features, the same bits come out as of any other number there."""
    rate, background = problem["rate"], problem["background"]
    sizes = len(background), *positions(problem, "background")
    n, v, u = (data.draw(st.integers(0, size - 1)) for size in sizes)
    v, u = rate * v, rate * u
    missing = torch.zeros_like(background[:, :1], dtype=torch.bool)
    missing[..., v, u] = True
    mask = missing if problem["mask"] is None else problem["mask"] | missing
    value = background if problem["value"] is None else problem["value"]
    good, bad_one = (
        problem
        | {"background": at_pixel(problem["background"], n, v, u, number), "mask": mask, "value": value}
        for number in (0.0, bad)
    )
    assert torch.equal(by_octets(module, good)[0], by_octets(module, bad_one)[0])


def at_pixel(features, n, row, column, number):
    changed = features.clone()
    changed[n, :, row, column] = number
    return changed


@pytest.mark.parametrize("dtype", HALVES, ids=str)
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_bad_background_pixel_is_seen(module, bad, dtype):
    """Where patches with it are candidates, no output of the sample is a number, as any other way has it."""
    problem = make_inputs(replace(SMALL, mask=None, options=replace(SMALL.options, fuse=False)), dtype)
    problem["value"] = problem["background"]
    problem["background"] = at_pixel(problem["background"], 0, 4, 6, bad)
    assert not another_way(module, problem).isfinite().any()
    assert not by_octets(module, problem)[0].isfinite().any()
