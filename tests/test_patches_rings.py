"""The first filling, ring after ring: what the layer finds against brute force, and what is filled."""

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from helpers.filled_scales import cost, scale_of, scales, square

from contextual_attention.models.patches.rings import attend_ring, fill_rings, search_ring
from contextual_attention.models.patches.scales import touching
from contextual_attention.models.patches.search import Preferences, Search, positions

LAYER = {"workspace": None, "backend": None}
PLAIN = Preferences(0, 1.0)


def first_ring(search):
    defined = ~search.scale.hole
    return defined, touching(defined, 1) & ~defined


def window_counts(search, y, x):
    """How often the layer compares by each pixel of a patch: its windows, in the picture, of 3 x 3 pixels."""
    radius, (height, width) = search.radius, search.scale.hole.shape
    if radius == 0:
        return {(0, 0): 1}
    counts = {}
    reach = range(1 - radius, radius)
    centres = [(i, j) for i in reach for j in reach if 0 <= y + i < height and 0 <= x + j < width]
    for i, j in centres:
        for down in (-1, 0, 1):
            for right in (-1, 0, 1):
                at = i + down, j + right
                if 0 <= y + at[0] < height and 0 <= x + at[1] < width:
                    counts[at] = counts.get(at, 0) + 1
    return counts


def as_numbers(scale):
    """Colours and texture as the layer compares them, with what lifts them to norm 1: (H, W, C + 3)."""
    numbers = scale.features.numpy()[..., : scale.colours + 2] / 127.5
    numbers[..., : scale.colours] -= 1
    numbers *= 0.3
    return np.dstack([numbers, np.sqrt(1 - (numbers**2).sum(2))])


def distances(search, defined, target, sources):
    """Squared, by what is defined, of a target's patch to those around sources."""
    numbers, width = as_numbers(search.scale), search.scale.hole.shape[1]
    (y, x), (rows, columns) = divmod(target, width), np.divmod(sources, width)
    total = np.zeros(len(sources))
    for (i, j), count in window_counts(search, y, x).items():
        if defined[y + i, x + j]:
            total += count * ((numbers[rows + i, columns + j] - numbers[y + i, x + j]) ** 2).sum(1)
    return total


@pytest.mark.parametrize("smooth", [0, 2])
@pytest.mark.parametrize("radius", [0, 1, 2, 3])
@pytest.mark.parametrize("place", [(7, 8, 7), (0, 14, 9), (12, 0, 8)], ids=["inside", "corner", "edge"])
def test_the_layer_finds_the_best(radius, place, smooth):
    scale = scale_of(square(20, 23, *place), seed=radius, smooth=smooth)
    search = Search(scale, radius, 1, PLAIN, 0)
    defined, ring = first_ring(search)
    sources = attend_ring(search, defined, ring, LAYER)
    usable = positions(search.whole).numpy()
    assert search.whole.flatten()[sources.long()].all()
    assert len(sources) == int(ring.sum())
    for target, source in zip(positions(ring).tolist(), sources.tolist(), strict=True):
        best = distances(search, defined, target, usable).min()
        own = distances(search, defined, target, np.array([source]))[0]
        # Scores are sums of up to 225 products of float32 near 1, each rounded by 6e-8.
        assert own <= best + 225 * 6e-7


@hypothesis.settings(max_examples=30)
@hypothesis.given(scales(12), st.integers(0, 3))
def test_the_layer_borrows_whole_patches_of_any_scale(scale, radius):
    hypothesis.assume(bool(scale.hole.any()))
    search = Search(scale, radius, 1, PLAIN, 0)
    defined, ring = first_ring(search)
    assert search.whole.flatten()[attend_ring(search, defined, ring, LAYER).long()].all()


@pytest.mark.parametrize("radius", [1, 2])
def test_what_is_searched_for_is_as_good(radius):
    scale = scale_of(square(26, 29, 7, 8, 10), smooth=2)
    search = Search(scale, radius, 2, PLAIN, 0)
    search.start()
    before = search.sources.clone(), search.costs.clone(), search.targets.clone()
    defined, ring = first_ring(search)
    targets = positions(ring).tolist()
    sources = search_ring(search, defined, ring)
    assert search.whole.flatten()[sources.long()].all()
    usable = positions(search.whole).tolist()
    own = best = chance = 0
    for target, source in list(zip(targets, sources.tolist(), strict=True))[::5]:
        costs = [cost(scale, target, other, radius, 0, defined) for other in usable]
        own += cost(scale, target, source, radius, 0, defined)
        best += min(costs)
        chance += sum(costs) / len(costs)
    # Of 16 random pictures the worst is left with 17% of what the best patches are better than any.
    assert best <= own <= best + 0.2 * (chance - best)
    # The search itself is not touched.
    assert all(map(torch.equal, before, (search.sources, search.costs, search.targets)))


@hypothesis.settings(max_examples=60)
@hypothesis.given(
    scale=scales(),
    radius=st.integers(0, 3),
    candidates=st.integers(1, 3),
    full_search=st.sampled_from([0, 2000, 1e6]),
)
def test_all_and_only_the_hole_is_filled_with_copies(scale, radius, candidates, full_search):
    before = scale.features.clone()
    search = Search(scale, radius, candidates, PLAIN, 0)
    search.start()
    fill_rings(search, full_search, LAYER)
    assert torch.equal(scale.features[~scale.hole], before[~scale.hole])
    sources = search.sources[search.index[scale.hole].long(), 0].long()
    assert search.whole.flatten()[sources].all()
    assert torch.equal(scale.features[scale.hole], before.flatten(0, 1)[sources])
    # A candidate that is found once more does not count twice.
    search.improve(1, 4)
    for row in search.sources.tolist():
        there = [source for source in row if source >= 0]
        assert len(set(there)) == len(there)


@pytest.mark.parametrize("full_search", [0, 1e6])
def test_stripes_go_on(full_search):
    """From ring to ring: what the first is filled with is what the second is compared by."""
    columns = torch.arange(32) % 6 < 3
    scale = scale_of(square(30, 32, 9, 10, 11))
    striped = torch.where(columns[None, :, None], 200, 40).expand(30, 32, 8).to(torch.uint8)
    scale.features[:] = striped.masked_fill(scale.hole[..., None], 0)
    search = Search(scale, 3, 1, PLAIN, 0)
    search.start()
    fill_rings(search, full_search, LAYER)
    assert torch.equal(scale.features, striped)


@pytest.mark.parametrize("full_search", [0, 1e6])
def test_a_guide_that_is_sure_is_kept(full_search):
    scale = scale_of(square(24, 24, 7, 7, 10))
    guide = torch.full((24, 24, 8), 77, dtype=torch.uint8)
    trust = torch.zeros(24, 24, dtype=torch.uint8)
    trust[10, :], trust[12, :] = 61, 60
    scale.guide = guide, trust
    before = scale.features.clone()
    search = Search(scale, 2, 1, PLAIN, 0)
    search.start()
    fill_rings(search, full_search, LAYER)
    assert (scale.features[10, 7:17] == 77).all()
    assert torch.equal(scale.features[~scale.hole], before[~scale.hole])
    # Below is filled with copies, in which no pixel is all 77.
    assert not (scale.features[12] == 77).all(1).any()
