"""The holes of Context Encoders."""

import numpy as np
import pytest
import torch

from contextual_attention.models.data.regions import centre_box, random_region


def test_the_centre_is_the_published_one():
    """Rows and columns 36 to 91 of 128, of which the middle 64 are predicted."""
    mask, boxes = centre_box(3, (128, 128), torch.Generator(), box=64)
    expected = np.zeros((128, 128), bool)
    expected[36:92, 36:92] = True
    assert all(np.array_equal(sample[0].numpy(), expected) for sample in mask)
    assert boxes.tolist() == [[32, 32, 64, 64]] * 3


def test_a_centre_of_another_size():
    mask, boxes = centre_box(1, (40, 51), torch.Generator(), box=20, overlap=7)
    rows, columns = mask[0, 0].nonzero(as_tuple=True)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (17, 22, 22, 27)
    assert boxes.tolist() == [[10, 15, 20, 20]]


@pytest.mark.parametrize("box", [8, 41])
def test_a_centre_that_cannot_be_is_refused(box):
    with pytest.raises(ValueError, match=f"box: expected a side of 9 to 40, .*, got {box}"):
        centre_box(1, (40, 60), torch.Generator(), box=box)


def published_pattern(cells, side, seed):
    """As train_random.lua makes it, smaller: noise, enlarged along one axis after the other."""
    noise = np.random.default_rng(seed).random((cells, cells))
    places = np.arange(side - 1) * (cells - 1) / (side - 1)
    at, t = places.astype(int), places % 1

    def enlarge(rows):
        padded = np.concatenate([2 * rows[:1] - rows[1:2], rows, 2 * rows[-1:] - rows[-2:-1]])
        p0, p1, p2, p3 = (padded[at + shift] for shift in range(4))
        x = t[:, None]
        a1, a2, a3 = (p2 - p0) / 2, p0 - 2.5 * p1 + 2 * p2 - p3 / 2, (3 * (p1 - p2) + p3 - p0) / 2
        return p1 + x * (a1 + x * (a2 + x * a3))

    return enlarge(enlarge(noise).T).T < 0.25


def test_regions_are_windows_of_the_published_pattern():
    """By their areas and by the length of their outlines."""
    pattern = published_pattern(150, 2500, 0)
    random = np.random.default_rng(1)
    windows = []
    while len(windows) < 300:
        top, left = random.integers(0, pattern.shape[0] - 128, 2)
        window = pattern[top : top + 128, left : left + 128]
        if 0.2 < window.mean() < 0.3:
            windows.append(window)
    expected = np.stack(windows)
    drawn = random_region(300, (128, 128), torch.Generator().manual_seed(0)).mask[:, 0].numpy()

    def outlines(holes):
        return np.diff(holes, axis=1).sum((1, 2)) + np.diff(holes, axis=2).sum((1, 2))

    for measure in (lambda holes: holes.mean((1, 2)), outlines):
        ours, theirs = measure(drawn), measure(expected)
        error = 4 * np.hypot(ours.std(), theirs.std()) / 300**0.5
        assert abs(ours.mean() - theirs.mean()) < error
        assert error < 0.05 * theirs.mean()  # a cell of another size shows


@pytest.mark.parametrize("size", [(8, 8), (64, 64), (128, 200), (600, 600)])
def test_regions_have_their_area_at_any_size(size):
    mask, boxes = random_region(4, size, torch.Generator().manual_seed(1))
    assert mask.shape == (4, 1, *size)
    areas = mask.float().mean((1, 2, 3))
    assert 0.2 < areas.min() <= areas.max() < 0.3
    assert len({sample.numpy().tobytes() for sample in mask}) == 4
    assert boxes.shape == (4, 4)


def test_a_size_without_such_a_region_is_refused():
    with pytest.raises(ValueError, match="no region of 20 to 30 % of 1 x 1 pixels"):
        random_region(1, (1, 1), torch.Generator())
