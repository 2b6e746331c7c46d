"""The comparison of docs/inpainting.md: methods in processes of their own, goals, page and command."""

import sys

import numpy as np
import pytest

from contextual_attention.models.filling import inpaint
from tools.docs.inpainting import __main__ as command
from tools.docs.inpainting import goals, methods, page, race
from tools.docs.inpainting.cases import TEXTURES, Case
from tools.docs.inpainting.kept import Kept
from tools.docs.inpainting.measures import MEASURES
from tools.docs.inpainting.race import Results, Row, Timed

RIVAL = methods.RIVAL


def make_case(name="a", group="squares", seed=0):
    random = np.random.default_rng(seed)
    truth = np.repeat(np.repeat(random.integers(0, 256, (8, 8, 3), dtype=np.uint8), 8, 0), 8, 1)
    hole = np.zeros((64, 64), bool)
    hole[30:38, 20:30] = True
    return Case(name, group, f"photograph {name}", truth, hole)


# Methods


def test_ours_are_those_that_need_no_weights():
    assert {*methods.OURS, "model"} == set(inpaint.METHODS)
    assert set(methods.OURS) < set(methods.METHODS)


@pytest.mark.parametrize("method", methods.METHODS)
def test_methods_fill_holes(method):
    """In the colours of the picture, not in another order of channels, and not with what is missing."""
    try:
        fill = methods.METHODS[method].make()
    except ImportError as error:
        pytest.skip(str(error))
    case = make_case()
    truth = (
        np.full((64, 64, 3), (200, 120, 40), np.uint8) + (np.arange(64) % 2 * 10).astype(np.uint8)[:, None]
    )
    filled = fill(np.where(case.hole[..., None], 0, truth).astype(np.uint8), case.hole)
    assert filled.shape == truth.shape
    assert filled.dtype == np.uint8
    assert np.abs(filled[case.hole].mean(0) - (205, 125, 45)).max() < 8


def test_what_is_not_installed_is_named(monkeypatch, tmp_path):
    (tmp_path / "gmic.py").write_text("raise ImportError('there is none')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=":")
    able, left_out = race.installed(["Telea", "G'MIC matchpatch"])
    assert able == ["Telea"]
    assert left_out == ["G'MIC matchpatch: ImportError: there is none; pip install gmic"]


# Races


def test_a_method_in_a_process_of_its_own():
    cases = [make_case("a"), make_case("b", seed=1)]
    filled = race.fill("Telea", cases, limit=60)
    for case, one in zip(cases, filled, strict=True):
        assert (one.picture[~case.hole] == case.truth[~case.hole]).all()
        assert (one.picture == methods.METHODS["Telea"].make()(case.seen(), case.hole)).all()
        assert 0 <= one.seconds < 60
        assert 20 < one.peak < 200  # neither PyTorch nor the memory of this process is in a rival's


def test_a_method_that_ends_early():
    case = make_case()
    broken = Case("b", "", "", case.truth[..., :2], case.hole)  # two channels
    with pytest.raises(RuntimeError, match=r"^Telea: filled 1 of 2 cases, then: .*error"):
        race.fill("Telea", [case, broken], limit=60)
    with pytest.raises(RuntimeError, match=r"^Telea: more than 0\.01 s a picture"):
        race.fill("Telea", [make_case()], limit=0.01)


def fake_fill(calls):
    def fill(method, cases, limit):
        if method == "broken":
            raise RuntimeError("broken: it is")
        calls.append((method, [case.name for case in cases]))
        return [race.Filled(case.seen() // 2 * 2, 2.0, 1.0, 300.0) for case in cases]

    return fill


def test_a_race_goes_on_where_it_was_broken_off(monkeypatch, tmp_path):
    calls = []
    monkeypatch.setattr(race, "fill", fake_fill(calls))
    cases = {"judged": [make_case("a"), make_case("b", "thin", 1)], "textures": [make_case("c")]}
    first = race.race({"judged": cases["judged"][:1]}, ["one"], Kept(tmp_path), 1)
    results = race.race(cases, ["one", "broken", "two"], Kept(tmp_path), 1)
    assert calls == [("one", ["a"]), ("one", ["b", "c"]), ("two", ["a", "b", "c"])]
    assert results.left_out == ["broken: it is"]
    assert len(results.rows) == 6
    assert results.rows[0] == first.rows[0]
    assert set(results.rows[0].measures) == {*MEASURES, "seconds", "MiB"}
    assert (results.pictures["a", "one"] == cases["judged"][0].seen() // 2 * 2).all()
    assert results.mean("seconds", "one", group="thin") == 2
    assert results.mean("seconds", "one", group="none") is None
    race.race(cases, ["one", "two"], Kept(tmp_path, again=["two"]), 1)
    assert calls[3:] == [("two", ["a", "b", "c"])]
    # The same name, another hole.
    race.race({"judged": [make_case("a", seed=5)]}, ["one"], Kept(tmp_path), 1)
    assert calls[4:] == [("one", ["a"])]
    race.race({"judged": [make_case("a")]}, ["one"], Kept(None), 1)
    assert calls[5:] == [("one", ["a"])]


def test_sizes_are_run_in_turns(monkeypatch):
    calls, seconds = [], iter([3.0, 30.0, 1.0, 10.0, 2.0, 20.0])

    def fill(method, cases, limit):
        calls.append(method)
        if method == "broken":
            raise RuntimeError("broken: it is")
        taken = next(seconds)
        return [race.Filled(cases[0].truth, taken, taken / 2, 100 * taken)]

    monkeypatch.setattr(race, "fill", fill)
    timed = list(race.race_sizes([make_case("big")], ["one", "two", "broken"], 3, 1))
    assert calls == ["one", "two", "broken", "one", "two", "one", "two"]
    missing = 80 / 64**2
    assert timed == [
        Timed("big", "one", missing, 2.0, 1.0, 200.0),
        Timed("big", "two", missing, 20.0, 10.0, 2000.0),
        Timed("big", "broken", missing, failed="broken: it is"),
    ]
    text = page.sizes_table(timed)
    assert "| big | 2.0 % | 2.00 s, 1.00 s, 200 MiB | 20.00 s, 10.00 s, 2000 MiB | it is |" in text


# Goals and page


def make_results(numbers):
    """Rows of {(list, group, method): measures}; of textures, a row for each of them."""
    results = Results()
    defaults = {**dict.fromkeys(MEASURES, 1.0), "seam": 0.0, "seconds": 1.0, "MiB": 100.0}
    for (photographs, group, method), measures in numbers.items():
        for name in TEXTURES if group == "texture" else ("some",):
            row = Row(photographs, group, f"{group} {name}", name, method, {**defaults, **measures})
            results.rows.append(row)
    return results


def judged(ours, theirs):
    """Both groups that the rival is raced in, and textures."""
    of = {("judged", group, "exemplar"): ours for group in ("squares", "structure")}
    of |= {("judged", group, RIVAL): theirs for group in ("squares", "structure")}
    of |= {("judged", "thin", "exemplar"): {"PSNR": 26.0}, ("judged", "thin", RIVAL): {"PSNR": 24.0}}
    of[("judged", "thin", "OpenCV FSR")] = {"PSNR": 24.9}
    of[("judged", "thin", "patchmatch")] = {"PSNR": 30.0}  # ours too
    of |= {
        ("textures", "texture", "exemplar"): {"PSNR": 14.0},
        ("textures", "texture", "Telea"): {"PSNR": 14.4},
    }
    return of


BIG = [
    Timed("12 MP, 1 %", "exemplar", 0.01, 14.0, 9.0, 1400.0),
    Timed("12 MP, 1 %", RIVAL, 0.01, 16.0, 16.0, 1700.0),
]


def told(numbers, sizes=BIG):
    return goals.goals(make_results(numbers), sizes).splitlines()


def test_goals_that_are_met():
    lines = told(judged({"PSNR": 20.6, "pd": 0.8, "seam": 0.04}, {"PSNR": 20.0, "pd": 1.0}))
    assert [line.partition(":")[0] for line in lines] == ["- met"] * 9
    assert lines[0].endswith("seam at most 0.05: +0.60 dB, 0.80, +0.04.")
    assert (
        lines[2] == "- met: thin: PSNR at least that of every other tool + 1 dB: +1.10 dB against OpenCV FSR."
    )
    assert lines[7].endswith("as a share of it: 12 MP, 1 % 0.88.")
    assert lines[8].endswith(": 14.0 s, 1.47 GB.")


@pytest.mark.parametrize("ours", [{"PSNR": 20.4}, {"pd": 0.9}, {"seam": 0.06}])
def test_each_part_of_a_goal_counts(ours):
    numbers = judged({"PSNR": 20.6, "pd": 0.8, **ours}, {"PSNR": 20.0, "pd": 1.0})
    assert [line[:9] for line in told(numbers)[:2]] == ["- NOT met"] * 2


@pytest.mark.parametrize(
    ("place", "changed", "sizes"),
    [
        (2, {("judged", "thin", "OpenCV FSR"): {"PSNR": 25.1}}, BIG),
        (3, {("textures", "texture", "exemplar"): {"PSNR": 14.0, "gradient": 0.7}}, BIG),
        (4, {("textures", "texture", "exemplar"): {"PSNR": 14.0, "seam": 0.3}}, BIG),
        (5, {("textures", "texture", "Telea"): {"PSNR": 17.0}}, BIG),
        (6, {("textures", "texture", "Telea"): {"PSNR": 14.6}}, BIG),
        (7, {}, [BIG[0], Timed("12 MP, 1 %", RIVAL, 0.01, 13.0, 13.0, 1700.0)]),
        (8, {}, [Timed("12 MP, 1 %", "exemplar", 0.01, 15.1, 9.0, 1400.0), BIG[1]]),
        (8, {}, [Timed("12 MP, 1 %", "exemplar", 0.01, 14.0, 9.0, 1500.0), BIG[1]]),
        (8, {}, [Timed("12 MP, 1 %", "exemplar", 0.01, failed="exemplar: more than 9 s a picture"), BIG[1]]),
    ],
)
def test_goals_that_are_missed(place, changed, sizes):
    lines = told({**judged({"PSNR": 21.0, "pd": 0.1}, {"PSNR": 20.0, "pd": 1.0}), **changed}, sizes)
    assert lines[place].startswith("- NOT met"), lines


def test_without_the_others_nothing_is_known():
    lines = told({("judged", "squares", "exemplar"): {}, ("judged", "thin", "exemplar"): {}}, [])
    assert {line.partition(":")[0] for line in lines} == {"- not known"}
    assert lines[5].endswith("on the mean of irregular textures: no number.")


def test_the_page():
    numbers = judged({"PSNR": 21.0, "seam": 0.02}, {"PSNR": 20.0, "seam": -0.05})
    results = make_results(numbers)
    results.left_out.append("G'MIC matchpatch: No module named 'gmic'; pip install gmic")
    text = page.page(results, BIG)
    assert "| group | method | PSNR | SSIM | pd | seam | gradient | l1 | seconds | MiB |" in text
    assert "| squares | exemplar | 21.00 | 1.000 | 1.000 | +0.02 | 1.00 | 1.00 | 1.00 | 100 |" in text
    assert f"| structure | {RIVAL} | 20.00 | 1.000 | 1.000 | -0.05 |" in text
    assert "| brick | Telea | 14.40 |" in text
    assert "| squares | Telea" not in text  # which has no such row
    assert "| squares | OpenCV FSR" not in text
    assert "*From left: the hole, exemplar, patchmatch, PyPatchMatch 7, Telea, the photograph;" in text
    assert "- judged, palapeli-data: castle-maintenon," in text
    assert text.endswith(
        "Left out of this race:\n\n- G'MIC matchpatch: No module named 'gmic'; pip install gmic."
    )
    assert "confirmed on\n" not in text.replace("## The lists", "")


def test_a_sheet_shows_hole_methods_and_photograph():
    cases = [make_case("a"), make_case("b", seed=1)]
    results = Results()
    for case in cases:
        results.pictures[case.name, "Telea"] = np.where(case.hole[..., None], (250, 0, 0), case.truth).astype(
            np.uint8
        )
    drawn = np.array(page.sheet(cases, results, ["exemplar", "Telea"], side=50))
    assert drawn.shape == (14 + 2 * 50, 3 * 50, 3)
    centres = [drawn[14 + 25, 50 * column + 25] for column in range(3)]
    assert (centres[0] > 240).all()
    assert centres[1][0] > 240
    assert centres[1][1] < 20
    assert (centres[2] == centres[0]).sum() < 3
    names = [name for name, _ in page.sheets(cases, results, each=1)]
    assert names == ["a", "b"]


@pytest.mark.parametrize("places", [[(0, 0), (3, 3)], [(60, 90), (63, 99)], [(0, 0), (63, 99)]])
def test_what_is_cut_out_has_missing_pixels_and_is_inside(places):
    hole = np.zeros((64, 100), bool)
    for place in places:
        hole[place] = True
    left, top, right, bottom = page._around(hole)
    assert 0 <= left < right <= 100
    assert 0 <= top < bottom <= 64
    assert right - left == bottom - top
    assert hole[top:bottom, left:right].any()


# The command


def run(monkeypatch, *options):
    monkeypatch.setattr(sys, "argv", ["inpainting", *map(str, options)])
    command.main()


@pytest.fixture
def small(monkeypatch, tmp_path):
    """Four small cases, no process, and files of its own to write."""
    cases = {
        "judged": [make_case("j", "squares")],
        "textures": [make_case("t 0", "texture")],
        "shown": [make_case("s 0")],
    }
    monkeypatch.setattr(command, "_cases", lambda lists, folder: (cases, ["gone: is not there"]))
    monkeypatch.setattr(command, "installed", lambda names: (list(names), []))
    monkeypatch.setattr(race, "fill", fake_fill([]))
    monkeypatch.setattr(
        command, "size_cases", lambda photograph, megapixels: [make_case(f"{megapixels:g} MP, 1 %")]
    )
    monkeypatch.setattr(command.LARGE.__class__, "open", lambda photograph, folder: None)
    for name in ("DOCS", "PICTURE"):
        monkeypatch.setattr(command, name, tmp_path / f"{name}.{'md' if name == 'DOCS' else 'jpg'}")
    (tmp_path / "DOCS.md").write_text("a\n<!-- benchmark: begin -->\nold\n<!-- benchmark: end -->\nb\n")
    return tmp_path


def test_the_command_writes_page_and_pictures(monkeypatch, small, capsys):
    run(monkeypatch, "--photographs", small, "--write", "--strips", small / "strips")
    text = (small / "DOCS.md").read_text()
    assert "\nold\n" not in text
    assert text.startswith("a\n<!-- benchmark: begin -->\n![](images/inpainting.jpg)")
    assert "## Sizes\n\n| picture | missing | exemplar | patchmatch | PyPatchMatch 7 |" in text
    assert "| 12 MP, 1 % |" in text
    assert "- gone: is not there." in text
    assert (small / "PICTURE.jpg").stat().st_size > 1000
    assert sorted(path.name for path in (small / "strips").iterdir()) == [
        "judged j.png",
        "shown s 0.png",
        "textures t 0.png",
    ]
    said = capsys.readouterr().out
    assert "left out: gone: is not there" in said
    assert "| squares | Telea |" in said


def test_a_part_is_not_written(monkeypatch, small, capsys):
    run(monkeypatch, "--photographs", small, "--only", "j", "--methods", "Telea", "--sizes")
    said = capsys.readouterr().out
    assert "| squares | Telea |" in said
    assert "| picture | missing |" not in said
    for options in (("--only", "j"), ("--methods", "Telea")):
        with pytest.raises(SystemExit, match="--write is of everything"):
            run(monkeypatch, "--photographs", small, "--write", *options)
    with pytest.raises(SystemExit, match="--write is of everything"):
        run(monkeypatch, "--write")


def test_without_the_large_photograph_the_sizes_are_left_out(monkeypatch, small, capsys):
    def gone(photograph, folder):
        raise FileNotFoundError("there is no EveningGlow")

    monkeypatch.setattr(command.LARGE.__class__, "open", gone)
    run(monkeypatch, "--photographs", small, "--write")
    text = (small / "DOCS.md").read_text()
    assert "- the race of sizes: there is no EveningGlow." in text
    assert "## Sizes" not in text


def test_what_is_shown_comes_with_packages_of_python():
    shown = command._shown()
    assert [case.name.split()[::2][:2] for case in shown] == [["shown", kind] for kind in command.SHOWN]
    names = {case.photograph for case in command._first_holes([*shown, *shown])}
    assert names == {case.photograph for case in shown}
