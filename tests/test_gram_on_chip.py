"""The forward by octets whose Gram matrix is never in memory (csrc/cuda/gram_sums.h).

Every block of threads runs on the host (tests/native/host_block.h): what each thread does between two meetings
stands in the sources that the device runs, what they do together is emulated as the instructions' layouts have
it. What this cannot see is whether the device meets where the sources say so, and how fast it is.
"""

from dataclasses import replace

import pytest
import torch
from helpers.compare import assert_near
from hypothesis import event, given, note, settings
from hypothesis import strategies as st
from test_octets import (  # noqa: F401  (a fixture)
    EACH_HALF,
    SMALL,
    UNBOUNDED,
    assert_rounded,
    extremes,
    module,
    problems,
    shapes,
)

from contextual_attention import contextual_attention
from contextual_attention.options import Options
from contextual_attention.testing import Case, make_inputs

# Of a block: enough for one warp, for some, and for all; of an H100.
ONE_WARP, SOME_WARPS, ALL_WARPS = 66_000, 100_000, 227 << 10
SHARED = [ONE_WARP, SOME_WARPS, ALL_WARPS]


@pytest.fixture(autouse=True, scope="module")
def restored(module):
    yield
    module.place_cuda_gram(module.GramPlace.by_estimate)


def on_chip(module, problem, shared=ALL_WARPS, **keywords):
    """The output, of blocks with so much shared memory."""
    module.place_cuda_gram(module.GramPlace.on_chip, shared)
    output = contextual_attention(**problem, backend="cuda", **keywords)
    assert module.last_cuda_tiling(backward=False)["gram_on_chip"]
    return output


# Fewer channels than are multiplied at once, as many, no multiple of that, and more than are fetched at once.
CHANNELS = [8, 16, 24, 40, 64, 72, 136]


@settings(max_examples=150)
@given(
    problem=problems(channels=CHANNELS, most=8_000),
    shared=st.sampled_from(SHARED),
)
def test_any_problem(module, problem, shared):
    """Nothing is read before it is written, either: memory that the threads share begins with NaN."""
    note((shapes(problem), shared))
    assert_rounded(problem, on_chip(module, problem, shared))
