"""Guards on the work of the CPU kernels, by counts instead of times.

The bounds are what was counted for these shapes, a few percent of slack added: a change that adds a pass over
the scores, a product, or a copy of the scratch goes beyond them.
"""

from __future__ import annotations

import pytest
import torch
from helpers.cpu_hooks import counted_work

from contextual_attention import contextual_attention

CHANNELS = 32  # few, so that the tests are fast; the counts scale with it
MIB = 2**20


def features(height: int, width: int, batch: int = 1, requires_grad: bool = False) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(batch, CHANNELS, height, width, generator=generator, requires_grad=requires_grad)


def work_of(height: int, width: int, backward: bool = False, **arguments) -> dict[str, int]:
    x = features(height, width, requires_grad=backward)
    if not backward:
        with counted_work() as work:
            contextual_attention(x, x, **arguments)
        return work
    y = contextual_attention(x, x, **arguments)
    with counted_work() as work:
        y.sum().backward()
    return work


def scores(height: int, width: int, rate: int = 2) -> int:
    return (height // rate * (width // rate)) ** 2


def factored_flop(height: int, width: int, rate: int = 2) -> int:
    """2 (C + rate**2 C) a score: the Gram matrix and the deconvolution (docs/performance.md)."""
    return 2 * (1 + rate**2) * CHANNELS * scores(height, width, rate)


@pytest.mark.parametrize(
    ("options", "flop", "visits"),
    [
        # similarity and weight in one, propagation, its sum, cells
        ({}, 1.1, 4.3),
        # similarity, propagation, largest, exponentials, cells
        ({"propagation": "before"}, 1.1, 5.4),
        # similarity and weight in one, cells
        ({"fuse": False}, 1.1, 2.2),
        # the wrapped passes are two; rows beyond the last are made again
        ({"propagation": "before", "boundary": "wrap"}, 1.15, 6.6),
    ],
)
def test_forward_touches_each_score_a_few_times(options, flop, visits):
    work = work_of(96, 96, **options)
    assert work["gemm_flop"] <= flop * factored_flop(96, 96)
    assert work["score_visits"] <= visits * scores(96, 96)


@pytest.mark.parametrize(
    ("options", "visits"),
    [
        # Forward's three, and: dA, c2, dX, dA1, c1, dL, R, the norms, dR, dG.
        ({}, 13.7),
        ({"propagation": "before"}, 11.6),
        ({"fuse": False}, 9.6),
    ],
)
def test_backward_touches_each_score_a_few_times(options, visits):
    work = work_of(96, 96, backward=True, **options)
    # G again, dE, dV, df, db: 11 C for 5 C forward.
    assert work["gemm_flop"] <= 1.1 * 11 / 5 * factored_flop(96, 96)
    assert work["score_visits"] <= visits * scores(96, 96)


def test_small_maps_are_few_products():
    assert work_of(64, 64)["gemm_calls"] <= 2
    assert work_of(64, 64, backward=True)["gemm_calls"] <= 5


@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize("workspace", [MIB, 8 * MIB, 32 * MIB])
def test_scratch_stays_within_the_workspace(workspace, backward):
    work = work_of(64, 96, backward=backward, workspace=workspace)
    assert 0 < work["scratch_bytes"] <= workspace


@pytest.mark.parametrize(("side", "fraction"), [(10, 0.01)])
def test_work_goes_with_the_selected_patches(side, fraction):
    size = 96
    hole = torch.zeros(1, 1, size, size)
    hole[..., 40 : 40 + side, 40 : 40 + side] = 1
    assert abs(hole.mean().item() - fraction) < 0.002
    part = work_of(size, size, foreground_mask=hole)
    whole = work_of(size, size)
    # A hundredth of the patches, and a margin around them for what propagation and patches read.
    assert part["gemm_flop"] <= whole["gemm_flop"] / 45
    assert part["score_visits"] <= whole["score_visits"] / 70


def test_background_rows_without_a_valid_patch_cost_nothing():
    size = 96
    mask = torch.zeros(1, 1, size, size)
    mask[..., 16:80, :] = 1
    part, whole = work_of(size, size, mask=mask), work_of(size, size)
    # 32 of 96 rows are left, each side with one row lost to patches that touch the hole and the margins.
    assert part["gemm_flop"] <= 0.36 * whole["gemm_flop"]


def test_nothing_is_selected_nothing_is_done():
    nothing = torch.zeros(1, 1, 32, 32)
    assert work_of(32, 32, foreground_mask=nothing)["gemm_calls"] == 0
