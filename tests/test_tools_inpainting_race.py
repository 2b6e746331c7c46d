"""The comparison of docs/inpainting.md: methods, each in a process of its own."""

import numpy as np
import pytest
from helpers.filling_race import fake_fill, make_case

from contextual_attention.models.filling import inpaint
from tools.docs.inpainting import methods, page, race
from tools.docs.inpainting.cases import Case
from tools.docs.inpainting.kept import Kept
from tools.docs.inpainting.measures import MEASURES
from tools.docs.inpainting.race import Timed

# Methods


def test_ours_are_those_that_need_no_model():
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


def test_some_methods_run_on_some_lists_only(monkeypatch):
    calls = []
    monkeypatch.setattr(race, "fill", fake_fill(calls))
    cases = {"judged": [make_case("a")], "trained": [make_case("b")]}
    results = race.race(cases, ["one", "two"], Kept(None), 1, {"trained": ["two", "three"]})
    assert calls == [("one", ["a"]), ("two", ["a", "b"])]
    assert [(row.photographs, row.method) for row in results.rows] == [
        ("judged", "one"),
        ("judged", "two"),
        ("trained", "two"),
    ]


def test_methods_take_turns(monkeypatch):
    """So that a machine which becomes slower does so for all; what fails late leaves nothing behind."""
    calls = []
    fill = fake_fill(calls)

    def fill_or_fail(method, cases, limit):
        if method == "late" and cases[0].name == "c":
            raise RuntimeError("late: too late")
        return fill(method, cases, limit)

    monkeypatch.setattr(race, "fill", fill_or_fail)
    cases = {"judged": [make_case("a"), make_case("b")], "trained": [make_case("c"), make_case("d")]}
    cases["trained"].append(make_case("e"))
    results = race.race(cases, ["late", "one", "two"], Kept(None), 1, {"trained": ["late", "two"]}, turn=2)
    assert calls == [
        *((method, ["a", "b"]) for method in ("late", "one", "two")),
        ("two", ["c", "d"]),
        ("two", ["e"]),
    ]
    assert results.left_out == ["late: too late"]
    assert {(row.method, row.case) for row in results.rows} == {
        (method, case) for case, method in results.pictures
    }
    assert {row.method for row in results.rows} == {"one", "two"}
    assert len(results.rows) == 7


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
