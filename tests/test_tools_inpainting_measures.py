"""The comparison of docs/inpainting.md: its measures, against plain forms of them."""

import numpy as np
import pytest
from scipy import ndimage
from skimage.color import rgb2lab

from tools.docs.inpainting.measures import MEASURES, Judge


@pytest.fixture
def truth():
    random = np.random.default_rng(0)
    rough = ndimage.gaussian_filter(random.normal(0, 1, (120, 150, 3)), (2, 2, 0))
    return np.clip(128 + 300 * rough, 0, 255).astype(np.uint8)


@pytest.fixture
def hole():
    missing = np.zeros((120, 150), bool)
    missing[40:80, 60:110] = True
    return missing


def filled(truth, hole, other):
    return np.where(hole[..., None], np.clip(other, 0, 255), truth).astype(np.uint8)


def test_what_was_there_is_perfect(truth, hole):
    told = Judge(truth, hole).measure(truth)
    assert set(told) == set(MEASURES)
    assert told == pytest.approx(
        {"PSNR": np.inf, "SSIM": 1, "pd": 0, "seam": 0, "gradient": 1, "l1": 0}, abs=1e-12
    )


def test_only_the_hole_counts(truth, hole):
    """What a step of 10 in the whole hole is: 10 / 255 of the range, 20 log10(255 / 10) dB."""
    truth = truth // 2 + 50
    told = Judge(truth, hole).measure(filled(truth, hole, truth.astype(int) + 10))
    assert told["PSNR"] == pytest.approx(20 * np.log10(25.5))
    assert told["l1"] == pytest.approx(100 * 10 / 255)
    small = np.zeros_like(hole)
    small[50:60, 70:80] = True
    assert Judge(truth, small).measure(filled(truth, small, truth.astype(int) + 10))["PSNR"] == told["PSNR"]


def test_the_gradient_is_a_share(truth, hole):
    middle = truth.astype(float).mean((0, 1))
    judge = Judge(np.broadcast_to(truth, truth.shape), hole)
    half = judge.measure(filled(truth, hole, middle + (truth - middle) / 2))
    assert half["gradient"] == pytest.approx(0.5, abs=0.1)  # the steps at the border are in it
    assert judge.measure(filled(truth, hole, middle))["gradient"] < 0.15


def test_the_seam_is_the_step_at_the_border_over_those_around_it():
    """Pixel by pixel, on a ramp, whose own border is not to be seen."""
    ramp = np.repeat((2 * np.arange(60, dtype=np.uint8))[None, :, None], 50, 0).repeat(3, 2)
    hole = np.zeros((50, 60), bool)
    hole[20:30, 25:40] = True
    picture = filled(ramp, hole, ramp.astype(int) + 12)
    border, around = [], []
    near = {
        (y, x)
        for y in range(50)
        for x in range(60)
        if not hole[y, x]
        and any(abs(y - v) + abs(x - u) <= 4 for v, u in zip(*np.nonzero(hole), strict=True))
    }
    for y in range(50):
        for x in range(60):
            for v, u in ((y + 1, x), (y, x + 1)):
                if v < 50 and u < 60:
                    steps = [abs(float(one[y, x, 0]) - float(one[v, u, 0])) for one in (picture, ramp)]
                    if hole[y, x] != hole[v, u]:
                        border.append(steps)
                    elif (y, x) in near and (v, u) in near:
                        around.append(steps)
    with_fill, without = np.mean(border, 0) / np.mean(around, 0)
    told = Judge(ramp, hole).measure(picture)["seam"]
    assert told == pytest.approx(with_fill - without)
    assert told > 5


def perceptual_distance(truth, picture, hole):
    """As measures.py defines it, of the whole picture and scale by scale, without views of parts."""

    def channels(lab):
        light = lab[..., 0]
        across = ndimage.gaussian_filter1d(ndimage.gaussian_filter1d(light, 0.7, 1, order=1), 0.7, 0)
        down = ndimage.gaussian_filter1d(ndimage.gaussian_filter1d(light, 0.7, 0, order=1), 0.7, 1)
        return [*np.moveaxis(lab, 2, 0), across, down, (across + down) / 2**0.5, (across - down) / 2**0.5]

    def halved(planes):
        return np.stack([ndimage.zoom(ndimage.gaussian_filter(plane, 1), 0.5, order=1) for plane in planes])

    labs = [np.moveaxis(rgb2lab(one), 2, 0) for one in (truth, picture)]
    share, distances = hole.astype(float), []
    for scale in range(4):
        if scale and (share > 0.5).sum() < 16:
            break
        window = 5 / 1.5**scale
        for channel, pair in enumerate(zip(*(channels(np.moveaxis(lab, 0, 2)) for lab in labs), strict=True)):
            means = [ndimage.gaussian_filter(plane, window) for plane in pair]
            squares = [ndimage.gaussian_filter(plane**2, window) for plane in pair]
            s, t = (np.sqrt(np.maximum(q - m**2, 0)) for q, m in zip(squares, means, strict=True))
            distance = 1 - (2 * s * t + 1) / (s**2 + t**2 + 1)
            if channel < 3:
                distance = distance + np.minimum(abs(means[0] - means[1]) / 20, 1)
            distances.append(distance[share > 0.5].mean())
        labs, share = [halved(lab) for lab in labs], halved(share[None])[0]
    return np.mean(distances)


@pytest.mark.parametrize(
    ("rows", "columns"),
    [((40, 80), (60, 110)), ((0, 30), (120, 150)), ((5, 115), (3, 12)), ((60, 62), (70, 73))],
)
def test_the_perceptual_distance_by_its_definition(truth, rows, columns):
    hole = np.zeros(truth.shape[:2], bool)
    hole[slice(*rows), slice(*columns)] = True
    picture = filled(truth, hole, np.roll(truth, 37, 1))
    told = Judge(truth, hole).measure(picture)["pd"]
    assert told == pytest.approx(perceptual_distance(truth, picture, hole), rel=1e-9)


def test_the_same_texture_is_nearer_than_its_mean(truth, hole):
    """By PSNR it is the other way round."""
    judge = Judge(truth, hole)
    texture = judge.measure(filled(truth, hole, np.roll(truth, 37, 1)))
    plain = judge.measure(filled(truth, hole, truth.mean((0, 1))))
    assert texture["pd"] < 0.6 * plain["pd"]
    assert texture["PSNR"] < plain["PSNR"]


def test_a_few_pixels_are_looked_at_as_far_as_they_are_seen(truth):
    """At half the resolution a scratch is no longer missing: the finest scale alone has a say."""
    scratch = np.zeros(truth.shape[:2], bool)
    scratch[60, 30:90] = True
    told = Judge(truth, scratch).measure(filled(truth, scratch, np.roll(truth, 37, 1)))
    assert 0 < told["pd"] < 1
