"""Holes of kind "varied": how large, where, and of which shapes they are."""

import math

import pytest
import torch
from scipy.ndimage import label

from contextual_attention.models.data.masks import bounding_boxes
from contextual_attention.models.data.outlines import draw_object, within
from contextual_attention.models.data.varied import _box as draw_box
from contextual_attention.models.data.varied import _object as draw_object_hole
from contextual_attention.models.data.varied import _strokes as draw_strokes
from contextual_attention.models.data.varied import varied

SIZE, SIDES = (96, 128), (16, 64)


def seeded(seed):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def holes():
    return varied(1200, SIZE, seeded(0), box=64, shrink=48)


def touches(missing):
    """Whether a hole (H, W) reaches the border."""
    return bool(missing[0].any() | missing[-1].any() | missing[:, 0].any() | missing[:, -1].any())


def extents(missing):
    return tuple(int(span[-1] - span[0]) + 1 for d in (1, 0) for span in [missing.any(d).nonzero().flatten()])


def is_rectangle(missing):
    height, width = extents(missing)
    return int(missing.sum()) == height * width


def few(share, count):
    """How far a share of so many draws may be off by chance: 4 deviations."""
    return 4 * math.sqrt(share * (1 - share) / count)


class TestVaried:
    def test_what_it_returns(self, holes):
        assert holes.mask.shape == (1200, 1, *SIZE)
        assert holes.mask.dtype == torch.bool
        assert torch.equal(holes.boxes, bounding_boxes(holes.mask))
        for missing, (top, left, height, width) in zip(holes.mask[:, 0], holes.boxes.tolist(), strict=True):
            assert missing[top : top + height, left : left + width].sum() == missing.sum()

    def test_how_much_is_missing(self, holes):
        shares = holes.mask.float().mean((1, 2, 3))
        assert 0 < shares.min() < 0.01
        assert 0.25 < shares.max() <= 0.5
        assert 0.09 < shares.mean() < 0.15

    def test_every_place_may_be_missing(self, holes):
        often = holes.mask.float().mean((0, 1))
        # Of 1200 holes each corner is in some, and the middle in more than twice as many as the border.
        assert often.min() > 0
        border = torch.cat([often[0], often[-1], often[:, 0], often[:, -1]]).mean()
        assert 0.02 < border < often[32:64, 48:80].mean()

    def test_a_fifth_are_lone_boxes(self, holes):
        """A quarter of the four fifths that are one hole alone."""
        lone = sum(map(is_rectangle, holes.mask[:, 0])) / 1200
        # Two boxes that look like one, and strokes of no length, are rare.
        assert abs(lone - 0.2) < few(0.2, 1200) + 0.01

    def test_a_seed_is_a_hole(self):
        first, again, other = (varied(4, (64, 64), seeded(seed), 32, 20).mask for seed in (5, 5, 6))
        assert torch.equal(first, again)
        assert not torch.equal(first, other)
        assert len({tuple(mask.flatten().tolist()) for mask in first}) == 4

    def test_boxes_that_would_leave_less_than_half_are_drawn_again(self):
        mask = varied(100, (32, 32), seeded(0), box=31).mask
        assert mask.float().mean((1, 2, 3)).max() <= 0.5

    @pytest.mark.parametrize(
        ("size", "options", "says"),
        [
            ((32, 48), {"box": 33}, "box: expected a height of 1 to 32, the image's, got 33"),
            ((32, 48), {"box": 16, "shrink": 16}, "shrink: expected 0 to 15, less than the box, got 16"),
            (
                (1, 1),
                {"box": 1},
                "box: 100 holes with sides of 1 to 1 in 1 x 1 pixels covered nothing or more",
            ),
        ],
    )
    def test_what_is_refused(self, size, options, says):
        with pytest.raises(ValueError, match=says):
            varied(1, size, seeded(0), **options)


class TestKinds:
    def draws(self, draw, count=300):
        generator = seeded(1)
        return [draw(SIZE, SIDES, generator) for _ in range(count)]

    @pytest.mark.parametrize("draw", [draw_box, draw_object_hole])
    def test_a_fifth_stick_out(self, draw):
        share = sum(map(touches, self.draws(draw))) / 300
        # Some others begin or end at the border, though sides leave 32 pixels and more for their places.
        assert -few(0.2, 300) < share - 0.2 < few(0.2, 300) + 0.06

    def test_they_stick_out_of_every_side(self):
        boxes = torch.stack(self.draws(draw_box, 900))
        for edge in (boxes[:, 0], boxes[:, -1], boxes[:, :, 0], boxes[:, :, -1]):
            share = float(edge.any(1).float().mean())
            assert -few(0.05, 900) < share - 0.05 < few(0.05, 900) + 0.03

    def test_boxes_have_any_sides(self):
        sides = [extents(missing) for missing in self.draws(draw_box) if not touches(missing)]
        for lengths in zip(*sides, strict=True):
            assert SIDES[0] <= min(lengths) < SIDES[0] + 3
            assert SIDES[1] - 3 < max(lengths) <= SIDES[1]
        assert max(height / width for height, width in sides) > 2
        assert min(height / width for height, width in sides) < 1 / 2
        assert all(map(is_rectangle, self.draws(draw_box, 20)))

    def test_objects_have_the_extent_of_a_side(self):
        found = [missing for missing in self.draws(draw_object_hole) if not touches(missing)]
        larger = [max(extents(missing)) for missing in found]
        # Tips between the centres of pixels are lost, at both ends.
        assert SIDES[0] - 4 <= min(larger) < SIDES[0] + 3
        assert SIDES[1] - 4 < max(larger) <= SIDES[1] + 1
        aspects = sorted(max(sides) / min(sides) for sides in map(extents, found))
        assert aspects[len(found) // 2] < 1.7
        assert aspects[-1] > 2.5
        assert not any(map(is_rectangle, found))

    def test_strokes_are_as_wide_as_the_sides_say(self):
        thin, thick = (
            torch.stack([draw_strokes(SIZE, sides, seeded(seed)) for seed in range(100)]).float().mean()
            for sides in ((8, 16), (40, 80))
        )
        assert 0.01 < thin < 0.05
        assert 0.05 < thick < 0.2


class TestOutlines:
    def test_an_object_hangs_together(self):
        numbers = set()
        for seed in range(100):
            outlines = draw_object(seeded(seed))
            numbers.add(len(outlines))
            points = torch.cat(outlines)
            scale = 500 / (points.amax(0) - points.amin(0)).max()
            filled = [within((outline - points.amin(0)) * scale, (501, 501)) for outline in outlines]
            assert all(part.any() for part in filled)
            assert label(torch.stack(filled).any(0).numpy(), torch.ones(3, 3))[1] == 1
        assert numbers == {1, 2, 3}

    def test_an_ellipse_is_filled(self):
        """The same as its equation at every pixel; how far 2,000 corners are from it is 1e-5 of its size."""
        turns = 2 * math.pi * torch.arange(2000, dtype=torch.float64) / 2000
        outline = torch.stack([20.2 + 15.3 * turns.sin(), 30.7 + 40.1 * turns.cos()], 1).float()
        y, x = torch.arange(40)[:, None] + 0.5, torch.arange(60) + 0.5
        expected = ((y - 20.2) / 15.3) ** 2 + ((x - 30.7) / 40.1) ** 2 < 1
        assert torch.equal(within(outline, (40, 60)), expected)
        assert torch.equal(within(outline.flip(0), (40, 60)), expected)

    def test_triangles_are_filled(self):
        """Within are the pixels on one side of all three edges."""
        generator = seeded(2)
        y, x = torch.arange(20)[:, None] + 0.5, torch.arange(30) + 0.5
        for _ in range(50):
            corners = 50 * torch.rand(3, 2, generator=generator) - 10
            sides = torch.stack(
                [
                    (b[1] - a[1]) * (y - a[0]) - (b[0] - a[0]) * (x - a[1])
                    for a, b in zip(corners, corners.roll(-1, 0), strict=True)
                ]
            )
            expected = (sides > 0).all(0) | (sides < 0).all(0)
            assert torch.equal(within(corners, (20, 30)), expected)

    def test_a_line_around_twice_is_no_gap(self):
        star = torch.tensor(
            [[math.cos(4 * math.pi * n / 5), math.sin(4 * math.pi * n / 5)] for n in range(5)]
        )
        assert within(10 * star + 10, (20, 20))[10, 10]
