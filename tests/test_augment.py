"""Crops that are turned and coloured: where each pixel comes from and which colour it gets."""

import math

import numpy as np
import pytest
import torch

from contextual_attention.models.data.augment import _mixing as mixing
from contextual_attention.models.data.augment import recolour, turned_crop, turned_extents
from contextual_attention.models.data.draws import uniform
from contextual_attention.models.data.mask_kinds import mask_drawer
from contextual_attention.models.data.masks import random_boxes
from contextual_attention.models.data.samples import Place, Samples, random_crop, sample_generator
from contextual_attention.models.data.sources import ProceduralPictures
from contextual_attention.models.training.presets import PRESETS


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def levels(crop):
    """In the scale of pixels, 0 to 255."""
    return (crop + 1) * 127.5


def ramps(height, width, slope):
    """A picture whose channels are slope times row, slope times column, and half of their sum."""
    rows, columns = torch.arange(height)[:, None], torch.arange(width)
    planes = [rows.expand(height, width), columns.expand(height, width), (rows + columns) // 2]
    return (slope * torch.stack(planes)).to(torch.uint8)


class TestTurnedCrop:
    @pytest.mark.parametrize("angle", [0.0, 0.3, -1.2, 2.5])
    # As it is it is read to 1e-3 of a level. Reduced first, it is rounded to levels, downwards and across:
    # half a level each, where a pixel of the crop is 12 levels.
    @pytest.mark.parametrize(("scale", "tolerance"), [(0.5, 1e-3), (1.3, 1e-3), (3.0, 1.0), (2.2, 1.0)])
    def test_a_ramp_stays_the_ramp(self, angle, scale, tolerance):
        picture, size, centre = ramps(60, 63, 4), (12, 8), (30.3, 31.6)
        found = levels(turned_crop(picture, size, scale, angle, centre)).double()
        assert found.shape == (3, *size)
        down = torch.arange(size[0], dtype=torch.float64)[:, None] + 0.5 - size[0] / 2
        across = torch.arange(size[1], dtype=torch.float64) + 0.5 - size[1] / 2
        rows = centre[0] + scale * (math.cos(angle) * down + math.sin(angle) * across)
        columns = centre[1] + scale * (math.cos(angle) * across - math.sin(angle) * down)
        # The value of a pixel is that of its centre.
        assert torch.allclose(found[0], 4 * (rows - 0.5), rtol=0, atol=tolerance)
        assert torch.allclose(found[1], 4 * (columns - 0.5), rtol=0, atol=tolerance)

    def test_it_is_antialiased_and_as_sharp_as_a_crop_that_is_not_turned(self):
        picture = torch.randint(256, (3, 400, 400), dtype=torch.uint8, generator=seeded(0))
        upright = random_crop(picture, (133, 133), 1.0, False, seeded(0))
        turned = torch.stack(
            [turned_crop(picture, (64, 64), 400 / 133, a / 10, (200, 200)) for a in range(8)]
        )
        # Noise is strongest at the finest scale: read without reducing it would keep its deviation, 0.58.
        assert 0.9 < turned.std() / upright.std() < 1.15
        assert 0.9 < turned.diff(dim=3).std() / upright.diff(dim=2).std() < 1.15

    def test_beyond_the_picture_is_its_border(self):
        picture = torch.full((3, 5, 5), 200, dtype=torch.uint8)
        crop = turned_crop(picture, (20, 20), 4.0, 0.5, (0.0, 9.0))
        assert torch.allclose(levels(crop), torch.tensor(200.0), atol=1e-3)

    def test_extents(self):
        assert turned_extents((3, 5), 0.0) == (3, 5)
        assert turned_extents((3, 5), -math.pi / 2) == pytest.approx((5, 3))
        assert turned_extents((2, 2), math.pi / 4) == pytest.approx((math.sqrt(8), math.sqrt(8)))


def place_of(crop):
    """Scale, angle and middle (row, column) of a crop of `ramps` of slope 1, from its middle pixels."""
    values = levels(crop)[:2].double()
    half = [length // 2 for length in values.shape[1:]]
    window = values[:, half[0] - 1 : half[0] + 1, half[1] - 1 : half[1] + 1]
    across = (window[:, :, 1] - window[:, :, 0]).mean(1)
    sine, cosine = across.tolist()
    middle = (window.mean((1, 2)) + 0.5).tolist()
    return math.hypot(sine, cosine), math.atan2(sine, cosine), middle


class TestRandomTurn:
    @pytest.mark.parametrize(("height", "width"), [(40, 80), (90, 50), (30, 30)])
    def test_it_lies_within_the_picture(self, height, width):
        # Crops of pixels that are hardly larger than the picture's: it is read as it is, to 1e-3 of a level.
        picture, size = ramps(height, width, 1), (40, 36)
        angles, reached = [], []
        for place in range(200):
            crop = random_crop(picture, size, 0.5, False, sample_generator(0, 0, place), rotate=30.0)
            scale, angle, middle = place_of(crop)
            angles.append(math.degrees(angle))
            extents = turned_extents(size, angle)
            largest = min(height / extents[0], width / extents[1])
            assert 0.5 - 1e-2 < scale / largest < 1 + 1e-2
            for at, extent, length in zip(middle, extents, (height, width), strict=True):
                assert scale * extent / 2 - 0.1 < at < length - scale * extent / 2 + 0.1
            reached.append((middle[1] - scale * extents[1] / 2) / (width - scale * extents[1]))
        # Uniform: 200 draws come within a twentieth of both ends but for one time in 1,000 or so.
        assert -30 - 1e-2 < min(angles) < -27
        assert 27 < max(angles) < 30 + 1e-2
        assert min(reached) < 0.05
        assert max(reached) > 0.95

    def test_a_crop_that_is_not_turned_draws_four_numbers(self):
        picture, generator, expected = ramps(40, 50, 1), seeded(3), seeded(3)
        random_crop(picture, (16, 16), 0.5, True, generator)
        torch.rand(4, generator=expected, dtype=torch.float64)
        assert torch.equal(generator.get_state(), expected.get_state())

    def test_turned_crops_are_mirrored_too(self):
        picture = ramps(40, 40, 1)
        for place in range(8):
            plain, other = (
                random_crop(picture, (16, 16), 0.5, flip, sample_generator(0, 0, place), rotate=20.0)
                for flip in (False, True)
            )
            assert torch.equal(other, plain) or torch.equal(other, plain.flip(2))

    @pytest.mark.parametrize("rotate", [0.0, 15.0])
    def test_pictures_are_enlarged_no_more_than_they_must(self, rotate):
        def scales(side, **options):
            picture = ramps(side, side, 1)
            crops = (
                random_crop(picture, (32, 32), 0.1, False, sample_generator(0, 0, n), rotate, **options)
                for n in range(100)
            )
            return [place_of(crop)[0] for crop in crops]

        assert min(scales(80)) < 0.5
        # Upright crops are of whole pixels: half of one in 32.
        bounded = scales(80, most_enlarged=1.25)
        assert 0.8 - 0.02 < min(bounded) < 0.9
        assert max(bounded) > 1.8
        small = scales(20, most_enlarged=1.25)
        largest = 20 / 32 / (math.cos(math.radians(rotate)) + math.sin(math.radians(rotate)))
        assert min(small) > largest - 1e-3


def recoloured(crop, strength, seed):
    """What `recolour` says, one thing after the other, in float64; whether channels changed places."""
    generator = seeded(seed)
    exposure = strength * uniform(-1.5, 0.7, generator)
    balance = strength * (torch.rand(3, generator=generator) - 0.5).double().numpy()
    gamma, contrast = (2 ** (strength * uniform(-0.5, 0.5, generator)) for _ in range(2))
    saturation = 1 + strength * uniform(-1.0, 1.0, generator)
    hue = math.radians(45 * strength**2) * uniform(-1.0, 1.0, generator)
    order, rank = uniform(0.0, 6.0, generator), uniform(0.0, 1.0, generator)
    light = ((np.moveaxis(crop.double().numpy(), 0, -1) + 1) / 2) ** 2.2
    colours = (light * 2 ** (exposure + balance)).clip(0, 1) ** (gamma / 2.2)
    middle = colours.mean()
    axis = np.full(3, 1 / math.sqrt(3))
    along = (colours @ axis)[..., None] * axis
    turned = along + math.cos(hue) * (colours - along) + math.sin(hue) * np.cross(axis, colours)
    lightness = (colours @ [0.299, 0.587, 0.114])[..., None]
    colours = middle + contrast * (lightness + saturation * (turned - lightness) - middle)
    is_mixed = rank < strength - 0.5
    if is_mixed:
        orders = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]]
        colours = colours[..., orders[int(order)]]
    return np.moveaxis(colours.clip(0, 1) * 2 - 1, -1, 0), is_mixed


class TestRecolour:
    crop = 2 * torch.rand(3, 9, 11, generator=torch.Generator().manual_seed(0)) - 1

    def test_without_strength_nothing_is_done_or_drawn(self):
        generator = seeded(0)
        assert torch.equal(recolour(self.crop, 0.0, generator), self.crop)
        assert torch.equal(generator.get_state(), seeded(0).get_state())

    @pytest.mark.parametrize(("strength", "mixes"), [(0.2, {False}), (0.5, {False}), (1.0, {False, True})])
    def test_each_change_after_the_other(self, strength, mixes):
        seen = set()
        for seed in range(20):
            found = recolour(self.crop, strength, seeded(seed))
            expected, is_mixed = recoloured(self.crop, strength, seed)
            seen.add(is_mixed)
            assert found.dtype == torch.float32
            # Powers of float32 near black: 2.2 of 1e-6 of them, and a sum of three.
            assert np.allclose(found.numpy(), expected, rtol=0, atol=1e-5)
        assert seen == mixes

    def test_colours_stay_in_range_and_the_crop_as_it_was(self):
        before = self.crop.clone()
        for seed in range(50):
            assert recolour(self.crop, 1.0, seeded(seed)).abs().max() <= 1
        assert torch.equal(self.crop, before)

    def test_a_little_changes_little(self):
        changes = [
            torch.stack(
                [(recolour(self.crop, s, seeded(n)) - self.crop).abs().mean() for n in range(50)]
            ).mean()
            for s in (0.01, 0.1, 1.0)
        ]
        assert 0 < changes[0] < 0.02 < changes[1] < 0.15 < changes[2]

    def test_hue_and_saturation(self):
        colours = torch.tensor([[0.1, 0.5, 0.9], [0.3, 0.3, 0.3]]).T
        assert torch.allclose(mixing(1.0, 0.0), torch.eye(3), atol=1e-6)
        # A third of a turn brings red to green, green to blue and blue to red.
        assert torch.allclose(mixing(1.0, 2 * math.pi / 3) @ colours, colours[[2, 0, 1]], atol=1e-6)
        assert (mixing(0.0, 0.5) @ colours).std(0).max() < 1e-6
        assert torch.allclose(mixing(1.7, 0.5) @ colours[:, 1], colours[:, 1], atol=1e-6)


class TestSamples:
    def draw(self, place=(1, 2), **options):
        def draw_box(batch, size, generator):
            return random_boxes(batch, size, 6, generator)

        return Samples(ProceduralPictures(5, 24), draw_box, (16, 16), seed=7, **options)[Place(*place)]

    @pytest.mark.parametrize("option", [{"rotate": 20.0}, {"colour": 0.5}, {"most_enlarged": 0.75}])
    def test_each_setting_reaches_the_crops(self, option):
        plain = self.draw(least_crop=0.3)
        changed, again = (self.draw(least_crop=0.3, **option) for _ in range(2))
        assert torch.equal(changed.image, again.image)
        assert torch.equal(changed.mask, again.mask)
        assert not torch.equal(changed.image, plain.image)
        assert changed.image.shape == plain.image.shape
        assert changed.image.abs().max() <= 1


class Slopes:
    """One picture of whole numbers, the same on every machine."""

    def __len__(self):
        return 2

    def read(self, index):
        y, x, c = torch.arange(301)[:, None], torch.arange(260), torch.arange(3)[:, None, None]
        return ((y * 7 + x * 3 + c * 50 + y * x // 16) % 256).to(torch.uint8)


@pytest.mark.parametrize(
    ("preset", "blend", "box", "pixel", "missing"),
    [
        ("small", 0.11284852027893066, [17, 11, 32, 32], [0.38268, 0.37072, -0.27666], 784),
        ("deepfill-v2-small", 0.03930586576461792, [0, 0, 64, 64], [0.38268, 0.37072, -0.27666], 1086),
        ("iizuka", 0.11284852027893066, [101, 71, 128, 128], [0.76746, -0.84822, -0.45607], 11628),
        ("context-encoder", 0.23274612426757812, [32, 32, 64, 64], [-0.39624, -0.00409, 0.38807], 3136),
    ],
)
def test_samples_of_presets_stay_what_they_were(preset, blend, box, pixel, missing):
    """Numbers of the version before crops could be turned: runs that began with it go on with the same."""
    config = PRESETS[preset]
    data, size = config.data, (config.data.size,) * 2
    changes = {"rotate": data.rotate, "most_enlarged": data.most_enlarged, "colour": data.colour}
    samples = Samples(
        Slopes(), mask_drawer(config.masks), size, config.seed, data.least_crop, data.flip, **changes
    )
    sample = samples[Place(1, 1)]
    # The last number of a sample: one more draw before it would change it.
    assert float(sample.blend) == blend
    assert sample.box.tolist() == box
    assert sample.image[:, 5, 9].tolist() == pytest.approx(pixel, abs=1e-5)
    assert int(sample.mask.sum()) == missing
