"""Random problems over the whole option space: every fused backend against the float64 reference."""

from dataclasses import asdict

import pytest
import torch
from compare import (
    FORWARD,
    assert_gradients_near,
    assert_near,
    assert_offsets_reach_the_top,
    in_dtype,
    solve,
    steepness,
)
from hypothesis import event, given, note, settings
from hypothesis import strategies as st
from roads import ROADS
from test_backends_agree import least_workspace

from contextual_attention.options import Options

BACKENDS = sorted({road.backend for road in ROADS})


@st.composite
def options(draw):
    fuse = draw(st.booleans())
    fuse_k = draw(st.sampled_from([1, 3, 5]))
    propagation = draw(st.sampled_from(["after", "before"]))
    stride = draw(st.sampled_from([1, 1, 2, 3]))
    wraps = not (fuse and fuse_k > 1) or (stride == 1 and propagation == "before")
    return Options(
        ksize=draw(st.sampled_from([1, 3, 5])),
        stride=stride,
        rate=draw(st.integers(1, 3)),
        fuse=fuse,
        fuse_k=fuse_k,
        softmax_scale=draw(st.sampled_from([0.0, 1.0, 10.0])),
        normalize=draw(st.sampled_from(["both", "background"])),
        eps=draw(st.sampled_from([1e-4, 0.5])),
        eps_mode=draw(st.sampled_from(["max", "sum"])),
        downscale=draw(st.sampled_from(["strided", "aligned"])),
        mask_downscale=draw(st.sampled_from(["any", "sampled"])),
        propagation=propagation,
        boundary=draw(st.sampled_from(["zero", "wrap"])) if wraps else "zero",
        masking=draw(st.sampled_from(["exclude", "multiply"])),
        overlap=draw(st.sampled_from(["mean", "fixed"])),
    )


@st.composite
def problems(draw):
    """The keyword arguments of contextual_attention, in float32, every operand requiring a gradient."""
    chosen = draw(options())
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**32 - 1)))
    batch, channels = draw(st.sampled_from([2, 1, 3, 0])), draw(st.integers(1, 5))
    magnitude = draw(st.sampled_from([0.3, 1e-3]))
    # Whole numbers give patches of zeros, and exact ties; eps = 0.5 keeps their norms off the kink of max.
    whole = chosen.eps == 0.5 and draw(st.booleans())

    def size():
        unit = chosen.rate if chosen.downscale == "aligned" else 1
        return tuple(-(-draw(st.integers(1, 9)) // unit) * unit for _ in range(2))

    def features(*shape):
        x = torch.randn(shape, generator=generator)
        return (x.round() if whole else magnitude * x).requires_grad_()

    def mask(size):
        scale, samples = draw(st.sampled_from([1, 2, 4])), draw(st.sampled_from([1, batch]))
        density = draw(st.sampled_from([0.02, 0.1, 0.4, 0.0, 1.0])) / scale**2
        missing = torch.rand(samples, 1, *(scale * n for n in size), generator=generator) < density
        return missing if draw(st.booleans()) else missing.float() * 0.5

    foreground = size()
    background = draw(st.one_of(st.just(foreground), st.builds(size)))
    value = None
    if draw(st.booleans()):
        m = draw(st.integers(1, 3))
        value = features(batch, draw(st.sampled_from([channels, 2])), *(m * n for n in background))
    return {
        "foreground": features(batch, channels, *foreground),
        "background": features(batch, channels, *background),
        "mask": mask(background) if draw(st.booleans()) else None,
        "value": value,
        "foreground_mask": mask(foreground) if draw(st.booleans()) else None,
        **asdict(chosen),
    }


@pytest.mark.parametrize("backend", BACKENDS)
@settings(max_examples=200)
@given(data=st.data())
def test_agrees_with_the_reference(backend, data):
    problem = data.draw(problems())
    road = data.draw(st.sampled_from([road for road in ROADS if road.backend == backend]))
    small = data.draw(st.booleans())
    note({name: tuple(x.shape) for name, x in problem.items() if isinstance(x, torch.Tensor)})
    event(f"{road}, workspace {'small' if small else 'default'}")
    with road.taken():
        workspace = least_workspace(problem, backend) if small and problem["foreground"].numel() else None
        output, offsets, slopes = solve(problem, backend, workspace=workspace)
    expected, _, expected_slopes = solve(in_dtype(problem, torch.float64), "reference")
    assert_near("output", output, expected, steepness(problem) * FORWARD)
    assert_gradients_near(problem, slopes, expected_slopes)
    assert_offsets_reach_the_top(problem, offsets)
