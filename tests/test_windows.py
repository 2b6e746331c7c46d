"""Windows around holes: where they lie, what is seen in them, and how their middles go back."""

import pytest
import torch
from torch.nn.functional import interpolate

from contextual_attention.models.network.windows import (
    Window,
    look,
    place,
    resize,
    shrink,
    windows_around_holes,
)


def missing(height, width, *boxes):
    """(1, 1, height, width) bool, True in boxes of top, left, height and width."""
    mask = torch.zeros(1, 1, height, width, dtype=torch.bool)
    for top, left, rows, columns in boxes:
        mask[..., top : top + rows, left : left + columns] = True
    return mask


def numbered(height, width, dtype=torch.float64):
    """(3, height, width), every number once."""
    return torch.arange(3 * height * width, dtype=dtype).reshape(3, height, width)


class TestPlaces:
    @pytest.mark.parametrize(
        ("size", "boxes", "window"),
        [
            ((128, 128), [(36, 36, 56, 56)], (0, 0, 128)),
            ((300, 200), [(100, 50, 56, 20)], (64, -4, 128)),  # of a small hole the least
            ((300, 200), [(100, 50, 1, 1)], (36, -14, 128)),
            ((300, 200), [(0, 0, 57, 57)], (-40, -40, 136)),  # 58 * 128 / 56 = 132.6
            ((300, 200), [(0, 0, 112, 57)], (-72, -100, 256)),
            ((300, 200), [(10, 20, 10, 10), (80, 150, 10, 10)], (-110, -70, 320)),  # 140 wide, both together
            ((300, 200), [(0, 0, 300, 200)], (-194, -244, 688)),
            ((9, 9), [(0, 0, 9, 9)], (-60, -60, 128)),
        ],
    )
    def test_by_hand(self, size, boxes, window):
        assert windows_around_holes(missing(*size, *boxes), 128, 56) == [Window(*window)]

    def test_each_sample_has_its_own(self):
        masks = torch.cat([missing(128, 128, box) for box in ((36, 36, 56, 56), (0, 0, 0, 0), (0, 3, 10, 4))])
        assert windows_around_holes(masks, 128, 56) == [Window(0, 0, 128), None, Window(-59, -59, 128)]

    def test_the_middle_holds_the_hole(self):
        """Whatever the box: within the middle 56 of 128, and half of the side is whole pixels."""
        draw = torch.Generator().manual_seed(0)
        for _ in range(300):
            top, left, rows, columns = (torch.randint(1, 200, (4,), generator=draw)).tolist()
            (window,) = windows_around_holes(missing(400, 400, (top, left, rows, columns)), 128, 56)
            assert window.side % 4 == 0
            assert window.side >= 128
            margin = window.side * 36 / 128
            for start, count, first in ((top, rows, window.top), (left, columns, window.left)):
                assert first + margin <= start
                assert start + count <= first + window.side - margin
            # As small as it may be: the next smaller one would not hold the longer side.
            longer = max(rows, columns) + max(rows, columns) % 2
            assert window.side == 128 or (window.side - 4) * 56 < longer * 128


class TestLooking:
    def test_a_window_of_the_views_size_is_copied(self):
        image, mask = numbered(40, 50), missing(40, 50, (10, 12, 5, 6))[0]
        seen, unknown = look(image, mask, Window(4, 5, 16), 16)
        assert torch.equal(unknown, mask[:, 4:20, 5:21])
        assert torch.equal(seen, image[:, 4:20, 5:21].masked_fill(unknown, 0))

    @pytest.mark.parametrize(("top", "left"), [(-3, -5), (2, 3), (-20, 7)])
    def test_beyond_the_edge_is_the_reflection(self, top, left):
        """As often as it takes: 24 pixels of a picture of 6 x 7."""
        image, mask = numbered(6, 7), missing(6, 7, (1, 2, 2, 1))[0]
        seen, unknown = look(image, mask, Window(top, left, 24), 24)

        def reflected(place, size):
            place %= 2 * (size - 1)
            return min(place, 2 * (size - 1) - place)

        for row in range(24):
            for column in range(24):
                there = (slice(None), reflected(top + row, 6), reflected(left + column, 7))
                assert unknown[0, row, column] == mask[there][0]
                assert torch.equal(seen[:, row, column], image[there] * ~mask[there])

    def test_what_is_known_is_the_mean_of_what_is_known(self):
        """By the weights of the resize, column by column of its matrix."""
        draw = torch.Generator().manual_seed(0)
        image = torch.rand(3, 30, 30, generator=draw, dtype=torch.float64)
        mask = missing(30, 30, (4, 5, 11, 12))[0]
        seen, unknown = look(image, mask, Window(0, 0, 30), 12)
        eye = torch.eye(30, dtype=torch.float64)[None, None]
        weights = interpolate(eye, (12, 30), mode="bilinear", antialias=True)[0, 0]
        for row in range(12):
            for column in range(12):
                weight = weights[row][:, None] * weights[column] * ~mask[0]
                assert unknown[0, row, column] == (weight.sum() == 0)
                expected = (
                    (weight * image).sum((1, 2)) / weight.sum() if weight.sum() else torch.zeros(3).double()
                )
                assert torch.allclose(seen[:, row, column], expected, atol=1e-12)
        assert unknown.any()

    @pytest.mark.parametrize("garbage", [float("nan"), float("inf"), 1e30])
    def test_nothing_of_a_hole_reaches_it(self, garbage):
        image, mask = numbered(40, 40, torch.float32), missing(40, 40, (10, 12, 9, 8))[0]
        for window in (Window(0, 0, 40), Window(2, 2, 16)):
            expected = look(image, mask, window, 16)
            found = look(image.masked_fill(mask, garbage), mask, window, 16)
            assert all(torch.equal(*pair) for pair in zip(found, expected, strict=True))

    def test_a_picture_that_grows(self):
        """Between the pixels it is what the resize makes of it; next to a hole the known pixel."""
        image, mask = numbered(4, 4), missing(4, 4, (0, 0, 4, 2))[0]
        seen, unknown = shrink(image.masked_fill(mask, 0), mask, (8, 8))
        assert unknown[0, 0].tolist() == [True] * 3 + [False] * 5
        assert torch.equal(seen[..., 6:], resize(image, (8, 8))[..., 6:])
        assert torch.allclose(seen[:, :, 3:5], resize(image, (8, 4))[..., 2:3].expand(-1, -1, 2))

    def test_nothing_known(self):
        seen, unknown = look(numbered(8, 8), missing(8, 8, (0, 0, 8, 8))[0], Window(-4, -4, 16), 8)
        assert unknown.all()
        assert torch.equal(seen, torch.zeros(3, 8, 8).double())


class TestPlacing:
    def test_into_the_middle(self):
        image, middle = numbered(30, 40), -numbered(8, 8) - 1
        found = place(middle, Window(3, 5, 16), image)
        assert torch.equal(found[:, 7:15, 9:17], middle)
        assert torch.equal(found.masked_fill(found < 0, 0), image.masked_fill(found < 0, 0))
        assert (found < 0).sum() == 3 * 64

    @pytest.mark.parametrize(
        ("top", "left", "rows", "columns"), [(-8, -9, (4, 8), (5, 8)), (26, 34, (0, 0), (0, 2))]
    )
    def test_what_is_beyond_the_picture_is_cut(self, top, left, rows, columns):
        image, middle = numbered(30, 40), -numbered(8, 8) - 1
        found = place(middle, Window(top, left, 16), image)
        kept = middle[:, slice(*rows), slice(*columns)]
        assert torch.equal(found[found < 0], kept.flatten())

    def test_is_resized(self):
        image, middle = numbered(40, 40), -numbered(4, 4) - 1
        found = place(middle, Window(4, 4, 32), image)
        assert torch.equal(found[:, 12:28, 12:28], resize(middle, (16, 16)))

    def test_a_batch(self):
        images, middles = (
            torch.stack([numbered(20, 20), numbered(20, 20) + 7]),
            -torch.ones(2, 3, 4, 4).double(),
        )
        found = place(middles, Window(2, 2, 8), images)
        for each in range(2):
            assert torch.equal(found[each], place(middles[each], Window(2, 2, 8), images[each]))

    def test_gradients_reach_all_that_is_seen(self):
        image = numbered(24, 24).requires_grad_()
        middle = numbered(4, 4).requires_grad_()
        place(middle, Window(-3, 2, 12), image).sum().backward()
        assert (image.grad == 0).sum() == 3 * 6 * 6
        assert (middle.grad > 0).all()
