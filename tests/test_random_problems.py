"""Random problems over all that a user can set: every fused backend against the float64 reference."""

import contextlib
from dataclasses import asdict

import pytest
import torch
from helpers.compare import assert_solved, in_dtype, solve, steepness
from helpers.roads import ROADS
from hypothesis import assume, event, given, note, settings
from hypothesis import strategies as st
from test_backends_agree import least_workspace

from contextual_attention.options import PRESETS, Options

BACKENDS = sorted({road.backend for road in ROADS})


@st.composite
def options(draw):
    scale = st.sampled_from([10.0, 0.0, 1.0, 300.0])
    if draw(st.booleans()):
        # The presets, for what is published is what is used.
        preset, taps = draw(st.sampled_from(sorted(PRESETS))), draw(st.sampled_from([3, 3, 5, 9]))
        return Options.from_preset(
            preset, fuse_k=taps, softmax_scale=draw(scale), rate=draw(st.integers(1, 2))
        )
    fuse = draw(st.booleans())
    fuse_k = draw(st.sampled_from([1, 3, 5, 7]))
    propagation = draw(st.sampled_from(["after", "before"]))
    stride = draw(st.sampled_from([1, 1, 2, 3]))
    wraps = not (fuse and fuse_k > 1) or (stride == 1 and propagation == "before")
    return Options(
        ksize=draw(st.sampled_from([1, 3, 5])),
        stride=stride,
        rate=draw(st.integers(1, 3)),
        fuse=fuse,
        fuse_k=fuse_k,
        softmax_scale=draw(scale),
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
    """The keyword arguments of contextual_attention, in float32; all operands require a gradient, or none."""
    chosen, learns = draw(options()), draw(st.sampled_from([True, True, False]))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**32 - 1)))
    batch, channels = draw(st.sampled_from([2, 1, 3, 0])), draw(st.integers(1, 5))
    magnitude = draw(st.sampled_from([0.3, 1e-3, 3.0]))
    # Whole numbers give patches of zeros, and exact ties; eps = 0.5 keeps their norms off the kink of max.
    whole = chosen.eps == 0.5 and draw(st.booleans())

    def size():
        unit = chosen.rate if chosen.downscale == "aligned" else 1
        # Thin maps have many rows or columns, to be cut, and few scores.
        sides = draw(st.sampled_from([(9, 9), (9, 9), (40, 2), (2, 40), (20, 4)]))
        return tuple(-(-draw(st.integers(1, side)) // unit) * unit for side in sides)

    def features(*shape):
        x = torch.randn(shape, generator=generator)
        return (x.round() if whole else magnitude * x).requires_grad_(learns)

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


def vanishes(problem):
    """Whether float32 may hold no weight of a row that float64 still rescales to sum 1.

    That takes invalid candidates of logit 0 above valid ones of a logit under -87.
    """
    rescaled = problem["masking"] == "multiply" and problem["propagation"] == "after"
    return rescaled and 30 * steepness(problem) > 80


@contextlib.contextmanager
def threads(count):
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


# Of the least that a problem needs: the bound below which a plan changes lies anywhere.
WORKSPACES = st.one_of(st.none(), st.just(1.0), st.floats(1, 4), st.floats(1, 100))


@pytest.mark.parametrize("backend", BACKENDS)
@settings(max_examples=400)
@given(data=st.data())
def test_agrees_with_the_reference(backend, data):
    problem = data.draw(problems())
    assume(not vanishes(problem))
    road = data.draw(st.sampled_from([road for road in ROADS if road.backend == backend]))
    times = data.draw(WORKSPACES) if problem["foreground"].numel() else None
    note({name: tuple(x.shape) for name, x in problem.items() if isinstance(x, torch.Tensor)})
    event(f"{road}, workspace {'default' if times is None else 'given'}")
    with road.taken(), threads(data.draw(st.sampled_from([2, 1, 3]))):
        workspace = None if times is None else int(times * least_workspace(problem, backend))
        found = solve(problem, backend, workspace=workspace)
    assert_solved(problem, found, solve(in_dtype(problem, torch.float64), "reference"), road.rounding)
