"""Holes: where they may lie, that a seed is a mask, and what the local critic sees of them."""

import itertools
import math

import numpy as np
import pytest
import torch
from PIL import Image

from contextual_attention.models.data.masks import (
    MaskFolder,
    bounding_boxes,
    crop_boxes,
    free_form,
    near_line,
    random_boxes,
)
from contextual_attention.models.data.masks import _stroke as stroke


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


DRAWERS = {
    "box": lambda g: random_boxes(6, (40, 50), (12, 9), g),
    "boxes": lambda g: random_boxes(6, (40, 50), 10, g, number=4),
    "shrunk": lambda g: random_boxes(6, (40, 50), 16, g, shrink=8),
    "free-form": lambda g: free_form(6, (40, 50), g),
}


@pytest.mark.parametrize("draw", DRAWERS.values(), ids=DRAWERS)
def test_masks_are_seeded_and_differ_between_samples(draw):
    first, again, other = draw(seeded()), draw(seeded()), draw(seeded(1))
    assert torch.equal(first.mask, again.mask)
    assert torch.equal(first.boxes, again.boxes)
    assert not torch.equal(first.mask, other.mask)
    assert len({sample.numpy().tobytes() for sample in first.mask}) == 6


@pytest.mark.parametrize("draw", DRAWERS.values(), ids=DRAWERS)
def test_boxes_lie_in_the_image_and_hold_the_hole(draw):
    mask, boxes = draw(seeded(2))
    assert mask.shape == (6, 1, 40, 50)
    assert mask.dtype == torch.bool
    for sample, (top, left, height, width) in zip(mask[:, 0], boxes.tolist(), strict=True):
        assert top >= 0
        assert left >= 0
        assert top + height <= 40
        assert left + width <= 50
        inside = sample[top : top + height, left : left + width].sum()
        assert inside == sample.sum() > 0


def test_a_box_is_filled_and_reaches_every_position():
    mask, boxes = random_boxes(400, (6, 7), (4, 5), seeded())
    assert (mask.sum((1, 2, 3)) == 20).all()
    assert {tuple(box) for box in boxes[:, :2].tolist()} == set(itertools.product(range(3), range(3)))


def test_random_sizes_are_those_of_the_published_code():
    """Margins of 0 to 16 pixels on both sides of each axis: even sides of 96 to 128."""
    mask, boxes = random_boxes(200, (256, 256), 128, seeded(), shrink=32)
    assert (boxes[:, 2:] == 128).all()
    heights, widths = mask.any(3).sum(2).flatten(), mask.any(2).sum(2).flatten()
    for sides in (heights, widths):
        assert set(sides.tolist()) == set(range(96, 129, 2))
    assert (mask.sum((1, 2, 3)) == heights * widths).all()
    for sample, (top, left, *_) in zip(mask[:20, 0], boxes.tolist(), strict=False):
        rows = sample.any(1).nonzero().flatten()
        assert rows[0] - top == top + 127 - rows[-1]  # the margin is the same on opposite sides
        columns = sample.any(0).nonzero().flatten()
        assert columns[0] - left == left + 127 - columns[-1]


def test_several_boxes_are_up_to_as_many_as_asked():
    from scipy.ndimage import label

    mask, _ = random_boxes(60, (200, 200), 8, seeded(), number=3)
    counts = {label(sample[0].numpy())[1] for sample in mask}
    assert counts == {1, 2, 3}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"box": 41}, "box: expected a height of 1 to 40"),
        ({"box": (4, 0)}, "box: expected a width of 1 to 50"),
        ({"number": 0}, "number"),
        ({"shrink": 8}, "shrink: expected 0 to 7"),
    ],
)
def test_impossible_boxes_are_refused(change, says):
    arguments = {"batch": 1, "size": (40, 50), "box": 8, "generator": seeded()} | change
    with pytest.raises(ValueError, match=says):
        random_boxes(**arguments)


def test_boxes_leave_something_known():
    """One box of two leaves two pixels of four rows; a second one covers them half of the time."""
    mask, boxes = random_boxes(200, (4, 2), (3, 2), seeded(), number=4)
    assert not mask.flatten(1).all(1).any()
    assert (mask.sum((1, 2, 3)) == 6).all()
    assert (boxes[:, 2:] == torch.tensor([3, 2])).any()


def test_boxes_that_cover_all_are_refused():
    with pytest.raises(ValueError, match="1 to 2 boxes of 4 x 5 covered all of 4 x 5 pixels"):
        random_boxes(1, (4, 5), (4, 5), seeded(), number=2)


def test_a_line_is_all_pixels_within_its_radius():
    points = [
        (3.0, 2.0), (10.0, 14.0), (10.0, 14.0), (1.0, 18.0),  # one segment of no length
        (-9.0, 19.0), (-30.0, 40.0), (40.0, 60.0), (20.0, 8.0),  # some that are partly or wholly outside
    ]  # fmt: skip
    expected = np.zeros((16, 20), bool)
    # Brute force: a point of the line every hundredth of a pixel.
    for (y0, x0), (y1, x1) in itertools.pairwise(points):
        for share in np.linspace(0, 1, 8000):
            y, x = y0 + share * (y1 - y0), x0 + share * (x1 - x0)
            rows, columns = np.ogrid[:16, :20]
            expected |= np.hypot(rows - y, columns - x) <= 2.5
    assert np.array_equal(near_line(points, 2.5, (16, 20)).numpy(), expected)


def test_strokes_cover_a_part_that_grows_with_their_width():
    thin = free_form(20, (64, 64), seeded(), width=(0.04, 0.04)).mask.float().mean()
    thick = free_form(20, (64, 64), seeded(), width=(0.2, 0.2)).mask.float().mean()
    assert 0.02 < thin < thick < 0.9


def test_bounding_boxes_against_a_twin():
    mask, boxes = free_form(12, (48, 70), seeded(3), strokes=(1, 1), vertices=(1, 3))
    for sample, (top, left, height, width) in zip(mask[:, 0].numpy(), boxes.tolist(), strict=True):
        rows, columns = np.nonzero(sample)
        extent = max(np.ptp(rows), np.ptp(columns)) + 1
        assert (height, width) == (min(extent, 48), min(extent, 70))  # a square where there is room
        assert top <= rows.min()
        assert rows.max() < top + height
        assert left <= columns.min()
        assert columns.max() < left + width


def test_a_sample_without_a_hole_has_no_box():
    with pytest.raises(ValueError, match="nothing missing"):
        bounding_boxes(torch.zeros(1, 1, 8, 8))


def test_crops_of_the_right_size_are_copies():
    images = torch.randn(2, 3, 20, 30)
    crops = crop_boxes(images, torch.tensor([[2, 5, 8, 8], [11, 22, 8, 8]]), 8)
    assert torch.equal(crops[0], images[0, :, 2:10, 5:13])
    assert torch.equal(crops[1], images[1, :, 11:19, 22:30])


def test_crops_are_resized_and_differentiable():
    images = torch.zeros(1, 3, 20, 30, requires_grad=True)
    ramp = torch.arange(30.0).expand(1, 3, 20, 30)
    crop = crop_boxes(images + ramp, [[0, 4, 16, 16]], 8)
    # Halving a ramp keeps its slope: neighbours differ by 2, away from the edge of the box.
    assert crop.shape == (1, 3, 8, 8)
    assert torch.allclose(crop[..., 2:6].diff(), torch.tensor(2.0))
    crop.sum().backward()
    assert images.grad[..., 4:20].count_nonzero()
    assert not images.grad[..., 21:].any()


def test_a_crop_of_a_mask_keeps_thin_strokes():
    mask = torch.zeros(1, 1, 32, 32, dtype=torch.bool)
    mask[..., 13, :] = True
    crop = crop_boxes(mask, [[0, 0, 32, 32]], 8)
    assert crop.dtype == torch.bool
    assert crop[0, 0].any(1).tolist() == [False, False, False, True, False, False, False, False]


class TestFolder:
    @pytest.fixture
    def folder(self, tmp_path):
        for name, row in (("a.png", 5), ("b.png", 30)):
            pixels = np.zeros((40, 60), np.uint8)
            pixels[row, 3:50] = 255
            Image.fromarray(pixels).save(tmp_path / name)
        return tmp_path

    def test_draws_each_of_its_masks(self, folder):
        mask, _ = MaskFolder(folder)(20, (20, 30), seeded())
        rows = {int(sample[0].any(1).nonzero()) for sample in mask}
        assert rows == {2, 15}  # halved: a row of one pixel survives

    def test_names_a_mask_without_a_hole(self, tmp_path):
        Image.new("L", (8, 8), 90).save(tmp_path / "dark.png")
        with pytest.raises(ValueError, match=r"dark\.png: a mask with nothing missing"):
            MaskFolder(tmp_path)(1, (8, 8), seeded())

    def test_names_a_mask_that_is_nothing_but_hole(self, tmp_path):
        Image.new("L", (8, 8), 200).save(tmp_path / "bright.png")
        with pytest.raises(ValueError, match=r"bright\.png: a mask with everything missing"):
            MaskFolder(tmp_path)(1, (8, 8), seeded())

    def test_needs_a_mask(self, tmp_path):
        with pytest.raises(
            ValueError, match=r"masks\.folder: no pictures at .*; expected a folder of pictures$"
        ):
            MaskFolder(tmp_path)


def test_zigzags_turn_by_the_published_angles():
    """Segments alternate between a turn of 72 degrees, give or take 24, and its mirror image."""
    checked = 0
    for seed in range(20):
        points = torch.tensor(stroke((10_000, 10_000), 3, seeded(seed)), dtype=torch.float64)
        steps = points.diff(dim=0)
        if (points <= 0).any() or (points >= 9999).any() or (steps.norm(dim=1) < 1).any():
            continue  # cut at the edge: the angle is another
        angles = torch.atan2(steps[:, 0], steps[:, 1])
        between = (angles[1] - angles[0]) % (2 * math.pi)
        assert 2 * (72 - 24) <= math.degrees(between) <= 2 * (72 + 24)
        checked += 1
    assert checked > 5
