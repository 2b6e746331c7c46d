"""The comparison of docs/inpainting.md: its photographs and the holes in them."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tools.docs.inpainting import cases, photographs, shapes
from tools.docs.inpainting.photographs import LISTS
from tools.photographs import Photograph

# Photographs


def test_no_photograph_is_in_two_lists():
    files = [(one.package, one.file, one.inside, one.name) for some in LISTS.values() for one in some]
    assert len(set(files)) == len(files)
    names = [name for *_, name in files]
    assert len(set(names)) == len(names)
    # Nothing is ever tuned on what these packages have.
    kept = {"plasma-workspace-wallpapers", "palapeli-data", "mate-backgrounds", "lomiri-wallpapers-16.04"}
    assert {one.package for one in LISTS["judged"]} == kept
    assert not kept & {one.package for name in ("tuned", "confirmed") for one in LISTS[name]}


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


# Where holes go


def half_and_half(height=400, width=500, at=250):
    """Grey values with one straight edge, from top to bottom, and noise that has none."""
    grey = np.random.default_rng(0).normal(100, 2, (height, width))
    grey[:, at:] += 100
    return grey


def canvas(grey, seed=0):
    return shapes.Canvas(*grey.shape, np.random.default_rng(seed))


def test_straight_edges_are_found_with_their_normal():
    strength, normal = shapes.straightness(half_and_half(), 6.0)
    assert abs(int(strength[200].argmax()) - 250) <= 2
    assert abs(normal[200, 250]) < 0.05
    strength, normal = shapes.straightness(half_and_half().T, 6.0)
    assert abs(abs(normal[250, 200]) - np.pi / 2) < 0.05
    assert strength[250, 200] > 100 * strength[100, 200]


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


# Cases


@pytest.fixture(scope="module")
def pictures():
    random = np.random.default_rng(0)
    noise = {f"noise{i}": random.integers(0, 256, (300, 400, 3), dtype=np.uint8) for i in range(4)}
    edges = np.repeat(half_and_half(300, 400, 200)[..., None], 3, 2).astype(np.uint8)
    return {**noise, "edges": edges, "smooth": np.full((300, 400, 3), 128, np.uint8)}


def test_the_same_cases_for_a_seed(pictures):
    drawn = cases.draw_cases(pictures, 1)
    for one, other in zip(drawn, cases.draw_cases(pictures, 1), strict=True):
        assert one.name == other.name
        assert (one.hole == other.hole).all()
    others = cases.draw_cases(pictures, 2)
    assert any(
        one.hole.shape != other.hole.shape or (one.hole != other.hole).any()
        for one, other in zip(drawn, others, strict=True)
    )


def test_a_case_of_each_kind_in_the_photographs_that_suit_it(pictures):
    drawn = cases.draw_cases(pictures, 1)
    count = {kind: [case.photograph for case in drawn if f" {kind} " in case.name] for kind in cases.KINDS}
    assert {kind: len(of) for kind, of in count.items()} == {
        kind: of.count for kind, of in cases.KINDS.items()
    }
    assert "edges" in count["edge"]
    assert "smooth" not in count["edge"]
    assert set(count["smooth"]) == {"smooth", "edges"}  # a third of six
    assert all(len(set(some[:6])) == 6 for some in (count["square"], count["scratches"]))
    assert {case.group for case in drawn} == set(cases.GROUPS) - {"texture"}
    for case in drawn:
        assert 0.001 < case.hole.mean() < 0.2, case.name
        assert (case.seen()[case.hole] == 0).all()
        assert (case.seen()[~case.hole] == case.truth[~case.hole]).all()


def test_text_can_be_read(pictures):
    text = next(case for case in cases.draw_cases(pictures, 1) if " text " in case.name)
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
