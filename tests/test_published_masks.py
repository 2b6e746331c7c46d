"""Holes of other publications' code, against what that code draws.

tests/data/masks_published.npz holds bits that the originals drew, from a seed each:
nipponjo/deepfillv2-pytorch (yu_...), open-mmlab/mmagic, otenim/GLCIC-PyTorch, by Pillow 13.0, OpenCV 5.0 and
NumPy 2.4.
"""

import random
from pathlib import Path

import numpy as np
import pytest
import torch

from contextual_attention.models.data.published_masks import (
    Hole,
    PublishedMasks,
    mmagic_box,
    mmagic_irregular,
    otenim_box,
    yu2019,
    yu2019_box,
    yu2019_strokes,
)

DATA = Path(__file__).parent / "data" / "masks_published.npz"


def drawn_by_the_original(name):
    """(seed, (H, W) bool) of each hole."""
    with np.load(DATA) as arrays:
        shape, seeds = arrays[f"{name}_shape"], arrays[f"{name}_seeds"]
        bits = np.unpackbits(arrays[name], axis=1)[:, : shape[1] * shape[2]].reshape(shape)
    return list(zip(seeds.tolist(), bits.astype(bool), strict=True))


def opencv_line(missing, start, end, width):
    import cv2

    cv2.line(missing, start, end, 1, width)


ORIGINALS = {
    "yu_brush_256x256": (lambda size, state: Hole(yu2019_strokes(size, state)), np.random.RandomState),
    "yu_brush_256x384": (lambda size, state: Hole(yu2019_strokes(size, state)), np.random.RandomState),
    "yu_bbox_then_brush_256x256": (yu2019, np.random.RandomState),
    "mmagic_bbox_256x256": (mmagic_box, np.random.RandomState),
    "otenim_160x160": (otenim_box, random.Random),
}


@pytest.mark.parametrize("name", ORIGINALS)
def test_every_pixel_is_the_original_s(name):
    draw, seeded = ORIGINALS[name]
    holes = drawn_by_the_original(name)
    assert len(holes) >= 4
    for seed, expected in holes:
        assert np.array_equal(draw(expected.shape, seeded(seed)).missing, expected)


def test_every_pixel_is_mmagic_s_where_opencv_draws():
    pytest.importorskip("cv2")
    for seed, expected in drawn_by_the_original("mmagic_irregular_256x256"):
        hole = mmagic_irregular(expected.shape, np.random.RandomState(seed), opencv_line)
        assert np.array_equal(hole.missing, expected)


def test_without_opencv_few_pixels_of_mmagic_s_differ():
    shares = [
        (mmagic_irregular(expected.shape, np.random.RandomState(seed)).missing != expected).mean()
        for seed, expected in drawn_by_the_original("mmagic_irregular_256x256")
    ]
    assert 0.002 < min(shares) <= max(shares) < 0.007  # as documented


def test_numbers_are_drawn_for_mirror_images_that_are_thrown_away():
    """So that a second hole from the same state is the original's too."""
    state, last = np.random.RandomState(3), []

    class Spy:
        def __getattr__(self, name):
            def draw(*given, **named):
                last[:] = [(name, given, named)]
                return getattr(state, name)(*given, **named)

            return draw

    yu2019_strokes((256, 256), Spy())
    assert last == [("normal", (), {"size": 2})]


# Mean, standard deviation, 5 and 95 percent of the hole's share of the image, of 1500 holes of each original.
AREAS = {
    "strokes": (lambda s: yu2019_strokes((256, 256), s), 0.153, 0.079, 0.037, 0.292),
    "box": (lambda s: yu2019_box((256, 256), s), 0.191, 0.024, 0.153, 0.231),
    "both": (lambda s: yu2019((256, 256), s).missing, 0.311, 0.067, 0.215, 0.425),
    "mmagic_irregular": (lambda s: mmagic_irregular((256, 256), s).missing, 0.341, 0.098, 0.184, 0.512),
    "mmagic_box": (lambda s: mmagic_box((256, 256), s).missing, 0.212, 0.016, 0.186, 0.238),
    "otenim_box": (lambda s: otenim_box((160, 160), s).missing, 0.203, 0.057, 0.118, 0.309),
}


@pytest.mark.parametrize("name", AREAS)
def test_holes_are_as_large_as_the_originals(name):
    draw, mean, deviation, least, largest = AREAS[name]
    state = random.Random(1) if name == "otenim_box" else np.random.RandomState(1)
    number = 600
    areas = np.array([draw(state).mean() for _ in range(number)])
    # Four standard errors of a mean, of both sets of holes; of a percentile near the ends about twice that.
    error = 4 * deviation * (1 / number + 1 / 1500) ** 0.5
    assert abs(areas.mean() - mean) < error + 0.0005  # the table is rounded
    assert abs(areas.std() / deviation - 1) < 0.15
    assert np.abs(np.percentile(areas, [5, 95]) - [least, largest]).max() < 2 * error


KINDS = {
    "yu2019": (yu2019, np.random.RandomState, (256, 256)),
    "mmagic-irregular": (mmagic_irregular, np.random.RandomState, (128, 200)),
    "mmagic-box": (mmagic_box, np.random.RandomState, (170, 200)),
    "otenim-box": (otenim_box, random.Random, (96, 150)),
}


@pytest.mark.parametrize("name", KINDS)
def test_training_draws_from_the_generator_alone(name):
    draw, seeded, size = KINDS[name]
    masks = PublishedMasks(draw, seeded)
    first, again, other = (masks(4, size, torch.Generator().manual_seed(seed)) for seed in (5, 5, 6))
    assert torch.equal(first.mask, again.mask)
    assert torch.equal(first.boxes, again.boxes)
    assert not torch.equal(first.mask, other.mask)
    assert len({sample.numpy().tobytes() for sample in first.mask}) == 4
    for sample, (top, left, height, width) in zip(first.mask[:, 0], first.boxes.tolist(), strict=True):
        assert top + height <= size[0]
        assert left + width <= size[1]
        assert sample[top : top + height, left : left + width].sum() == sample.sum() > 0


def test_a_local_critic_sees_what_the_publication_says():
    for name, side in (("mmagic-box", 128), ("otenim-box", 96)):
        draw, seeded, size = KINDS[name]
        boxes = PublishedMasks(draw, seeded)(20, size, torch.Generator().manual_seed(0)).boxes
        assert (boxes[:, 2:] == side).all()
        assert len(set(boxes[:, 1].tolist())) > 5


@pytest.mark.parametrize(
    ("draw", "size", "says"),
    [
        (yu2019, (256, 128), "yu2019 needs pictures of at least 129 x 129 pixels, got 256 x 128"),
        (mmagic_box, (168, 256), "mmagic-box needs pictures of at least 169 x 169 pixels, got 168 x 256"),
        (mmagic_irregular, (16, 16), "mmagic-irregular never covered 15 to 65 % of 16 x 16"),
    ],
)
def test_a_size_that_the_original_cannot_do_is_refused(draw, size, says):
    with pytest.raises(ValueError, match=says):
        draw(size, np.random.RandomState(0))
    with pytest.raises(
        ValueError, match="otenim-box needs pictures of at least 96 x 96 pixels, got 95 x 200"
    ):
        otenim_box((95, 200), random.Random(0))


def test_the_least_sizes_do():
    assert yu2019_box((129, 129), np.random.RandomState(0)).any()
    assert mmagic_box((169, 169), np.random.RandomState(0)).box == (20, 20, 128, 128)
    assert otenim_box((96, 96), random.Random(0)).box == (0, 0, 96, 96)
