"""The forward by octets whose Gram matrix is never in memory (csrc/cuda/gram_sums.h).

Every block of threads runs on the host (tests/native/host_block.h): what each thread does between two
meetings stands in the sources that the device runs, what they do together is emulated as the instructions'
layouts have it. What this cannot see is whether the device meets where the sources say so, and how fast.
"""

from dataclasses import replace

import pytest
import torch
from helpers.cut_problems import ON_CHIP, SHARED
from hypothesis import event, given, note, settings
from hypothesis import strategies as st
from test_backends_agree import least_workspace
from test_octets import (
    EACH_HALF,
    SMALL,
    UNBOUNDED,
    assert_rounded,
    backend_of,
    extremes,
    positions,
    problems,
    shapes,
)

from contextual_attention import contextual_attention, features, fused
from contextual_attention.options import Options
from contextual_attention.problem import Problem, scoring
from contextual_attention.testing import Case, call_of, make_inputs

ONE_WARP, SOME_WARPS, ALL_WARPS = SHARED
EACH_SHARED = pytest.mark.parametrize("shared", SHARED)
WAYS = {
    "after": {},
    "none": {"fuse": False},
    "before": UNBOUNDED,
    "wrap": {**UNBOUNDED, "boundary": "wrap"},
}
EACH_WAY = pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)


@pytest.fixture(autouse=True, scope="module")
def module(cuda_module):
    with backend_of(cuda_module):
        yield cuda_module
    cuda_module.place_cuda_gram(cuda_module.GramPlace.in_memory)


def on_chip(module, problem, shared=ALL_WARPS, **keywords):
    """The output, of blocks with so much shared memory; and how it was cut."""
    module.place_cuda_gram(module.GramPlace.on_chip, shared)
    output = contextual_attention(**problem, backend="cuda", **keywords)
    cut = module.last_cuda_tiling(backward=False)
    assert cut["gram_on_chip"]
    return output, cut


# Fewer channels than are multiplied at once, as many, no multiple of that, and more than are fetched at once.
CHANNELS = [8, 16, 24, 40, 64, 72, 136]


@settings(max_examples=150)
@given(problem=problems(channels=CHANNELS, most=8_000), shared=st.sampled_from(SHARED))
def test_any_problem(module, problem, shared):
    """Nothing is read before it is written, either: memory that threads share begins with NaN."""
    note((shapes(problem), shared))
    assert_rounded(problem, on_chip(module, problem, shared)[0])


@settings(max_examples=60)
@given(
    problem=problems(
        channels=[8, 24], foreground=st.tuples(st.integers(8, 36), st.integers(8, 36)), most=20_000
    ),
    share=st.floats(0, 1) | st.floats(1, 3),
    shared=st.sampled_from(SHARED),
)
def test_any_workspace(module, problem, share, shared):
    """From the least that tiles without too much of a halo take, to that of all samples at once."""
    module.place_cuda_gram(module.GramPlace.on_chip, shared)
    least, whole = extremes(module, problem)
    workspace = int(least + share * (whole - least)) if share < 1 else int(share * whole)
    workspace = max(workspace, least_workspace(problem, "cuda"))
    note((shapes(problem), workspace))
    output, cut = on_chip(module, problem, shared, workspace=workspace)
    assert cut["bytes"] <= workspace
    event("whole" if cut["foreground"] == positions(problem, "foreground") else "cut")
    assert_rounded(problem, output)


@EACH_HALF
@EACH_SHARED
@pytest.mark.parametrize("case", ON_CHIP, ids=lambda case: case.name)
def test_tiles_of_columns(module, case, shared, dtype):
    """Rows that a block's threads do not span: what lies at the ends of tiles comes from both sides."""
    problem = make_inputs(case, dtype)
    assert_rounded(problem, on_chip(module, problem, shared)[0])


@EACH_HALF
@EACH_WAY
@pytest.mark.parametrize("background", [(6, 16), (6, 18)], ids=str)
def test_tiles_with_halos_on_every_side(module, way, background, dtype):
    """As cut as can be: pixels whose tile ends left, right, above and below of them within the map."""
    case = Case("tiles", (2, 8, 128, 96), background, mask="holes", options=Options(**way))
    problem = make_inputs(case, dtype)
    module.place_cuda_gram(module.GramPlace.on_chip, SOME_WARPS)
    output, cut = on_chip(module, problem, SOME_WARPS, workspace=extremes(module, problem)[0])
    assert all(3 * side <= size for side, size in zip(cut["foreground"], (64, 48), strict=True))
    assert_rounded(problem, output)


@EACH_WAY
@pytest.mark.parametrize("size", [(40, 3), (3, 40), (33, 33)], ids=str)
def test_long_diagonals(module, size, way):
    """Several blocks march down one, and each begins with a row of the one before."""
    case = Case("long", (1, 8, *size), (37, 4), mask="hole", options=Options(rate=1, **way))
    problem = make_inputs(case, torch.bfloat16)
    assert_rounded(problem, on_chip(module, problem)[0])


@EACH_WAY
@EACH_SHARED
def test_the_order_of_threads_does_not_matter(module, shared, way):
    """Of those that do not meet in between: what one reads and another one writes would differ."""
    case = Case("order", (2, 24, 9, 70), (5, 41), mask="holes", options=Options(rate=1, **way))
    problem = make_inputs(case, torch.float16)
    first = on_chip(module, problem, shared)[0]
    module.run_by(module.Way.loops, True)
    second = on_chip(module, problem, shared)[0]
    module.run_by(module.Way.loops)
    assert torch.equal(first.view(torch.uint8), second.view(torch.uint8))


@EACH_HALF
@EACH_WAY
def test_features_of_any_scale(module, way, dtype):
    """Products are float32 from the first to the last: they leave the range of a float16."""
    problem = make_inputs(Case("scale", (1, 16, 12, 10), (9, 10), options=Options(rate=1, **way)), dtype)
    for factor in (2.0**-6, 2.0**10):
        scaled = problem | {"value": problem["background"]}
        scaled |= {name: factor * problem[name] for name in ("foreground", "background")}
        assert_rounded(scaled, on_chip(module, scaled)[0])


def test_where_it_is_chosen(module):
    """By the problem alone: channels that are whole vectors, and maps that fill the tiles of a block."""
    module.place_cuda_gram(module.GramPlace.by_estimate)
    scores = scoring(Options())

    def chosen(channels, *size, batch=1):
        problem = Problem(channels, 512, *size, *size, *scores, batch)
        return module.plan(problem, 2 << 30, cache=0, backward=False, octets=True)["gram_on_chip"]

    assert chosen(128, 128, 128)
    assert chosen(128, 64, 85)
    assert chosen(256, 128, 128)
    assert not chosen(130, 128, 128)
    assert not chosen(1024, 128, 128)
    assert not chosen(128, 32, 32, batch=16)
    assert not chosen(128, 512, 8)


def test_a_switch_for_comparisons(module):
    problem = make_inputs(replace(SMALL, foreground=(1, 8, 10, 12)), torch.bfloat16)
    for place in (module.GramPlace.in_memory, module.GramPlace.on_chip):
        module.place_cuda_gram(place)
        output = contextual_attention(**problem, backend="cuda")
        stays = module.last_cuda_tiling(backward=False)["gram_on_chip"]
        assert stays == (place == module.GramPlace.on_chip)
        assert_rounded(problem, output)


def test_a_device_with_too_little_shared_memory(module):
    problem = make_inputs(replace(SMALL, foreground=(1, 8, 10, 12)), torch.bfloat16)
    module.place_cuda_gram(module.GramPlace.on_chip, 48 << 10)
    assert_rounded(problem, contextual_attention(**problem, backend="cuda"))
    assert not module.last_cuda_tiling(backward=False)["gram_on_chip"]


def test_maps_that_begin_within_a_vector(module):
    """As a caller of the operator alone may have them."""
    problem = make_inputs(replace(SMALL, foreground=(1, 8, 10, 12)), torch.bfloat16)
    given, _ = fused.operands(call_of(problem), features.TENSOR_CODE)
    attend = torch.ops.contextual_attention.attend_on_host
    module.place_cuda_gram(module.GramPlace.on_chip)
    expected, *_ = attend(*given, *scoring(SMALL.options), False, 0)
    for name in ("foreground", "background"):
        aside = getattr(given, name).new_empty(getattr(given, name).numel() + 1)[1:]
        aside = aside.view_as(getattr(given, name)).copy_(getattr(given, name))
        found, *_ = attend(*given._replace(**{name: aside}), *scoring(SMALL.options), False, 0)
        assert not module.last_cuda_tiling(backward=False)["gram_on_chip"]
        torch.testing.assert_close(found, expected, rtol=2**-7, atol=2**-7)
