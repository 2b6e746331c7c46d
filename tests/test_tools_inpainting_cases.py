"""The comparison of docs/inpainting.md: its photographs and the holes in them."""

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from tools.docs.inpainting import cases, photographs, places, shapes
from tools.docs.inpainting.outlines import OUTLINES, outline
from tools.docs.inpainting.photographs import LISTS
from tools.photographs import BUNDLED, Photograph
from tools.structure.photographs import TrainingPhotograph, training_photographs

# Photographs


def test_no_photograph_is_in_two_lists():
    files = [(one.package, one.file, one.inside, one.name) for some in LISTS.values() for one in some]
    assert len(set(files)) == len(files)
    names = [name for *_, name in files]
    assert len(set(names)) == len(names)
    # Nothing is ever tuned or trained on what these packages have.
    kept = {"plasma-workspace-wallpapers", "palapeli-data", "mate-backgrounds", "lomiri-wallpapers-16.04"}
    assert {one.package for one in LISTS["judged"]} == kept
    assert {one.package for one in LISTS["validation"]} == {BUNDLED, "lxqt-themes"}


def test_the_list_trained_on_has_what_exemplar_was_tuned_and_confirmed_on():
    assert set(LISTS["trained"]) < set(training_photographs())
    assert {one.earlier for one in LISTS["trained"]} == {"tuned", "confirmed"}


def test_a_list_is_read_as_far_as_it_is_there(tmp_path, monkeypatch):
    monkeypatch.setitem(
        LISTS,
        "judged",
        [Photograph("wide", "wallpapers", "usr/wide.png"), Photograph("gone", "wallpapers", "no.png")],
    )
    (tmp_path / "wallpapers/usr").mkdir(parents=True)
    Image.new("L", (1400, 350), 7).save(tmp_path / "wallpapers/usr/wide.png")
    read, left_out = photographs.read_list("judged", tmp_path)
    assert {name: picture.shape for name, picture in read.items()} == {"wide": (175, 700, 3)}
    assert len(left_out) == 1
    assert "no.png" in left_out[0]
    read, left_out = photographs.read_list("judged", None)
    assert not read
    assert left_out[0] == "wide: give --photographs, for it is in the package wallpapers"


def test_another_picture_of_the_same_name_is_left_out(tmp_path, monkeypatch):
    (tmp_path / "game").mkdir()
    Image.new("L", (20, 20)).save(tmp_path / "game/one.png")
    one = TrainingPhotograph("one", "game", "one.png", sha256="0" * 64)
    monkeypatch.setitem(LISTS, "trained", [one])
    read, left_out = photographs.read_list("trained", tmp_path)
    assert not read
    assert left_out[0].startswith("one: expected the picture that was listed")


# Where holes go


def half_and_half(height=400, width=500, at=250):
    """Grey values with one straight edge, from top to bottom, and noise that has none."""
    grey = np.random.default_rng(0).normal(100, 2, (height, width))
    grey[:, at:] += 100
    return grey


def canvas(grey, seed=0):
    return shapes.Canvas(*grey.shape, np.random.default_rng(seed))


def test_straight_edges_are_found_with_their_normal():
    strength, normal = places.straightness(half_and_half(), 6.0)
    assert abs(int(strength[200].argmax()) - 250) <= 2
    assert abs(normal[200, 250]) < 0.05
    strength, normal = places.straightness(half_and_half().T, 6.0)
    assert abs(abs(normal[250, 200]) - np.pi / 2) < 0.05
    assert strength[250, 200] > 100 * strength[100, 200]


def test_bends_are_found_and_straight_edges_are_not():
    down, across = np.mgrid[:200, :300]
    grey = half_and_half(200, 300, 60)  # stronger than the rim of this disc
    grey[np.hypot(down - 100, across - 200) < 40] += 50
    scores = places.bending(grey, 0.5)
    y, x = np.unravel_index(scores.argmax(), scores.shape)
    assert 20 < np.hypot(y - 100, x - 200) < 60
    assert scores[y, x] > 3 * scores[100, 50:70].max()
    straight = places.straightness(grey, 4.0)[0]
    assert straight[100, 60] > straight[y, x]
    # The same rim amid gravel, which is full of such edges, is worth less.
    away = np.hypot(down - 100, across - 200) > 90
    gravel = away * np.random.default_rng(1).normal(0, 40, grey.shape)
    np.testing.assert_allclose(
        places.straightness(grey + gravel, 1.5)[0][y, x], places.straightness(grey, 1.5)[0][y, x]
    )
    assert places.bending(grey + gravel, 0.5)[y, x] < 0.5 * scores[y, x]


def test_horizons_are_level():
    grey = half_and_half(250, 250, 125)
    level, upright = (places.levelness(one, 0.5) for one in (grey.T, grey))
    assert abs(int(level[:, 125].argmax()) - 125) <= 2
    assert level[125, 125] > 1000 * upright[125, 125]
    short = grey.T.copy()
    short[:, 135:] = short[:1, 135:]  # ends in the middle
    assert places.levelness(short, 0.5)[125, 125] < 0.8 * level[125, 125]


def test_slopes_are_no_edges_and_no_grain():
    ramp = np.tile(np.linspace(0, 250, 250), (150, 1))
    pictures = {
        "ramp": ramp,
        "flat": 0 * ramp + 7,
        "edge": half_and_half(150, 250, 125),
        "noise": np.random.default_rng(0).normal(100, 20, ramp.shape),
    }
    middle = {name: float(places.slope(one, 0.5)[75, 125]) for name, one in pictures.items()}
    assert middle["ramp"] > 0.75
    assert middle["flat"] == 0
    assert middle["edge"] < 0.5
    assert middle["noise"] < 0.15


def test_disorder_is_rough_all_around_and_goes_no_way():
    across = np.arange(450)
    noise = ndimage.gaussian_filter(np.random.default_rng(0).normal(0, 60, (200, 450)), 1)
    stripes = np.where(across % 8 < 4, 40.0, 0.0)
    scores = places.disorder(noise * (across < 150) + stripes * (across > 300), 0.5)[100]
    assert scores[75] > 10 * scores[145]  # where it ends
    assert scores[75] > 10 * scores[225]
    assert scores[75] > 10 * scores[375]  # stripes, as rough


@pytest.mark.parametrize("seed", range(6))
def test_holes_across_edges_show_both_sides(seed):
    grey = half_and_half()
    hole = shapes.edge(canvas(grey, seed), grey)
    left, right = hole[:, :250].sum(), hole[:, 250:].sum()
    assert min(left, right) > 0.25 * hole.sum()


@pytest.mark.parametrize("seed", range(3))
def test_smooth_places(seed):
    grey = half_and_half(500, 700, 0)
    grey[:, :400] += np.random.default_rng(1).normal(0, 20, (500, 400))
    grey[:250] = 255.0  # smoother still, but clipped: nothing is to be seen there
    hole = shapes.smooth(canvas(grey, seed), grey)
    assert hole[250:, 400:].sum() > 0.75 * hole.sum()


def test_the_best_place_is_one_of_six_peaks_and_not_at_the_border():
    score = np.zeros((300, 300))
    peaks = [(60, 60), (60, 150), (60, 240), (150, 60), (150, 150), (150, 240)]
    for rank, peak in enumerate(peaks):
        score[peak] = 10 - rank
    score[240, 240], score[5, 5] = 1, 100  # the seventh, and one too close to the border
    grey = np.zeros((300, 300))
    found = {canvas(grey, seed).best(score, 90) for seed in range(60)}
    assert found == set(peaks)
    # Six pixels have room for one alone.
    assert {canvas(np.zeros((100, 100)), seed).best(np.ones((100, 100)), 330) for seed in range(5)} == {
        (47, 47)
    }


def test_lengths_go_with_the_picture():
    """The same draw in a picture of twice the size is twice as long and wide."""
    shares = []
    for scale in (1, 2):
        grey = np.zeros((400 * scale, 700 * scale))
        shares.append(
            [
                draw(canvas(grey, 3), grey).mean()
                for draw in (shapes.square, shapes.anything, shapes.scratches)
            ]
        )
    np.testing.assert_allclose(*shares, rtol=0.1)


SIZED = (shapes.box, shapes.crossing, shapes.rim, shapes.horizon, shapes.gradient, shapes.rough)


@pytest.fixture
def anywhere(monkeypatch):
    """Places are not looked for: all are alike but for chance."""

    def score(grey, length):
        return np.random.default_rng(0).random(grey.shape)

    monkeypatch.setattr(shapes, "straightness", lambda grey, sigma: (score(grey, sigma), None))
    for name in ("bending", "levelness", "slope", "disorder"):
        monkeypatch.setattr(shapes, name, score)


@pytest.mark.usefixtures("anywhere")
@pytest.mark.parametrize("draw", [*SIZED, shapes.thing])
@pytest.mark.parametrize("shape", [(430, 640), (512, 400)])
def test_holes_of_32_to_128_pixels_whatever_the_photograph(draw, shape):
    grey, extents = np.zeros(shape), []
    for seed in range(20):
        rows, columns = np.nonzero(draw(canvas(grey, seed), grey))
        extents.append(max(np.ptp(rows), np.ptp(columns)) + 1)
        # Whole: nothing of it is beyond the border.
        assert min(rows.min(), columns.min()) > 0
        assert rows.max() < shape[0] - 1
        assert columns.max() < shape[1] - 1
    least = 64 if draw is shapes.thing else 32
    assert 0.75 * least < min(extents) < 1.5 * least  # blobs swing, and outlines of things are jittered
    assert 100 < max(extents) < 1.3 * 128


@pytest.mark.usefixtures("anywhere")
def test_holes_leave_small_photographs_two_thirds():
    grey = np.zeros((150, 600))
    for draw in SIZED:
        for seed in range(12):
            assert np.ptp(np.nonzero(draw(canvas(grey, seed), grey))[0]) < 1.3 * 50


@pytest.mark.parametrize("name", OUTLINES)
def test_outlines_are_in_one_piece_and_as_long_as_they_say(name):
    y, x = np.mgrid[-0.7:0.7:141j, -0.8:0.8:161j]
    random = np.random.default_rng(0)
    for _ in range(20):
        hole = outline(name, x, y, random)
        assert ndimage.label(hole)[1] == 1
        assert 0.85 < max(map(np.ptp, np.nonzero(hole))) / 100 < 1.15
        assert 0.05 < hole.mean() * 1.4 * 1.6 < 0.45
    assert (outline(name, x, y, random) != hole).any()


@pytest.mark.usefixtures("anywhere")
def test_things_are_of_every_outline_and_face_both_ways(monkeypatch):
    drawn = []
    monkeypatch.setattr(shapes, "outline", lambda name, x, y, random: drawn.append((name, x[0, -1])) or x > 0)
    grey = np.zeros((200, 240))
    for seed in range(60):
        shapes.thing(canvas(grey, seed), grey)
    assert {name for name, _ in drawn} == set(OUTLINES)
    assert {right > 0 for _, right in drawn} == {True, False}


# Cases


@pytest.fixture(scope="module")
def pictures():
    random = np.random.default_rng(0)
    noise = {f"noise{i}": random.integers(0, 256, (300, 400, 3), dtype=np.uint8) for i in range(4)}
    edges = np.repeat(half_and_half(300, 400, 200)[..., None], 3, 2).astype(np.uint8)
    return {**noise, "edges": edges, "smooth": np.full((300, 400, 3), 128, np.uint8)}


def fewer(holes):
    """Two of each kind."""
    return replace(holes, kinds={name: replace(kind, count=2) for name, kind in holes.kinds.items()})


@pytest.mark.parametrize("holes", [fewer(cases.WIDE), fewer(cases.MIXED)], ids=["wide", "mixed"])
def test_the_same_cases_for_a_seed(pictures, holes):
    drawn = cases.draw_cases(pictures, holes, 1)
    for one, other in zip(drawn, cases.draw_cases(pictures, holes, 1), strict=True):
        assert one.name == other.name
        assert (one.hole == other.hole).all()
    others = cases.draw_cases(pictures, holes, 2)
    assert any(
        one.hole.shape != other.hole.shape or (one.hole != other.hole).any()
        for one, other in zip(drawn, others, strict=True)
    )


@pytest.mark.parametrize(
    ("holes", "digest"),
    [(fewer(cases.WIDE), "fd881ab93044"), (fewer(cases.MIXED), "88f58cf1a506")],
    ids=["wide", "mixed"],
)
def test_holes_are_those_of_earlier_results(holes, digest):
    """A hole that moves makes them worthless. In noise, where no two places are equally good."""
    random = np.random.default_rng(5)
    pictures = {
        f"noise{i}": random.integers(0, 256, (60, 80, 1), dtype=np.uint8)
        .repeat(5, 0)
        .repeat(5, 1)
        .repeat(3, 2)
        for i in range(3)
    }
    state = hashlib.sha256()
    for case in cases.draw_cases(pictures, holes, 1):
        if " text " not in case.name:  # which a version of FreeType draws
            state.update(case.name.encode() + np.packbits(case.hole).tobytes())
    assert state.hexdigest()[:12] == digest


def kinds_of(drawn, holes):
    count = {kind: [case.photograph for case in drawn if f" {kind} " in case.name] for kind in holes.kinds}
    assert {kind: len(of) for kind, of in count.items()} == {
        kind: of.count for kind, of in holes.kinds.items()
    }
    return count


def check(drawn, holes):
    assert {case.group for case in drawn} == set(holes.groups)
    for case in drawn:
        assert 0.001 < case.hole.mean() < 0.2, case.name
        assert (case.seen()[case.hole] == 0).all()
        assert (case.seen()[~case.hole] == case.truth[~case.hole]).all()


def test_a_case_of_each_kind_in_the_photographs_that_suit_it(pictures):
    drawn = cases.draw_cases(pictures, cases.WIDE, 1)
    check(drawn, cases.WIDE)
    count = kinds_of(drawn, cases.WIDE)
    assert "edges" in count["edge"]
    assert "smooth" not in count["edge"]
    assert set(count["smooth"]) == {"smooth", "edges"}  # a third of six
    assert all(len(set(some[:6])) == 6 for some in (count["square"], count["scratches"]))


def test_mixed_holes_are_in_the_photographs_that_suit_them(pictures):
    ramp = np.tile(np.linspace(0, 250, 400).astype(np.uint8)[:, None], (300, 1, 3))
    pictures = {**pictures, "slope": ramp}
    drawn = cases.draw_cases(pictures, cases.MIXED, 1)
    check(drawn, cases.MIXED)
    count = kinds_of(drawn, cases.MIXED)
    for kind in ("crossing", "object"):  # two thirds of seven
        assert "edges" in count[kind]
        assert "smooth" not in count[kind]
    assert "slope" in count["gradient"]
    assert set(count["rough"]) < {f"noise{i}" for i in range(4)}
    assert len(set(count["box"][:7])) == 7


def test_every_case_of_all_lists_has_a_name_of_its_own():
    """Lists of photographs have none in common, so that kinds must differ where one is drawn in twice."""
    assert set(cases.DRAWN) == set(LISTS)
    for drawn in cases.DRAWN.values():
        kinds = [kind for holes in drawn.values() for kind in holes.kinds]
        assert len(set(kinds)) == len(kinds)
    names = [name for drawn in cases.DRAWN.values() for name in drawn]
    assert len(set(names)) == len(names)


def test_text_can_be_read(pictures):
    text = next(case for case in cases.draw_cases(pictures, cases.WIDE, 1) if " text " in case.name)
    rows = text.hole.any(1)
    lines = np.count_nonzero(np.diff(rows.astype(int)) == 1)
    assert 3 <= lines <= 8  # dots over letters may be apart from them


def test_textures_are_crops_with_a_square():
    drawn = list(cases.texture_cases(2))
    assert [case.name for case in drawn[:3]] == ["brick 0", "brick 1", "grass 0"]
    for case in drawn:
        assert case.truth.shape == (cases.CROP, cases.CROP, 3)
        assert case.hole.sum() == cases.SQUARE**2
    foliage = [case for case in drawn if case.photograph == "foliage"]
    assert (foliage[0].truth == foliage[1].truth).all()
    assert min(np.nonzero(case.hole)[0].min() for case in foliage) >= 150


def test_sizes():
    photograph = Image.effect_noise((400, 250), 50).convert("RGB")
    one, ten, scratches = cases.size_cases(photograph, 0.5)
    for case in (one, ten, scratches):
        assert case.truth.shape == (559, 894, 3)
    assert one.name == "0.5 MP, 1 %"
    assert abs(one.hole.mean() - 0.01) < 0.001
    assert abs(ten.hole.mean() - 0.1) < 0.005
    assert 0.005 < scratches.hole.mean() < 0.1


def test_every_package_has_its_own_folder():
    assert all(
        "/" not in one.package and not Path(one.file).is_absolute() for some in LISTS.values() for one in some
    )
