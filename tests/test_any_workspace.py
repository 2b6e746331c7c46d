"""The answer is the same, to rounding, for every admissible workspace: the CUDA pipeline, on the host."""

from dataclasses import replace

import pytest
import torch
from helpers.compare import assert_solved, in_dtype, solve
from helpers.emulated import stand_in
from hypothesis import event, given, settings
from hypothesis import strategies as st
from test_backends_agree import exact, least_workspace

from contextual_attention.options import PRESETS
from contextual_attention.testing import MASKS, Case, make_inputs

# Launches forward and backward, at most, of a problem that is not cut.
WHOLE = 29


@pytest.fixture(autouse=True, scope="module")
def on_host(cuda_module):
    """As cuda_on_host, once for all the examples of a test."""
    cuda_module.run_by(cuda_module.Way.loops)
    with pytest.MonkeyPatch.context() as patch:
        stand_in(patch, cuda_module)
        yield


@st.composite
def cases(draw, most=12):
    """Small maps of every form, under a preset with or without its propagation, and masks of both maps."""
    options = PRESETS[draw(st.sampled_from(sorted(PRESETS)))]
    options = replace(
        options,
        rate=draw(st.sampled_from([1, 2])),
        ksize=draw(st.sampled_from([3, 3, 1, 5])),
        fuse_k=draw(st.sampled_from([3, 3, 1, 5, 7])),
        fuse=draw(st.sampled_from([True, True, False])),
    )
    side = st.integers(1, most).map(lambda n: n * options.rate)
    kinds = st.sampled_from([None, *sorted(MASKS)])
    background = draw(st.one_of(st.none(), st.tuples(side, side)))
    size = (draw(st.sampled_from([1, 2])), 2, draw(side), draw(side))
    return Case("drawn", size, background, mask=draw(kinds), foreground_mask=draw(kinds), options=options)


@settings(max_examples=150)
@given(case=cases(), times=st.floats(0, 8).map(lambda power: 2**power), learns=st.booleans())
def test_cuda(case, times, learns):
    """From the least to far more than everything at once takes."""
    problem = make_inputs(case, requires_grad=learns)
    workspace = int(times * least_workspace(problem, "cuda"))
    event(f"times 2**{int(times).bit_length() - 1}")
    expected = solve(in_dtype(problem, torch.float64), "reference")
    assert_solved(problem, solve(problem, "cuda", workspace=workspace), expected)


# Maps that the default workspace cuts, which is 4 MiB on the host: thin, for few pixels make many scores.
LONG = {
    name: Case(name, (1, 1, 2, 400), mask="holes", options=replace(options, rate=1))
    for name, options in PRESETS.items()
}


@pytest.mark.parametrize("name", LONG)
def test_default_workspace_cuts(name, cuda_module):
    problem = make_inputs(LONG[name], requires_grad=True)
    cuda_module.take_launch_count()
    found = solve(problem, "cuda")
    assert cuda_module.take_launch_count() > WHOLE, "not cut"
    assert_solved(problem, found, exact(LONG[name]))
