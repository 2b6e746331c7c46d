"""The command that trains the structure network: what it holds out, in which precision, what it draws."""

import json
from pathlib import Path

import numpy as np
import pytest
from helpers.runs import SETTINGS
from PIL import Image

from contextual_attention.models.training.run_log import read_losses, read_validation
from tools.photographs import BUNDLED
from tools.structure import train
from tools.structure.photographs import training_photographs

TINY = [f"--set={name}={text}" for name, text in SETTINGS.items()]
TINY += ["--set=validation.samples=3", "--set=validation.every=2", "--set=data.workers=0"]


@pytest.fixture(scope="module")
def packages(tmp_path_factory):
    """Where lxqt-themes is unpacked, with small pictures of the listed names; one is as large as they are."""
    folder = tmp_path_factory.mktemp("packages")
    for number, one in enumerate(
        photograph for photograph in train.VALIDATION if photograph.package != BUNDLED
    ):
        file = folder / one.package / one.file
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (64, 48) if number else (2000, 1000), (20 * number, 80, 40)).save(file)
    return folder


@pytest.fixture
def small_list(monkeypatch):
    """Three photographs, so that they are soon read."""
    monkeypatch.setattr(train, "VALIDATION", train.VALIDATION[-3:])


def run(out, packages, *arguments):
    photographs = out.parent / "photographs"
    photographs.mkdir(exist_ok=True)
    for name in "abc":
        Image.new("RGB", (40, 40), "red").save(photographs / f"{name}.png")
    given = ["--photographs", str(photographs), "--validation", str(packages), "--out", str(out)]
    train.main([*given, *arguments])


def test_what_is_held_out_is_not_trained_on():
    names = {(one.package, one.file) for one in train.VALIDATION}
    assert len(names) == len(train.VALIDATION) == 21
    assert {package for package, _ in names} == {BUNDLED, "lxqt-themes"}
    assert not names & {(one.package, one.file) for one in training_photographs()}


def test_held_out_photographs_are_made_smaller(packages, tmp_path):
    train.write_validation(train.VALIDATION, packages, tmp_path / "validation")
    sizes = {path.stem: Image.open(path).size for path in (tmp_path / "validation").iterdir()}
    assert sizes.keys() == {one.name for one in train.VALIDATION}
    assert max(max(size) for size in sizes.values()) == 1024
    assert sizes["after-the-rain"] == (1024, 512)
    assert sizes["fog"] == (64, 48)


def test_from_photographs_to_weights_and_pictures(packages, tmp_path, small_list, capsys):
    out = tmp_path / "run"
    run(out, packages, "--minutes", "60", "--preset", "small", *TINY)
    said = capsys.readouterr().out
    assert "step 4 of 4: finished" in said
    assert f"{out}/curve.png, {out}/sheet.png" in said
    config = json.loads((out / "config.json").read_text())
    assert config["validation"]["path"] == str(out / "validation")
    assert len(list((out / "validation").iterdir())) == 3
    assert config["precision"] == train.choose_precision()[0]
    assert f"precision: {config['precision']}, for " in said
    with Image.open(out / "sheet.png") as sheet:
        assert sheet.size == (5 * 26, 3 * 26)  # input, coarse, completed, original, attention; gaps of 2
    with Image.open(out / "curve.png") as curve:
        assert curve.width > 600
    before = (out / "curve.png").read_bytes()
    run(out, packages, "--minutes", "60", "--preset", "small", "--resume", "--set=steps=6")
    assert [line["step"] for line in read_losses(out)] == [1, 2, 3, 4, 5, 6]
    assert [line["step"] for line in read_validation(out)] == [2, 4, 6]
    assert (out / "curve.png").read_bytes() != before


def test_a_run_that_ends_before_it_was_measured_has_its_pictures(packages, tmp_path, small_list):
    out = tmp_path / "run"
    run(out, packages, "--minutes", "1e-6", "--preset", "small", *TINY)
    assert not (out / "best").exists()
    assert (out / "curve.png").is_file()
    assert (out / "sheet.png").is_file()


def test_errors_end_it(packages, tmp_path, small_list, capsys):
    with pytest.raises(SystemExit) as ended:
        run(tmp_path / "run", packages, "--minutes", "1", "--preset", "magic")
    assert ended.value.code == 2
    assert "--preset: expected one of" in capsys.readouterr().err
    with pytest.raises(SystemExit, match=r"No such file or directory: .*nowhere/lxqt-themes"):
        run(tmp_path / "other", Path("nowhere"), "--minutes", "1")


@pytest.mark.parametrize(
    ("has_gpu", "flags", "precision", "why"),
    [
        (True, "", "bf16-mixed", "there is a GPU"),
        (False, "avx512f avx512_bf16 amx_bf16", "bf16-mixed", "the processor has avx512_bf16"),
        (False, "avx512f amx_bf16", "bf16-mixed", "the processor has amx_bf16"),
        (False, "avx512f avx512_bf16x", "32-true", "there is no GPU, and the processor has neither"),
        (False, None, "32-true", "there is no GPU, and the processor has neither"),
    ],
)
def test_precision(monkeypatch, tmp_path, has_gpu, flags, precision, why):
    monkeypatch.setattr("torch.cuda.is_available", lambda: has_gpu)
    monkeypatch.setattr(train, "_CPU", tmp_path / "cpuinfo")
    if flags is not None:
        (tmp_path / "cpuinfo").write_text(f"flags : fpu {flags}\n")
    chosen, said = train.choose_precision()
    assert chosen == precision
    assert said.startswith(why)


def test_smoothed_losses_are_means_of_parts():
    losses = [{"step": step, "hole_l1": float(step)} for step in range(1, 1001)]
    steps, means = train.smoothed(losses, "hole_l1")
    assert steps == list(range(5, 1001, 5))
    assert means == [step - 2 for step in steps]
    # Steps without the term are left out; of a few each is a part.
    assert train.smoothed(
        [{"step": 1}, {"step": 2, "hole_l1": 3.0}, {"step": 4, "hole_l1": 5.0}], "hole_l1"
    ) == (
        [2, 4],
        [3.0, 5.0],
    )


def test_hours_and_steps_are_each_others_inverse():
    """A run whose later steps take twice as long."""
    steps, hours = np.array([1, 2, 3, 4]), np.array([1.0, 2.0, 4.0, 6.0])
    there, back = train._along(steps, hours), train._along(hours, steps)
    assert there(np.array([0, 1, 2.5, 4])) == pytest.approx([0, 1, 3, 6])
    at = np.array([0, 0.5, 3.3, 4, 4.4])
    assert back(there(at)) == pytest.approx(at)
