"""PatchMatch: its nearest-neighbour field against brute force, and what it fills."""

import pytest
import torch

from contextual_attention.models.filling.patchmatch import (
    NearestNeighbours,
    PatchMatchOptions,
    fill_patchmatch,
    valid_centres,
)
from contextual_attention.models.filling.pyramid import finest_level

RADIUS = 2


@pytest.fixture
def level():
    generator = torch.Generator().manual_seed(1)
    image = torch.nn.functional.avg_pool2d(torch.rand(1, 3, 30, 34, generator=generator), 3, 1)
    hole = torch.zeros(1, 1, 28, 32, dtype=torch.bool)
    hole[..., 10:15, 12:18] = True
    return finest_level(image, hole)


def brute_force(image, valid, targets):
    """The least distance of each target's patch to any whole known patch, one pair after the other."""
    padded = torch.nn.functional.pad(image, (RADIUS,) * 4, mode="replicate")[0]
    side = 2 * RADIUS + 1

    def patch(at):
        return padded[:, at[0] : at[0] + side, at[1] : at[1] + side]

    known = [patch(at) for at in valid.nonzero().tolist()]
    return torch.stack([min(((patch(at) - other) ** 2).sum() for other in known) for at in targets.tolist()])


def test_field_against_brute_force(level):
    search = NearestNeighbours(level, RADIUS, torch.Generator().manual_seed(0))
    search.improve(level.image, 8)
    exact = brute_force(level.image, search.valid, search.targets)
    assert (search.costs >= exact - 1e-4).all()
    # Random search does not find all of the best, least of all in noise, where neighbours help little.
    assert (search.costs <= exact + 1e-4).float().mean() > 0.6
    assert search.costs.mean() < 1.1 * exact.mean()
    assert search.valid[search.sources[:, 0], search.sources[:, 1]].all()


def test_costs_never_grow(level):
    search = NearestNeighbours(level, RADIUS, torch.Generator().manual_seed(0))
    search.improve(level.image, 1)
    first = search.costs.clone()
    search.improve(level.image, 1)
    assert (search.costs <= first + 1e-5).all()


def test_a_vote_for_one_source_is_a_copy(level):
    search = NearestNeighbours(level, RADIUS, torch.Generator().manual_seed(0))
    search.sources = search.targets + torch.tensor([8, 0])
    search.costs = torch.ones(len(search.targets))
    voted = search.vote(level.image)
    assert torch.allclose(voted[..., 10:15, 12:18], level.image[..., 18:23, 12:18], atol=1e-6)


def test_valid_centres_by_hand():
    missing = torch.zeros(1, 1, 5, 7, dtype=torch.bool)
    missing[..., 2, 5] = True
    expected = torch.zeros(5, 7, dtype=torch.bool)
    expected[1:4, 1:4] = True
    assert torch.equal(valid_centres(missing, 1), expected)


def test_stripes_come_back_and_known_pixels_stay():
    columns = torch.arange(48) % 6 < 3
    truth = columns.float().mul(2).sub(1).expand(1, 3, 40, 48).contiguous()
    hole = torch.zeros(1, 1, 40, 48, dtype=torch.bool)
    hole[..., 14:24, 17:27] = True
    filled = fill_patchmatch(truth.masked_fill(hole, 0), hole)
    assert torch.equal(filled.image[~hole.expand_as(truth)], truth[~hole.expand_as(truth)])
    assert (filled.image - truth).abs().max() < 0.05


def test_the_seed_decides():
    image = torch.rand(1, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    hole = torch.zeros(1, 1, 32, 32, dtype=torch.bool)
    hole[..., 10:20, 10:20] = True
    first, again, other = (
        fill_patchmatch(image, hole, PatchMatchOptions(seed=seed, rounds=3)).image for seed in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
