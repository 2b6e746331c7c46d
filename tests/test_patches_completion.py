"""From coarse to fine: which scales, how often, and which attempt is gone on with."""

import numpy as np
import pytest
import torch
from helpers.filled_scales import scale_of, square

from contextual_attention.models.patches import completion
from contextual_attention.models.patches.completion import Settings, complete
from contextual_attention.models.patches.scales import whole_patches
from contextual_attention.models.patches.search import Preferences, Search

PLAIN = Preferences(0, 1.0)


def settings(**changed):
    plain = {"radius": 1, "candidates": 1, "rounds": 4, "iterations": 2, "start_depth": 4, "sharpening": 1.0}
    return Settings(**{**plain, "preferences": PLAIN, "seed": 0, **changed})


def begin(search):
    """A first filling: all alike."""
    search.scale.features[search.scale.hole] = 128


def test_scales_by_hand():
    """A hole of 24 pixels a side is 12 deep, then 6, 3, 2 and 1."""
    finest = scale_of(square(96, 96, 32, 32, 24))
    for depth, count in ((12, 1), (11, 2), (5, 3), (2, 4), (1, 4)):
        scales = completion._pyramid(finest, [settings(start_depth=depth), settings(start_depth=50)])
        assert [scale.deepest for scale in scales] == [12, 6, 3, 2][:count]
        assert [scale.depth for scale in scales] == list(range(len(scales)))
    # The next has 6 x 6 pixels: not 64 patches, of any size. Radius 3 finds so few before: of 24 x 24 pixels
    # 18 x 18 are centres, without (6 + 6) x (6 + 6) at the hole; of 12 x 12 pixels none is left.
    assert len(completion._pyramid(finest, [settings(start_depth=1, radius=3)])) == 3
    assert int(whole_patches(scales[2].missing, 3).sum()) == 18**2 - 12**2


def test_where_to_start():
    scales = completion._pyramid(scale_of(square(96, 96, 32, 32, 24)), [settings(start_depth=1)])
    starts = [completion._start(scales, settings(start_depth=depth)) for depth in (1, 2, 3, 5, 6, 11, 12, 99)]
    # Thin at no scale: the coarsest.
    assert starts == [3, 3, 2, 2, 1, 1, 0, 0]


def test_rounds():
    scale = scale_of(square(32, 32, 8, 8, 16))
    scales = [scale, scale.halve(), scale.halve().halve()]
    assert [completion._rounds(settings(rounds=8), s, 2) for s in scales] == [4, 6, 8]
    assert [completion._rounds(settings(rounds=4), s, 2) for s in scales] == [3, 3, 4]
    assert [completion._rounds(settings(rounds=2), s, 2) for s in scales] == [2, 2, 2]


@pytest.mark.parametrize("depths", [(3,), (6, 3), (3, 3, 5)])
def test_progress_ascends_and_ends_at_one(depths):
    seen = []
    attempts = [settings(start_depth=depth, seed=7 * depth) for depth in depths]
    complete(scale_of(square(64, 64, 20, 20, 24)), attempts, begin, seen.append)
    assert seen == sorted(seen)
    assert 0 < seen[0] < 0.2
    assert seen[-1] == 1
    assert len(seen) > 3 * len(depths)


@pytest.mark.parametrize("side", [1, 4, 10])
def test_thin_holes_take_one_scale(side):
    """Of several attempts the first to find the hole thin, at once: there is nothing to choose from."""
    began, seen = [], []

    def note(search):
        began.append((search.scale.depth, search.seed))
        begin(search)

    attempts = [settings(start_depth=depth, seed=depth, rounds=5) for depth in (1, 5, 9)]
    search = complete(scale_of(square(40, 40, 11, 12, side)), attempts, note, seen.append)
    assert began == [(0, 1 if side == 1 else 5)]
    assert search.scale.hole.shape == (40, 40)
    # What else would be a scale's share of the work.
    assert np.allclose(seen, [0.2, 0.4, 0.6, 0.8, 1, 1])


def test_each_attempt_begins_by_itself_and_one_goes_on():
    began = []

    def note(search):
        began.append((search.scale.depth, search.seed, int(search.scale.features[search.scale.hole].max())))
        begin(search)

    finest = scale_of(square(64, 64, 20, 20, 24))
    finest.features[finest.hole] = 0
    before = finest.features.clone()
    attempts = [settings(start_depth=6, seed=5), settings(seed=9), settings(start_depth=6, seed=7)]
    search = complete(finest, attempts, note)
    # The hole is 6 pixels deep at half the resolution, 3 at a quarter. Nobody sees what others filled in.
    assert began == [(1, 1005, 0), (2, 2009, 0), (1, 1007, 0)]
    assert search.scale is finest
    assert torch.equal(finest.features[~finest.hole], before[~finest.hole])
    assert finest.features[finest.hole].any()


def planted(move=(0, 12), noise=0.0, costs=100, seed=0):
    """Everything comes from one place beside; a share of the targets from elsewhere."""
    random = np.random.default_rng(seed)
    scale = scale_of(square(24, 36, 8, 4, 6), smooth=1)
    features = scale.features.clone()
    features[:, 12:24] = features[:, :12]
    features[:, 24:36] = features[:, :12]
    scale.features.copy_(features)
    search = Search(scale, 1, 1, PLAIN, 0)
    sources = search.targets + move[0] * 36 + move[1]
    usable = search.whole.flatten().nonzero()[:, 0].numpy()
    astray = random.uniform(size=len(sources)) < noise
    sources[torch.from_numpy(astray)] = torch.from_numpy(random.choice(usable, int(astray.sum()))).int()
    search.sources[:, 0] = sources
    search.costs[:] = costs
    return search


@pytest.mark.parametrize(
    "worse",
    [{"noise": 0.3}, {"noise": 1.0}, {"move": (0, 24)}, {"move": (3, 12)}, {"costs": 150}],
    ids=["torn", "random", "far away", "misplaced", "unlike"],
)
def test_the_likeliest_is_found(worse):
    assert completion._likeliest([planted(), planted(**worse)]) == 0
    assert completion._likeliest([planted(**worse), planted(**worse), planted()]) == 2


def test_blurred_is_not_likely_for_its_costs_alone():
    """Torn into pieces, and a little cheaper."""
    assert completion._likeliest([planted(noise=0.8, costs=80), planted(costs=100)]) == 1


@pytest.mark.parametrize("noise", [0.0, 0.5])
def test_marks_against_loops(noise):
    search = planted(noise=noise, costs=77)
    offsets, hole = search.offsets()[0].numpy(), search.scale.hole.numpy()
    colours = search.scale.features.numpy()[..., :3].astype(int)
    breaks, far, seams = 0, 0.0, 0
    for y, x in np.argwhere(hole):
        far += np.hypot(*offsets[:, y, x]) / hole.sum()
        for down, right in ((0, 1), (1, 0), (0, -1), (-1, 0)):
            beside = y + down, x + right
            different = (offsets[:, y, x] != offsets[(slice(None), *beside)]).any()
            breaks += (down + right > 0) and hole[beside] and different
            follows = tuple(np.add(beside, offsets[:, y, x]))
            copied = tuple(np.add(beside, offsets[(slice(None), *beside)]))
            seams += np.abs(colours[follows] - colours[copied]).sum() / hole.sum()
    assert np.allclose(completion._marks(search), [breaks, far, seams, 77])
    assert (breaks > 0) == (noise > 0)
