"""Edges continued across holes: where they must go, and where none may be drawn."""

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from PIL import Image

from contextual_attention.models.data.bundled import bundled_photographs
from contextual_attention.models.filling.edge_ends import find_ends
from contextual_attention.models.filling.edges import continue_edges
from contextual_attention.models.filling.hole_parts import wide_parts

SIDE = 128
MIDDLE = (SIDE - 1) / 2


def colour(*channels):
    return torch.tensor(channels)[:, None, None]


# Not of one brightness order: a guide that mixed channels up would show.
DARK, BRIGHT, OTHER = colour(-0.6, -0.2, 0.3), colour(0.7, 0.5, -0.4), colour(0.1, 0.8, 0.8)


def positions(height=SIDE, width=SIDE):
    rows, columns = torch.meshgrid(
        torch.arange(height, dtype=torch.float32), torch.arange(width, dtype=torch.float32), indexing="ij"
    )
    return rows, columns


def beside_line(angle, row=MIDDLE, column=MIDDLE, size=(SIDE, SIDE)):
    """(H, W): signed distance from a line through a point; ``angle`` is in degrees from the columns' axis."""
    rows, columns = positions(*size)
    turn = np.deg2rad(angle)
    return float(np.cos(turn)) * (rows - row) - float(np.sin(turn)) * (columns - column)


def share(distance):
    """Of signed distances: the share of a pixel on the positive side, a bit blurred as by a camera."""
    return torch.sigmoid(4 * distance)


def two_sides(distance, first=DARK, second=BRIGHT):
    return torch.lerp(first, second, share(distance))[None]


def square(top, left, height, width, size=(SIDE, SIDE)):
    hole = torch.zeros(1, 1, *size, dtype=torch.bool)
    hole[..., top : top + height, left : left + width] = True
    return hole


HOLE = square(44, 44, 40, 40)


def guide_of(truth, hole=HOLE):
    """The guide of what is known alone."""
    return continue_edges(truth.masked_fill(hole, float("nan")), hole)


def check_follows(guide, truth, hole, distance, within=1.0):
    """The guide's colours change sides where the truth does, and are drawn all along."""
    assert guide is not None
    assert guide.colours.shape == truth.shape
    assert guide.weight.shape == hole.shape
    assert not guide.weight[~hole].any()
    assert not guide.colours[(guide.weight == 0).expand_as(truth)].any()
    assert bool((guide.weight[hole & (distance.abs() < 2)] > 0.7).all())
    assert float(guide.weight.max()) <= 1
    # Away from the line, where blur is over, colours are those of their side.
    clear = (guide.weight > 0) & (distance.abs() > within + 0.5)
    assert float((guide.colours - truth).abs()[clear.expand_as(truth)].max()) < 0.1


@pytest.mark.parametrize("angle", [0, 13, 30, 45, 60, 77, 90, 120, 155])
def test_a_straight_edge_goes_on(angle):
    distance = beside_line(angle, MIDDLE + 3.3, MIDDLE - 2.1)
    truth = two_sides(distance)
    check_follows(guide_of(truth), truth, HOLE, distance)


@pytest.mark.parametrize("angle", [0, 20, 45, 80])
def test_an_edge_has_two_ends(angle):
    """Each once: where it enters the hole, which way, and as far as the picture reaches."""
    truth = two_sides(beside_line(angle))
    ends = find_ends(truth, HOLE, HOLE)
    assert len(ends.length) == 2
    turn = np.deg2rad(angle)
    way = np.array([np.sin(turn), np.cos(turn)])
    reach = 20 / np.abs(way).max()  # of the hole, from its middle
    first = ends.direction @ way > 0
    assert first.sum() == 1
    sign = np.where(first, 1, -1)[:, None]
    assert np.abs(ends.direction - sign * way).max() < 0.03
    # Entered between two pixels, and the first that is in the hole may be a diagonal further on.
    assert np.abs(ends.position - (MIDDLE - sign * reach * way)).max() < 1.5
    assert np.abs(ends.curvature).max() < 0.002
    assert ends.length.min() >= 38  # the picture ends 44 pixels away, at least; places are sought up to there


def test_known_pixels_and_what_is_far_from_the_edge_are_left():
    distance = beside_line(20)
    weight = guide_of(two_sides(distance)).weight
    assert not weight[HOLE & (distance.abs() > 7)].any()
    assert float(weight[HOLE & (distance.abs() > 5)].max()) < float(weight[HOLE & (distance.abs() < 2)].min())


@pytest.mark.parametrize("radius", [50.0, 90.0])
def test_the_rim_of_a_disc_is_round(radius):
    rows, columns = positions()
    distance = torch.hypot(rows - MIDDLE - radius, columns - MIDDLE) - radius
    truth, hole = two_sides(distance), square(48, 48, 32, 32)
    check_follows(guide_of(truth, hole), truth, hole, distance)


def cable(distance, sky):
    """A dark line, 2 pixels thick, over a picture (1, C, H, W)."""
    return torch.lerp(sky, -torch.ones(3, 1, 1), share(1 - distance.abs()))


def test_a_sagging_cable_before_a_sky():
    rows, columns = positions()
    sky = (torch.stack([0.2 + rows / 200, 0.3 + rows / 220, 0.8 + 0 * rows]) + columns / 900)[None]
    distance = rows - 60 - (columns - MIDDLE) ** 2 / 700
    truth = cable(distance, sky)
    guide = guide_of(truth)
    check_follows(guide, truth, HOLE, distance.abs() - 1)
    on_it = HOLE & (distance.abs() < 0.4)
    assert float(guide.colours[on_it.expand_as(truth)].mean()) < -0.7


def test_several_cables_go_each_to_its_own():
    rows, columns = positions()
    truth, distances = torch.full((1, 3, SIDE, SIDE), 0.6), []
    for row, slope in ((52, 0.05), (63, 0.1), (76, 0.14)):
        distances.append(beside_line(float(np.rad2deg(np.arctan(slope))), row))
        truth = cable(distances[-1], truth)
    distance = torch.stack(distances).abs().min(0).values - 1
    check_follows(guide_of(truth), truth, HOLE, distance)


def test_a_hole_at_the_border_of_a_picture():
    distance = beside_line(8)
    truth, hole = two_sides(distance), square(44, 0, 40, SIDE)
    hole[..., 30:100] = False
    assert guide_of(truth, hole) is None  # each part is open to one side only
    hole = square(0, 50, 24, 30)
    distance = beside_line(5, 12)
    truth = two_sides(distance)
    check_follows(guide_of(truth, hole), truth, hole, distance)


@pytest.mark.parametrize("channels", [1, 2, 4])
def test_channels_of_any_number(channels):
    """Grey, with opacity, and colours with opacity: the guide of each channel is that of three like it."""
    distance = beside_line(25)
    truth = two_sides(distance, DARK[:1], BRIGHT[:1]).repeat(1, channels, 1, 1)
    check_follows(guide_of(truth), truth, HOLE, distance)


def test_an_edge_of_opacity_alone():
    truth = torch.full((1, 4, SIDE, SIDE), 0.25)
    distance = beside_line(70)
    truth[:, 3:] = two_sides(distance, DARK[:1], BRIGHT[:1])
    check_follows(guide_of(truth), truth, HOLE, distance)


def test_a_large_hole_is_seen_smaller():
    size = (1000, 1000)
    distance = beside_line(17, 480, 500, size)
    truth, hole = two_sides(distance), square(200, 200, 620, 620, size)
    guide = guide_of(truth, hole)
    # Two scales coarser, a pixel is four of these, and an edge is blurred by one more.
    check_follows(guide, truth, hole, distance, within=8)
    assert bool((guide.weight[hole & (distance.abs() < 8)] > 0.7).all())  # and bands are wider


TURNS = {
    "transposed": lambda x: x.transpose(2, 3),
    "upside down": lambda x: x.flip(2),
    "mirrored": lambda x: x.flip(3),
    "turned": lambda x: x.rot90(1, (2, 3)),
}


@pytest.mark.parametrize("turn", TURNS.values(), ids=TURNS)
def test_a_turned_picture_has_the_turned_guide(turn):
    truth = cable(beside_line(-20, 58), two_sides(beside_line(35, 64)))
    hole = square(40, 46, 44, 38)
    guide, turned = guide_of(truth, hole), guide_of(turn(truth).contiguous(), turn(hole).contiguous())
    # The same sums in another order, and of two ends that are the same edge another one may be kept.
    assert float((turn(guide.weight) - turned.weight).abs().max()) < 0.1
    assert float(((turn(guide.colours) - turned.colours) * turned.weight).abs().max()) < 0.1


def test_nothing_is_random():
    truth = two_sides(beside_line(33))
    first, second = guide_of(truth), guide_of(truth)
    assert torch.equal(first.colours, second.colours)
    assert torch.equal(first.weight, second.weight)


def noise(seed):
    return torch.from_numpy(np.random.default_rng(seed).normal(0, 0.4, (1, 3, SIDE, SIDE)).astype(np.float32))


def blurred(image, rounds):
    for _ in range(rounds):
        image = torch.nn.functional.avg_pool2d(image, 3, 1, 1, count_include_pad=False)
    return image / image.std() * 0.4


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("rounds", [0, 1, 2, 4])
def test_no_lines_in_noise_and_grain(rounds, seed):
    assert guide_of(blurred(noise(seed), rounds).clamp(-1, 1)) is None


@pytest.mark.parametrize("seed", range(4))
def test_no_lines_in_blades_of_grass(seed):
    """Short strokes of all colours, most of them upright: edges everywhere, and none that leads on."""
    random = np.random.default_rng(seed)
    truth = torch.zeros(1, 3, SIDE, SIDE)
    rows, columns = positions()
    for _ in range(900):
        row, column, length = *random.uniform(0, SIDE, 2), random.uniform(6, 14)
        angle = np.deg2rad(random.normal(90, 25))
        along = float(np.sin(angle)) * (rows - row) + float(np.cos(angle)) * (columns - column)
        across = float(np.cos(angle)) * (rows - row) - float(np.sin(angle)) * (columns - column)
        blade = share(1.2 - across.abs()) * share(length - along.abs())
        truth = torch.lerp(truth, torch.from_numpy(random.uniform(-0.8, 0.8, (3, 1, 1))).float(), blade)
    assert guide_of(truth) is None


@pytest.mark.parametrize("name", ["grass", "gravel"])
def test_no_lines_in_photographed_textures(name):
    picture = torch.from_numpy(np.array(Image.open(bundled_photographs()[name]).convert("L")))
    truth = picture[None, None] / 127.5 - 1
    for top, left in ((100, 100), (100, 330), (330, 100), (330, 330)):
        assert guide_of(truth, square(top, left, 50, 60, truth.shape[2:])) is None


def test_no_line_in_a_smooth_picture():
    rows, columns = positions()
    assert guide_of(torch.stack([rows, columns, rows + columns])[None] / 200 - 0.6) is None


def on_both_sides(left, right):
    """One picture left of the middle of the hole, another right of it."""
    _, columns = positions()
    return torch.where(columns < MIDDLE, left, right)


def test_an_edge_that_ends_in_the_hole():
    assert guide_of(on_both_sides(two_sides(beside_line(10)), DARK.expand(1, 3, SIDE, SIDE))) is None


def test_edges_of_other_colours_are_not_joined():
    distance = beside_line(0)
    assert guide_of(on_both_sides(two_sides(distance), two_sides(distance, OTHER, DARK))) is None
    assert guide_of(on_both_sides(two_sides(distance), two_sides(-distance))) is None
    assert guide_of(on_both_sides(two_sides(distance), two_sides(distance))) is not None


def test_faint_edges_of_other_brightness_are_not_joined():
    faint, (_, columns) = two_sides(beside_line(0), DARK, DARK + 0.2), positions()
    brighter = ((columns - 44) / 40).clamp(0, 1)  # from the left of the hole to its right
    assert guide_of(faint + 0.6 * brighter) is None
    assert guide_of(faint + 0.1 * brighter) is not None


def test_a_thick_line_does_not_turn_thin():
    sky, distance = torch.full((1, 3, SIDE, SIDE), 0.6), beside_line(0)
    thick = cable(distance / 4, sky)
    assert guide_of(on_both_sides(thick, cable(distance, sky))) is None
    assert guide_of(on_both_sides(thick, thick)) is not None


def test_edges_that_are_not_in_line_are_not_joined():
    assert guide_of(on_both_sides(two_sides(beside_line(0, 50)), two_sides(beside_line(0, 76)))) is None
    assert guide_of(on_both_sides(two_sides(beside_line(0)), two_sides(beside_line(70)))) is None


def test_an_edge_with_two_ways_to_go_on_goes_none():
    """A line that forks at the middle of the hole, to both sides alike."""
    sky = torch.full((1, 3, SIDE, SIDE), 0.6)
    stem = cable(beside_line(0), sky)
    fork = cable(beside_line(9), cable(beside_line(-9), sky))
    assert guide_of(on_both_sides(stem, fork)) is None
    one = guide_of(on_both_sides(stem, cable(beside_line(9), sky)))
    assert one is not None


def test_of_lines_that_cross_one_is_drawn():
    sky = torch.full((1, 3, SIDE, SIDE), 0.6)
    first, second = beside_line(20), beside_line(-35)
    truth = torch.lerp(cable(first, sky), BRIGHT, share(1 - second.abs()))
    weight = guide_of(truth).weight
    drawn = [float(weight[HOLE & (distance.abs() < 1)].mean()) for distance in (first, second)]
    assert max(drawn) > 0.8
    assert min(drawn) < 0.4


def test_a_curve_that_would_leave_the_hole_is_not_drawn():
    """Known pixels amid the hole, where the line would be, say that it is not there."""
    distance = beside_line(0)
    truth, hole = two_sides(distance), HOLE.clone()
    assert guide_of(truth, hole) is not None
    hole[..., 58:70, 60:68] = False
    truth[..., 50:78, 52:76] = DARK
    assert guide_of(truth, hole) is None


@pytest.mark.parametrize("width", [1, 4, 7])
def test_thin_holes_have_no_guide(width):
    distance = beside_line(0)
    hole = square(20, 60, 90, width) | square(64, 10, width, 100)
    assert guide_of(two_sides(distance), hole) is None


def test_no_hole_no_guide():
    assert continue_edges(two_sides(beside_line(0)), torch.zeros(1, 1, SIDE, SIDE, dtype=torch.bool)) is None


def test_parts_of_a_hole_are_looked_at_one_by_one():
    distance = beside_line(0)
    truth = two_sides(distance)
    hole = square(52, 20, 24, 20) | square(54, 80, 20, 24) | square(10, 10, 3, 100)
    guide = guide_of(truth, hole)
    check_follows(guide, truth, hole & (distance.abs() < 30), distance)


def flooded(mask):
    """The connected parts of a mask, one pixel after the other: a list of sets of pixels."""
    left, parts = {tuple(x) for x in np.argwhere(mask)}, []
    while left:
        front, part = [left.pop()], set()
        while front:
            row, column = front.pop()
            part.add((row, column))
            beside = {(row + r, column + c) for r in (-1, 0, 1) for c in (-1, 0, 1)} & left
            left -= beside
            front += beside
        parts.append(part)
    return parts


def opened(mask):
    """The union of the squares of 8 pixels a side that lie in a mask."""
    union = np.zeros_like(mask)
    for row in range(mask.shape[0] - 7):
        for column in range(mask.shape[1] - 7):
            if mask[row : row + 8, column : column + 8].all():
                union[row : row + 8, column : column + 8] = True
    return union


@hypothesis.settings(max_examples=40, deadline=None)
@hypothesis.given(st.integers(1, 60), st.integers(1, 60), st.integers(0, 12), st.integers(0, 999))
def test_wide_parts_are_those_that_a_flood_finds(height, width, squares, seed):
    random = np.random.default_rng(seed)
    hole = np.zeros((height, width), bool)
    for _ in range(squares):
        row, column, tall, wide = random.integers(0, (height, width, 20, 20))
        hole[row : row + tall, column : column + wide] = True
    expected = flooded(opened(hole))
    parts = wide_parts(hole, smallest=1, most=100)
    found = [{(p.top + r, p.left + c) for r, c in np.argwhere(p.mask)} for p in parts]
    assert sorted(map(sorted, found)) == sorted(map(sorted, expected))
    assert [len(part) for part in found] == sorted(map(len, found), reverse=True)
    assert all(part.mask.any(0).all() or part.mask.any(1).all() for part in parts)


def test_the_largest_parts_alone():
    hole = np.zeros((100, 200), bool)
    for i in range(8):
        hole[5 : 15 + i, 24 * i : 24 * i + 10] = True
    assert [int(part.mask.sum()) for part in wide_parts(hole, smallest=140, most=3)] == [170, 160, 150]
    assert len(wide_parts(hole, smallest=140, most=9)) == 4
