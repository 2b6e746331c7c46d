"""Pixels that nobody looks at may hold anything: NaN and infinities in them reach no output and no gradient.

Which they are is worked out here position by position, from the definitions in oracle.py.
"""

import itertools

import numpy as np
import pytest
import torch
from helpers import oracle
from helpers.compare import OPERANDS, solve
from helpers.roads import ROADS
from hypothesis import event, given, settings
from hypothesis import strategies as st
from test_random_problems import problems

from contextual_attention import contextual_attention
from contextual_attention.options import PRESETS, Options
from contextual_attention.testing import options_of

GARBAGE = torch.tensor([float("nan"), float("inf"), -float("inf"), 1e30, -1e38])
BACKENDS = sorted({road.backend for road in ROADS} | {"reference"})


def valid_patches(mask, size, o):
    """The candidates without a missing pixel in their window."""
    missing = np.zeros([-(-n // o.rate) for n in size], bool)
    if mask is not None:
        missing = oracle.small_mask(mask, size, o)
    on_grid = (q for q in oracle.grid(size, o.rate) if q[0] % o.stride == q[1] % o.stride == 0)
    return [q for q in on_grid if not oracle.window(missing[None], *q, o.ksize).any()]


def selected_patches(mask, size, o):
    chosen = oracle.small_mask(mask, size, o)
    return [p for p in oracle.grid(size, o.rate) if chosen[p]]


def read_pixels(centres, size, o):
    """Which pixels of a map of `size` the patches at `centres` are made of, and those propagated to them."""
    small = tuple(-(-n // o.rate) for n in size)
    counting = set(centres)
    if o.fuse and o.propagation == "before":
        taps = [i * o.stride for i in range(-(o.fuse_k // 2), o.fuse_k // 2 + 1)]
        down = {oracle.moved(c, small, by, "top-down", o) for c in centres for by in taps} - {None}
        counting = {oracle.moved(c, small, by, "left-right", o) for c in down for by in taps} - {None}
    read = np.zeros(size, bool)
    reach = range(-(o.ksize // 2), o.ksize // 2 + 1)
    for (row, column), i, j in itertools.product(counting, reach, reach):
        if 0 <= row + i < small[0] and 0 <= column + j < small[1]:
            pixel = [
                oracle.pixel_read(x, n, o.rate, o) for x, n in zip((row + i, column + j), size, strict=True)
            ]
            read[tuple(pixel)] = True
    return read


def pasted_pixels(patches, size, m, o):
    """Which pixels of a map of m * `size` lie in one of the pasted patches."""
    cell, pasted = o.rate * m, np.zeros([m * n for n in size], bool)
    for row, column in patches:
        top, left = cell * row - cell // 2, cell * column - cell // 2
        pasted[max(top, 0) : top + 2 * cell, max(left, 0) : left + 2 * cell] = True
    return pasted


def unread(problem):
    """What nobody looks at of each operand, and what of the foreground is kept: (B, 1, height, width)."""
    o = options_of(problem)
    maps = [problem[name] for name in OPERANDS]
    batch = maps[0].shape[0]
    size, background_size = maps[0].shape[2:], maps[1].shape[2:]
    m = 1 if maps[2] is None else maps[2].shape[2] // background_size[0]
    masks = [
        None if problem[name] is None else problem[name].expand(batch, -1, -1, -1)[:, 0].numpy()
        for name in ("mask", "foreground_mask")
    ]
    found = {name: [] for name in (*OPERANDS, "kept")}
    for n in range(batch):
        valid = valid_patches(None if masks[0] is None else masks[0][n], background_size, o)
        selected = list(oracle.grid(size, o.rate))
        if masks[1] is not None:
            selected = selected_patches(masks[1][n], size, o)
        found["foreground"].append(~read_pixels(selected, size, o))
        found["background"].append(~read_pixels(valid, background_size, o))
        found["value"].append(~pasted_pixels(valid, background_size, m, o))
        found["kept"].append(~pasted_pixels(selected, size, 1, o))
    if problem["value"] is None:
        found["background"] = [a & b for a, b in zip(found["background"], found["value"], strict=True)]
    return {name: torch.tensor(np.array(x))[:, None] for name, x in found.items()}


def holding(problem, places, garbage):
    """The problem with garbage, cycled through, or zeros at places of its operands."""
    changed = dict(problem)
    for name in OPERANDS:
        if problem[name] is None:
            continue
        x = problem[name].detach().clone()
        there = places[name].expand_as(x)
        filling = GARBAGE.repeat(x.numel() // len(GARBAGE) + 1)[: x.numel()].view_as(x)
        x[there] = filling[there] if garbage else 0.0
        changed[name] = x.requires_grad_()
    return changed


@pytest.mark.parametrize("backend", BACKENDS)
@settings(max_examples=150)
@given(data=st.data())
def test_garbage_is_as_good_as_zeros(backend, data):
    problem = data.draw(problems().filter(lambda x: x["foreground"].shape[0] > 0))
    if data.draw(st.booleans()):
        preset = data.draw(st.sampled_from(sorted(PRESETS.keys() - {"yu2018"})))  # any size: not "aligned"
        problem |= vars(PRESETS[preset])
    places = unread(problem)
    event(f"background: {places['background'].any()}, foreground: {places['foreground'].any()}")
    found = solve(holding(problem, places, garbage=True), backend)
    expected = solve(holding(problem, places, garbage=False), backend)
    # What no patch covers is the foreground itself, where its channels are those of the output.
    shown = torch.zeros_like(expected[0], dtype=torch.bool)
    if problem["foreground_mask"] is not None and expected[0].shape == problem["foreground"].shape:
        shown = (places["kept"] & places["foreground"]).expand_as(shown)
    assert torch.equal(found[0].masked_fill(shown, 0), expected[0].masked_fill(shown, 0))
    assert torch.equal(found[1], expected[1])
    for name, gradient in expected[2].items():
        assert torch.equal(found[2][name], gradient), name
        assert gradient.isfinite().all()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("preset", PRESETS)
def test_a_hole_full_of_nan_of_a_map_that_attends_to_itself(backend, preset):
    """Outside of the hole's surroundings the map attends, to what is known: all is finite."""
    o = Options.from_preset(preset)
    x = torch.randn(1, 3, 24, 24, generator=torch.Generator().manual_seed(0))
    hole = torch.zeros(1, 1, 24, 24)
    hole[..., 8:16, 8:16] = 1
    asked = torch.zeros_like(hole)
    asked[..., :2] = 1  # far from the hole
    # With propagation before the softmax patches count that reach 2 positions beyond the valid ones.
    deep = slice(12, 14) if o.propagation == "before" else slice(8, 16)
    outputs = []
    for filling in (float("nan"), 0.0):
        f = x.clone()
        f[..., deep, deep] = filling
        f.requires_grad_()
        y = contextual_attention(f, f, hole, foreground_mask=asked, **vars(o), backend=backend)
        (slope,) = torch.autograd.grad(y[..., :2].square().sum(), f)
        outputs.append((y[..., :4].detach(), slope))
    for found, expected in zip(*outputs, strict=True):
        assert torch.equal(found, expected)
        assert found.isfinite().all()
