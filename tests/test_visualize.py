"""The colours of the attention picture."""

import math

import pytest
import torch

from contextual_attention import offsets_to_image

WHITE = [255, 255, 255]


def draw(*displacements):
    """One patch per (row, column) displacement, in a line; its colours."""
    offsets = torch.tensor(displacements).T.reshape(1, 2, 1, len(displacements))
    return offsets_to_image(offsets)[0, :, 0].T.tolist()


def published_colour(u, v):
    """The colour of a displacement of length 1 as the Middlebury benchmark defines it, in plain Python."""
    wheel = []
    wheel += [(255, 255 * i // 15, 0) for i in range(15)]
    wheel += [(255 - 255 * i // 6, 255, 0) for i in range(6)]
    wheel += [(0, 255, 255 * i // 4) for i in range(4)]
    wheel += [(0, 255 - 255 * i // 11, 255) for i in range(11)]
    wheel += [(255 * i // 13, 0, 255) for i in range(13)]
    wheel += [(255, 0, 255 - 255 * i // 6) for i in range(6)]
    position = (math.atan2(-v, -u) / math.pi + 1) / 2 * (len(wheel) - 1)
    i = int(position)
    before, after = wheel[i], wheel[(i + 1) % len(wheel)]
    return [int(a + (position - i) * (b - a)) for a, b in zip(before, after, strict=True)]


def test_white_is_itself_pink_bottom_left_green_top_right():
    bottom_left, top_right, itself = draw((5, -5), (-5, 5), (0, 0))
    assert itself == WHITE
    red, green, blue = bottom_left
    assert green < 10 < 200 < min(red, blue), "pink is red and blue"
    red, green, blue = top_right
    assert max(red, blue) < 50 < 200 < green


def test_hues_are_the_published_wheel_with_u_the_row():
    directions = [(math.sin(a), math.cos(a)) for a in torch.linspace(-3.1, 3.1, 97).tolist()]
    whole = [(round(1e6 * u), round(1e6 * v)) for u, v in directions]
    for (u, v), colour in zip(whole, draw(*whole), strict=True):
        # One unit: the lengths differ by rounding to whole displacements.
        assert colour == pytest.approx(published_colour(float(u), float(v)), abs=1)


def test_saturation_is_the_length_over_the_largest():
    far, near = draw((-8, 8), (-2, 2))
    faded = [255 - (255 - channel) / 4 for channel in far]
    assert near == pytest.approx(faded, abs=1)


def test_samples_are_scaled_each_by_its_own_largest():
    offsets = torch.zeros(2, 2, 1, 2, dtype=torch.int64)
    offsets[0, :, 0, 0] = torch.tensor([1, -1])
    offsets[1, :, 0, 0] = torch.tensor([100, -100])
    images = offsets_to_image(offsets)
    assert torch.equal(images[0], images[1])


def test_no_displacement_is_all_white():
    assert (offsets_to_image(torch.zeros(2, 2, 3, 4, dtype=torch.int64)) == 255).all()


def test_enlarged_by_nearest_neighbour():
    offsets = torch.randint(-9, 10, (2, 2, 3, 4), generator=torch.Generator().manual_seed(0))
    small = offsets_to_image(offsets)
    large = offsets_to_image(offsets, (12, 16))
    assert torch.equal(large, small.repeat_interleave(4, 2).repeat_interleave(4, 3))
    # ceil(5 / 2) x ceil(7 / 2) patches of a 5 x 7 map: the last row and column are of half a patch.
    assert torch.equal(offsets_to_image(offsets, (5, 7)), large[:, :, ::4, ::4].repeat_interleave(2, 2)
                       .repeat_interleave(2, 3)[:, :, :5, :7])  # fmt: skip


def test_shape_dtype_and_layout():
    image = offsets_to_image(torch.ones(3, 2, 4, 5, dtype=torch.int32), (8, 9))
    assert image.shape == (3, 3, 8, 9)
    assert image.dtype == torch.uint8
    assert image.is_contiguous()
    assert offsets_to_image(torch.empty(0, 2, 4, 5, dtype=torch.int64)).shape == (0, 3, 4, 5)


@pytest.mark.parametrize(
    ("offsets", "size", "error", "named"),
    [
        ([[0, 0]], None, TypeError, "offsets.*list"),
        (torch.zeros(1, 2, 3, 3), None, TypeError, "offsets.*float32"),
        (torch.zeros(1, 2, 3, 3, dtype=torch.bool), None, TypeError, "offsets.*bool"),
        (torch.zeros(2, 3, 3, dtype=torch.int64), None, ValueError, r"offsets.*\(2, 3, 3\)"),
        (torch.zeros(1, 3, 3, 3, dtype=torch.int64), None, ValueError, "offsets"),
        (torch.zeros(1, 2, 0, 3, dtype=torch.int64), None, ValueError, "offsets"),
        (torch.zeros(1, 2, 3, 3, dtype=torch.int64), (0, 4), ValueError, r"size.*\(0, 4\)"),
        (torch.zeros(1, 2, 3, 3, dtype=torch.int64), (4, 4.0), ValueError, "size"),
        (torch.zeros(1, 2, 3, 3, dtype=torch.int64), (4, 4, 4), ValueError, "size"),
        (torch.zeros(1, 2, 3, 3, dtype=torch.int64), 4, ValueError, "size.*got 4"),
    ],
)
def test_bad_arguments_are_named(offsets, size, error, named):
    with pytest.raises(error, match=named):
        offsets_to_image(offsets, size)
