"""The comparison of docs/inpainting.md: goals, page and command."""

import sys

import numpy as np
import pytest
from helpers.filling_race import fake_fill, make_case

from tools.docs.inpainting import __main__ as command
from tools.docs.inpainting import goals, methods, page, race
from tools.docs.inpainting.cases import DRAWN, MIXED, TEXTURES, WIDE
from tools.docs.inpainting.measures import MEASURES
from tools.docs.inpainting.race import Results, Row, Timed

RIVAL = methods.RIVAL


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


def told(numbers, sizes=BIG, of=goals.exemplar_goals):
    return of(make_results(numbers), sizes).splitlines()


# The goals of exemplar


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


# The goals of structure

LISTS = ("validation", "judged, 32 to 128")


def trained(structure, texture, telea=24.0, exemplar=24.5, exemplar_texture=15.0):
    """Both lists and textures, of which the gradient is 1 where it is not given."""
    of = {}
    for name in LISTS:
        of |= {
            (name, "structure", "structure"): structure,
            (name, "structure", "Telea"): {"PSNR": telea},
            (name, "structure", "exemplar"): {"PSNR": exemplar},
        }
    for name in (*LISTS, "textures"):
        of |= {
            (name, "texture", "structure"): texture,
            (name, "texture", "exemplar"): {"PSNR": exemplar_texture},
        }
    return of


LARGE = [Timed("12 MP, 1 %", "structure", 0.01, 30.0, 19.5, 1400.0)]


def test_goals_of_structure_that_are_met():
    lines = told(trained({"PSNR": 26.6}, {"PSNR": 15.0, "gradient": 0.8}), LARGE, goals.structure_goals)
    assert lines == [
        "- met: validation: structure: PSNR at least that of Telea and of exemplar + 2 dB: +2.60 dB, "
        "+2.10 dB.",
        lines[0].replace("validation", "judged, 32 to 128"),
        "- met: validation: texture: 0.75 to 1.25 of the gradient kept, and PSNR at least exemplar's: 0.80, "
        "+0.00 dB.",
        lines[2].replace("validation", "judged, 32 to 128"),
        lines[2].replace("validation", "textures"),
        "- met: 12 megapixels with a hole of 1 % after at most 20 s, with 1.5 GB: 19.5 s, 1.47 GB.",
    ]


@pytest.mark.parametrize(
    ("place", "changed", "sizes"),
    [
        (0, {("validation", "structure", "Telea"): {"PSNR": 26.0}}, LARGE),
        (1, {("judged, 32 to 128", "structure", "exemplar"): {"PSNR": 25.0}}, LARGE),
        (2, {("validation", "texture", "structure"): {"PSNR": 15.0, "gradient": 0.7}}, LARGE),
        (3, {("judged, 32 to 128", "texture", "structure"): {"PSNR": 15.0, "gradient": 1.3}}, LARGE),
        (4, {("textures", "texture", "exemplar"): {"PSNR": 15.1}}, LARGE),
        (5, {}, [Timed("12 MP, 1 %", "structure", 0.01, 19.0, 20.5, 1400.0)]),
        (5, {}, [Timed("12 MP, 1 %", "structure", 0.01, 30.0, 19.0, 1500.0)]),
        (5, {}, [Timed("12 MP, 1 %", "structure", 0.01, failed="structure: more than 9 s a picture")]),
    ],
)
def test_goals_of_structure_that_are_missed(place, changed, sizes):
    lines = told({**trained({"PSNR": 26.6}, {"PSNR": 15.0}), **changed}, sizes, goals.structure_goals)
    missed = [number for number, line in enumerate(lines) if line.startswith("- NOT met: ")]
    assert missed == [place], lines


@pytest.mark.parametrize("gone", ["structure", "exemplar", "Telea"])
def test_without_one_of_them_the_goals_of_structure_are_not_known(gone):
    numbers = {of: how for of, how in trained({"PSNR": 26.6}, {"PSNR": 15.0}).items() if of[2] != gone}
    lines = told(numbers, [one for one in LARGE if gone != "structure"], goals.structure_goals)
    unknown = [line.startswith("- not known: ") for line in lines]
    assert unknown == [True] * 2 + [gone != "Telea"] * 3 + [gone == "structure"]


def test_the_photographs_trained_on_are_no_goal():
    numbers = {("trained", group, "structure"): {"PSNR": 50.0} for group in ("structure", "texture")}
    assert not any("trained" in line for line in told(numbers, LARGE, goals.structure_goals))


# The page


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
    assert "\n\nThe goals of `structure`:\n\n- not known: validation: structure: " in text
    assert "\n\nThe goals of `exemplar`, on the photographs that judge:\n\n- NOT met: squares: " in text
    assert "## Photographs that judge, with the holes of the goals of `exemplar`\n" in text
    for name in ("validation", "trained"):
        assert f"## {page.TITLES[name]}\n" not in text  # no row is of it
    assert "\n\nHoles of judged: *squares*: squares of 80 to 140 pixels anywhere; *structure*: " in text
    assert (
        "\n\nHoles of judged, 32 to 128 and validation and trained: *squares*: squares of 32 to 128 " in text
    )
    assert "\n\nHoles of textures: squares of 48 pixels " in text


def test_every_list_of_cases_has_a_title():
    listed = [name for drawn in DRAWN.values() for name in drawn]
    assert set(page.TITLES) == {*listed, "textures"}


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
    named = np.array(page.sheet(cases, results, ["Telea"], side=50, named=True))
    changed = (named != drawn).any(2)
    assert changed[16:30, :10].any()  # the name of the first case
    assert not changed[:, 50:].any()


def test_all_cases_are_on_sheets_of_twenty():
    cases = [make_case(f"{number}", seed=number) for number in range(25)]
    drawn = dict(page.sheets(cases, Results()))
    assert {name: one.height for name, one in drawn.items()} == {"0": 14 + 20 * 220, "20": 14 + 5 * 220}


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
        "validation": [make_case("v", "structure")],
        "textures": [make_case("t 0", "texture")],
        "shown": [make_case("s 0")],
    }
    monkeypatch.setattr(command, "_cases", lambda lists, folder, draw: (cases, ["gone: is not there"]))
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
    assert "## Sizes\n\n| picture | missing | structure | exemplar | patchmatch | PyPatchMatch 7 |" in text
    assert "| 12 MP, 1 % |" in text
    assert "- gone: is not there." in text
    assert (small / "PICTURE.jpg").stat().st_size > 1000
    assert sorted(path.name for path in (small / "strips").iterdir()) == [
        "judged j.png",
        "shown s 0.png",
        "textures t 0.png",
        "validation v.png",
    ]
    said = capsys.readouterr().out
    assert "left out: gone: is not there" in said
    assert "| squares | Telea |" in said
    assert "| squares | OpenCV FSR |" in said.partition("\nvalidation\n")[0]
    assert "| structure | structure |" in said.partition("\nvalidation\n")[2]
    assert "| structure | OpenCV FSR |" not in said  # on these few methods run


def test_a_part_is_not_written(monkeypatch, small, capsys):
    run(monkeypatch, "--photographs", small, "--only", "j", "--methods", "Telea", "--sizes")
    said = capsys.readouterr().out
    assert "| squares | Telea |" in said
    assert "| picture | missing |" not in said
    run(monkeypatch, "--photographs", small, "--only", "v", "--methods", "OpenCV FSR", "--sizes")
    assert "| structure | OpenCV FSR |" in capsys.readouterr().out  # asked for by name
    for options in (("--only", "j"), ("--methods", "Telea"), ("--draw", "1")):
        with pytest.raises(SystemExit, match="--write is of everything"):
            run(monkeypatch, "--photographs", small, "--write", *options)
    with pytest.raises(SystemExit, match="--write is of everything"):
        run(monkeypatch, "--write")


def test_another_draw_has_other_holes(monkeypatch):
    given = []
    monkeypatch.setattr(command, "read_list", lambda name, folder: ({name: None}, []))
    monkeypatch.setattr(
        command,
        "draw_cases",
        lambda photographs, holes, seed: given.append((*photographs, holes, seed)) or [],
    )
    monkeypatch.setattr(command, "_shown", list)
    for draw in (0, 10):
        cases, _ = command._cases(["judged", "trained"], None, draw)
        assert list(cases) == ["judged", "judged, 32 to 128", "trained", "textures", "shown"]
    expected = [("judged", WIDE, 0), ("judged", MIXED, 0), ("trained", MIXED, 2)]
    assert given == [(name, holes, seed + draw) for draw in (0, 10) for name, holes, seed in expected]


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
    kinds = [*command.SHOWN, *command.SHOWN_MIXED]
    assert [case.name.split()[::2][:2] for case in shown] == [["shown", kind] for kind in kinds]
    names = {case.photograph for case in command._first_holes([*shown, *shown])}
    assert names == {case.photograph for case in shown}
