"""The reference against brute force, and its derivatives against finite differences."""

import itertools

import numpy as np
import pytest
import torch
from helpers import oracle
from helpers.compare import in_dtype

from contextual_attention import attention_weights, contextual_attention, reference
from contextual_attention.call import Call
from contextual_attention.options import PRESETS, Options
from contextual_attention.testing import Case, call_of, make_inputs, options_of

BEFORE = {"propagation": "before"}
WRAP = {"propagation": "before", "boundary": "wrap"}


def assert_equals_brute_force(problem):
    """Output, offsets and weights of every sample, to float64's rounding."""
    options = options_of(problem)
    output, offsets = contextual_attention(**problem, backend="reference", return_offsets=True)
    everywhere = torch.tensor(list(np.ndindex(*offsets.shape[2:])))
    rest = {name: x for name, x in problem.items() if name != "value"}
    weights = attention_weights(**rest, queries=everywhere)
    value = problem["background"] if problem["value"] is None else problem["value"]
    for i in range(output.shape[0]):
        masks = (_of_sample(problem[name], i) for name in ("mask", "foreground_mask"))
        sample = (x[i].numpy() for x in (problem["foreground"], problem["background"], value))
        y, displacement, maps = oracle.contextual_attention(*sample, *masks, options)
        np.testing.assert_allclose(output[i].numpy(), y, rtol=0, atol=1e-12)
        np.testing.assert_allclose(weights[i].numpy(), maps.reshape(weights[i].shape), rtol=0, atol=1e-12)
        np.testing.assert_array_equal(offsets[i].numpy(), displacement)


def _of_sample(mask, i):
    return None if mask is None else mask[min(i, mask.shape[0] - 1), 0].numpy()


def tiny(**keywords):
    options = Options(**{"rate": 1, **keywords.pop("options", {})})
    case = Case("tiny", **{"foreground": (2, 2, 4, 3), "mask": "pixel", "options": options, **keywords})
    return make_inputs(case, torch.float64)


@pytest.mark.parametrize(
    "options",
    [
        {},
        *[{"ksize": k} for k in (1, 5)],
        *[{"fuse_k": k, **how} for k in (1, 3, 5) for how in ({}, BEFORE, WRAP)],
        *[{"stride": s, **how} for s in (2, 3) for how in ({}, BEFORE, {"fuse": False})],
        {"fuse": False},
        {"softmax_scale": 0.0},
        {"normalize": "background"},
        {"eps": 2.0},
        {"eps": 0.5, "eps_mode": "sum"},
        {"overlap": "fixed"},
        *[{"masking": "multiply", **how} for how in ({}, BEFORE, WRAP, {"fuse": False}, {"fuse_k": 1})],
    ],
    ids=str,
)
def test_equals_brute_force_under_every_option(options):
    assert_equals_brute_force(tiny(options=options))


@pytest.mark.parametrize("preset", PRESETS)
def test_equals_brute_force_under_every_preset(preset):
    case = Case("preset", (2, 2, 8, 6), mask_scale=2, options=PRESETS[preset])
    assert_equals_brute_force(make_inputs(case, torch.float64))


@pytest.mark.parametrize("rate", [2, 3, 4])
@pytest.mark.parametrize("downscale", ["strided", "aligned"])
@pytest.mark.parametrize("mask_downscale", ["any", "sampled"])
def test_equals_brute_force_at_every_rate(rate, downscale, mask_downscale):
    size = (2 * rate, 4 * rate) if downscale == "aligned" else (2 * rate + 1, 4 * rate - 1)
    options = {"rate": rate, "downscale": downscale, "mask_downscale": mask_downscale}
    for scale in (1, 2, 3):
        problem = tiny(foreground=(1, 2, *size), mask="holes", mask_scale=scale, options=options)
        assert_equals_brute_force(problem)


@pytest.mark.parametrize("how", [{}, BEFORE, WRAP], ids=["after", "before", "wrap"])
@pytest.mark.parametrize("kind", ["hole", "holes", "nothing", "everything", "different"])
def test_equals_brute_force_with_a_foreground_mask(kind, how):
    problem = tiny(foreground=(2, 2, 4, 4), mask="hole", foreground_mask=kind, mask_scale=2, options=how)
    assert_equals_brute_force(problem)


@pytest.mark.parametrize("how", [{}, BEFORE, WRAP], ids=["after", "before", "wrap"])
@pytest.mark.parametrize(
    ("size", "background"),
    [((1, 1), (1, 1)), ((1, 5), (4, 1)), ((5, 1), (1, 4)), ((2, 3), (4, 2)), ((4, 3), (2, 5))],
)
def test_equals_brute_force_against_a_background_of_another_size(size, background, how):
    for fuse_k in (3, 5):
        options = {"fuse_k": fuse_k, "ksize": 1, **how}
        problem = tiny(foreground=(1, 2, *size), background=background, mask=None, options=options)
        assert_equals_brute_force(problem)


@pytest.mark.parametrize("rate", [1, 2, 3])
@pytest.mark.parametrize("value", [(2, 1), (3, 1), (2, 2), (1, 3)])
def test_equals_brute_force_with_a_value(value, rate):
    for foreground_mask in (None, "pixel"):
        problem = tiny(
            foreground=(1, 2, 5, 4), value=value, foreground_mask=foreground_mask, options={"rate": rate}
        )
        assert_equals_brute_force(problem)


@pytest.mark.parametrize("masking", ["exclude", "multiply"])
@pytest.mark.parametrize("propagation", ["after", "before"])
def test_without_a_valid_patch_output_offsets_and_gradients_are_zero(masking, propagation):
    options = Options(masking=masking, propagation=propagation)
    problem = make_inputs(
        Case("all hole", mask="everything", options=options), torch.float64, requires_grad=True
    )
    output, offsets = contextual_attention(**problem, backend="reference", return_offsets=True)
    output.sum().backward()
    for x in (output, offsets, problem["foreground"].grad, problem["background"].grad):
        assert not x.any()


@pytest.mark.parametrize("preset", PRESETS)
def test_weights_of_rows_are_rows_of_the_dense_weights(preset):
    """On a map too large for brute force."""
    case = Case(
        "rows", (2, 3, 24, 20), (18, 22), mask="different", foreground_mask="holes", options=PRESETS[preset]
    )
    problem = make_inputs(case, torch.float64)
    maps = problem["foreground"], problem["background"]
    selected = reference.select(problem["foreground_mask"], (24, 20), case.options)
    dense = reference.final_weights(*maps, problem["mask"], selected, case.options)
    queries = torch.tensor([[[0, 0], [11, 9], [5, 1]], [[4, 0], [0, 9], [1, 8]]])
    rows = reference.attention_weights(call_of(problem), queries)
    for i, j in itertools.product(range(2), range(3)):
        row, column = queries[i, j]
        torch.testing.assert_close(rows[i, j], dense[i, row, column], rtol=0, atol=1e-14)


def test_weights_of_rows_do_not_hold_all_rows():
    """One query against 9216 candidates: all rows would take 680 MB."""
    features = torch.randn(1, 1, 96, 96)
    with torch.profiler.profile(profile_memory=True) as profile:
        call = Call(features, features, None, features, None, Options(rate=1))
        reference.attention_weights(call, torch.tensor([[40, 50]]))
    assert max(event.cpu_memory_usage for event in profile.events()) < 32 * 96**2 * 4


def _derivable():
    """Each option where it takes part in a derivative, on maps of a few patches."""
    return {
        "paper": {},
        "before": BEFORE,
        "published": {**WRAP, "normalize": "background", "masking": "multiply", "overlap": "fixed"},
        "eps sum": {"eps_mode": "sum", "normalize": "background"},
        "eps binds": {"eps": 10.0},
        "multiply": {"masking": "multiply"},
        "stride": {"stride": 2},
        "rate": {"rate": 2},
    }


@pytest.mark.parametrize("options", _derivable().values(), ids=_derivable())
def test_derivatives_equal_finite_differences(options):
    problem = tiny(
        foreground=(1, 1, 4, 3),
        value=(1, 1),
        foreground_mask="hole",
        options={"softmax_scale": 3.0, **options},
    )
    operands = [problem.pop(name).requires_grad_() for name in ("foreground", "background", "value")]

    def output(foreground, background, value):
        return contextual_attention(foreground, background, value=value, backend="reference", **problem)

    assert torch.autograd.gradcheck(output, operands)
    assert torch.autograd.gradgradcheck(output, operands)


def test_derivatives_of_zero_patches_are_finite():
    """The norm's own slope is infinite there."""
    operands = [torch.zeros(1, 2, 6, 6, dtype=torch.float64, requires_grad=True) for _ in range(2)]
    output = contextual_attention(*operands, value=torch.randn(1, 2, 6, 6).double(), backend="reference")
    first = torch.autograd.grad(output.square().sum(), operands, create_graph=True)
    second = torch.autograd.grad(sum(x.square().sum() for x in first), operands)
    assert all(x.isfinite().all() for x in (*first, *second))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(dtype):
    half = make_inputs(Case("half", value=(3, 2)), dtype)
    single = in_dtype(half, torch.float32)
    output = contextual_attention(**half, backend="reference")
    assert output.dtype == dtype
    assert torch.equal(output, contextual_attention(**single, backend="reference").to(dtype))


def test_an_empty_batch_is_empty():
    problem = make_inputs(Case("empty", (0, 3, 8, 6), value=(2, 2), mask="shared hole"), requires_grad=True)
    output, offsets = contextual_attention(**problem, backend="reference", return_offsets=True)
    output.sum().backward()
    assert output.shape == (0, 2, 16, 12)
    assert offsets.shape == (0, 2, 4, 3)
    assert problem["foreground"].grad.shape == (0, 3, 8, 6)
