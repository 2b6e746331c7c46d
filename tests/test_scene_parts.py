"""What scenes are drawn with: distances against areas and slopes, planes against homographies, noise."""

import math

import numpy as np
import pytest
import torch

from contextual_attention.models.data.scenes import patterns, shapes, surfaces
from contextual_attention.models.data.scenes.canvas import Canvas, Draws, gaussian, tint


def canvas(size=(200, 240), seed=0):
    return Canvas(size, torch.Generator().manual_seed(seed))


def draws(seed=0):
    return Draws(torch.Generator().manual_seed(seed))


def straight(along):
    return torch.zeros(()), torch.zeros(())


MIDDLE = (0.63, 0.48)
LENS_RADIUS = (0.4**2 + 0.1**2) / 0.2  # through both tips, 0.8 apart, and 0.1 beside their middle
LENS_ANGLE = 2 * math.asin(0.4 / LENS_RADIUS)
# Each with its area.
SHAPES = {
    "circle": (shapes.ellipse(MIDDLE, (0.3, 0.3)), math.pi * 0.3**2),
    "ellipse": (shapes.ellipse(MIDDLE, (0.4, 0.2), 0.7), math.pi * 0.4 * 0.2),
    "box": (shapes.box(MIDDLE, (0.3, 0.2), 0.4), 4 * 0.3 * 0.2),
    "rounded box": (shapes.box(MIDDLE, (0.3, 0.2), 0.4, 0.1), 4 * 0.3 * 0.2 - (4 - math.pi) * 0.1**2),
    "arch": (shapes.arch(MIDDLE, (0.2, 0.25)), 4 * 0.2 * 0.25 + math.pi * 0.2**2 / 2),
    "triangle": (shapes.polygon([(0.2, 0.2), (1.0, 0.3), (0.5, 0.9)]), 0.5 * (0.8 * 0.7 - 0.3 * 0.1)),
    "lens": (
        shapes.lens((0.23, 0.48), (1.03, 0.48), 0.25),
        LENS_RADIUS**2 * (LENS_ANGLE - math.sin(LENS_ANGLE)),
    ),
    "blob": (shapes.blob(MIDDLE, 0.3, draws(), roughness=0.0, stretch=1.3), math.pi * 0.3**2 * 1.3),
    # Half of the integral of (1 - d + d |cos|)^2 over the angle.
    "petals": (
        shapes.petals(MIDDLE, 0.4, 6, 0.3, 0.2),
        0.5 * 0.4**2 * (2 * math.pi * 0.7**2 + 8 * 0.7 * 0.3 + math.pi * 0.3**2),
    ),
    "stroke": (shapes.stroke(straight, (0.2, 0.3), 0.5, 0.7, (0.1, 0.04)), 0.7 * 0.07),
    "ring": (shapes.ring(MIDDLE, (0.3, 0.3), 0.06), 2 * math.pi * 0.3 * 0.06),
}


@pytest.mark.parametrize("name", SHAPES)
def test_shapes_cover_their_area(name):
    shape, area = SHAPES[name]
    plane = canvas()
    covered = plane.coverage(shape(plane.x, plane.y), 0).sum() * plane.pixel**2
    # Edges are blended over pixels of 1/200, evenly to both sides but at corners.
    assert covered.item() == pytest.approx(area, rel=0.01)


@pytest.mark.parametrize("name", SHAPES)
def test_distances_grow_by_what_one_walks(name):
    """Near the edge. Blobs and petals, which measure along the radius, are off where the edge is oblique."""
    shape, _ = SHAPES[name]
    plane = canvas()
    distance = shape(plane.x, plane.y)
    slope = torch.hypot(*torch.gradient(distance)) / plane.pixel
    near = slope[distance.abs() < 2 * plane.pixel]
    assert near.median().item() == pytest.approx(1, abs=0.25 if name in ("petals", "blob") else 0.01)
    assert near.max() < 2


def test_a_shape_elsewhere_is_its_shadow():
    plane = canvas()
    shape, there = SHAPES["box"][0], shapes.box((MIDDLE[0] + 0.1, MIDDLE[1] - 0.2), (0.3, 0.2), 0.4)
    torch.testing.assert_close(shape(plane.x - 0.1, plane.y + 0.2), there(plane.x, plane.y))


@pytest.mark.parametrize("curve", [shapes.waves(draws(1), 0.2, 4), shapes.sag(0.3, 1.5)])
def test_curves_know_their_slope(curve):
    along = torch.linspace(0, 1.5, 400, dtype=torch.float64)
    value, slope = curve(along)
    numeric = torch.gradient(value, spacing=(along,))[0]
    torch.testing.assert_close(slope[1:-1], numeric[1:-1], rtol=0, atol=0.01 * slope.abs().max().item())


def test_a_sagging_line_hangs_between_its_ends():
    value, _ = shapes.sag(0.3, 1.5)(torch.tensor([0.0, 0.75, 1.5]))
    torch.testing.assert_close(value, torch.tensor([0, 0.3, 0]))


def test_what_lies_on_one_side_of_a_curve():
    curve, along = shapes.waves(draws(2), 0.1), torch.linspace(0, 1, 50)
    value, _ = curve(along)
    side = shapes.side_of(curve, (0, 0.5), 0)
    torch.testing.assert_close(side(along, 0.5 + value), torch.zeros(50), rtol=0, atol=1e-6)
    assert (side(along, 0.55 + value) > 0).all()
    assert (side(along, 0.45 + value) < 0).all()


@pytest.mark.parametrize(
    "plane",
    [
        patterns.facing(canvas(), (0.2, 0.3), 0.6),
        patterns.ground(canvas(), 0.3, (0.2, 0.5), 0.4),
        patterns.ground(canvas(), 0.7, (0.2, 0.5), above=True),
    ],
    ids=["facing", "ground", "ceiling"],
)
def test_planes_are_homographies_of_the_picture(plane):
    """u = (a x + b y + c) / (g x + h y + 1) and v likewise: eight numbers hold for all pixels."""
    picture = canvas()
    x, y = (t.expand(200, 240).numpy().astype(np.float64) for t in (picture.x, picture.y))
    u, v = (t.numpy().astype(np.float64) for t in (plane.u, plane.v))
    seen = np.abs(np.stack([u, v])).max(0) < 20  # not where it ends, before the horizon
    assert seen.mean() > 0.25
    x, y, u, v = (t[seen] for t in (x, y, u, v))
    nothing, one = np.zeros_like(x), np.ones_like(x)
    # A projection has a scale of its own: on the ground the last number is 0, and the second stands for it.
    rows = np.concatenate([
        np.stack([x, y, one, nothing, nothing, nothing, -u * x, -u * y, -u], 1),
        np.stack([nothing, nothing, nothing, x, y, one, -v * x, -v * y, -v], 1),
    ])  # fmt: skip
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    *_, values, _ = np.linalg.svd(rows, full_matrices=False)
    assert values[-1] < 1e-4 * values[-2]


def test_planes_know_what_a_pixel_spans():
    plane = patterns.facing(canvas(), (0.2, 0.2), 0.5)
    inner = (slice(1, -1), slice(1, -1))
    for coordinate, span in ((plane.u, plane.across_u), (plane.v, plane.across_v)):
        down = (coordinate[2:, 1:-1] - coordinate[:-2, 1:-1]) / 2
        right = (coordinate[1:-1, 2:] - coordinate[1:-1, :-2]) / 2
        torch.testing.assert_close(span[inner], torch.hypot(down, right))
    scaled = plane.scaled(2, 3)
    torch.testing.assert_close(scaled.across_v, torch.hypot(*torch.gradient(scaled.v)), rtol=1e-3, atol=1e-5)


def test_pulses_are_averaged_over_a_span():
    random = np.random.default_rng(0)
    for _ in range(50):
        t, share, span = random.uniform(-5, 5), random.uniform(0, 1), random.uniform(0.01, 3)
        samples = t + span * (np.arange(20_000) + 0.5) / 20_000 - span / 2
        expected = np.mean(samples % 1 < share)
        found = patterns.pulses(torch.tensor(t), share, torch.tensor(span))
        assert found.item() == pytest.approx(expected, abs=1e-3)


def fine_plane(step=0.05, side=80):
    """Cells of 20 pixels, straight from the front."""
    t = (torch.arange(side) + 0.5) * step
    span = torch.full((side, side), step)
    return patterns.Plane(t.expand(side, side), t[:, None].expand(side, side), span, span)


def test_checks_take_turns():
    plane = fine_plane()
    found = patterns.checks(plane, torch.zeros(3, 1, 1), torch.ones(3, 1, 1))
    odd = (plane.u.floor() + plane.v.floor()) % 2
    assert found.shape == (3, 80, 80)
    torch.testing.assert_close(found[0], 1 - odd, rtol=0, atol=1e-4)


def test_patterns_fade_where_cells_are_small():
    far = fine_plane(step=7.3)
    table = torch.randn(32, 32, generator=torch.Generator().manual_seed(0))
    assert patterns.differing(far, table).abs().max() == 0
    share = patterns.cells(far, (0.5, 0.8))
    assert (share - 0.4).abs().max() < 0.08
    near = fine_plane()
    values = patterns.differing(near, table)
    assert len(values[:20, :20].unique()) == 1
    assert values[0, 0] != values[0, 20] != values[20, 20]


def test_rows_are_shifted_against_each_other():
    plane = fine_plane()
    shifted = patterns.bonded(plane, torch.tensor([0.0, 0.5]))
    rows = plane.v.floor() % 2
    torch.testing.assert_close(shifted.u - plane.u, rows * 0.5)


def test_a_part_of_a_plane_is_a_rectangle_of_it():
    plane = fine_plane()
    inside = plane.part(1, 3, 0.5, 2, 1.0) > 0
    expected = (plane.u > 1) & (plane.u < 3) & (plane.v > 0.5) & (plane.v < 2)
    assert torch.equal(inside, expected)
    # From the middle it is as many pixels to the nearest side as there are.
    assert plane.part(1, 3, 0.5, 2, 1.0).max().item() == pytest.approx(0.75 / 0.05, abs=1)


@pytest.mark.parametrize("fall", [0.8, 1.5])
def test_noise_has_the_spectrum_it_is_asked_for(fall):
    made = surfaces.noise(canvas((256, 256)), fall, longest=1.0)
    assert made.std().item() == pytest.approx(1, abs=1e-3)
    power = torch.fft.fft2(made).abs() ** 2
    cycles = torch.hypot(*torch.meshgrid(*(torch.fft.fftfreq(256, 1 / 256),) * 2, indexing="ij"))
    rings = [(low, 2 * low) for low in (4, 8, 16, 32, 64)]
    means = [power[(cycles >= low) & (cycles < high)].mean().log2() for low, high in rings]
    slope = (means[-1] - means[0]) / (len(rings) - 1)
    # The mean over a ring of so many numbers is sure to some percent; rings are an octave apart.
    assert slope.item() == pytest.approx(-2 * fall, abs=0.15)


def test_noise_is_longer_along_its_angle():
    made = surfaces.noise(canvas((128, 128)), 2.0, 0.2, stretch=6, angle=math.pi / 2)
    down, right = made.diff(dim=0).square().mean(), made.diff(dim=1).square().mean()
    assert right > 10 * down


def test_gradients_go_from_one_colour_to_the_other():
    plane, dark, light = canvas(), torch.zeros(3, 1, 1), torch.ones(3, 1, 1)
    ramp = surfaces.linear(plane, dark, light, 0.3)
    assert ramp.shape == (3, 200, 240)
    assert ramp[:, 0, 0].max() == 0
    assert ramp[:, -1, -1].min() == 1
    assert ramp.diff(dim=2).min() > 0
    spot = surfaces.radial(plane, dark, light, (0.5, 0.5), 0.25)
    outside = torch.hypot(plane.x - 0.5, plane.y - 0.5) > 0.25
    assert spot[:, outside].min() == 1
    assert spot[:, 99, 99].max() < 0.01


def test_a_blur_spreads_a_point_and_loses_nothing():
    point = torch.zeros(3, 41, 61)
    point[:, 20, 30] = 1
    spread = gaussian(point, 2.0)
    rows = torch.arange(41.0) - 20
    assert spread.sum().item() == pytest.approx(3, abs=1e-4)
    # Cut off at 2.5 deviations, where 1 % of the weight and a tenth of the variance lie beyond.
    assert (spread[0].sum(1) * rows**2).sum().item() == pytest.approx(4, rel=0.1)
    flat = torch.full((3, 4, 9), 0.5)  # smaller than the reach
    torch.testing.assert_close(gaussian(flat, 6.0), flat)


def test_tints_have_their_lightness_and_end_in_black_and_white():
    for hue in (0.0, 1.0, 2.5, 4.0):
        assert tint(hue, 0.2, 0.5).mean().item() == pytest.approx(0.5)
        assert tint(hue, 0.2, 0.5).amax() - tint(hue, 0.2, 0.5).amin() > 0.2
        assert tint(hue, 0.5, 0.0).abs().max() == 0
        assert tint(hue, 0.5, 1.0).min() == 1
    assert tint(0.0, 0.3, 0.5)[0] > tint(0.0, 0.3, 0.5)[1]  # hue 0 is red


def test_whole_numbers_include_both_ends():
    numbers = draws()
    assert {numbers.whole(1, 3) for _ in range(100)} == {1, 2, 3}
