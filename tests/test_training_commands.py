"""The commands train, evaluate and check-data, from the command line to the files they leave."""

import contextlib
import importlib
import itertools
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from helpers import layouts
from helpers.runs import FAMILIES
from PIL import Image

from contextual_attention.cli import main
from contextual_attention.commands.errors import CommandError
from contextual_attention.commands.needs import need
from contextual_attention.models.network.generator import InpaintGenerator
from contextual_attention.models.network.pretrained import load_model
from contextual_attention.models.training.presets import PRESETS
from contextual_attention.models.training.run_log import read_losses, read_validation
from contextual_attention.models.training.trainer import Trainer

TINY = [
    f"--set={setting}"
    for setting in (
        "data.size=24", "data.workers=0", "masks.box=12", "generator.cnum=2", "critics.local=4,4,4,4",
        "critics.whole=4,4,4,4", "optimiser.batch=2", "show_every=1", "save_every=1",
    )
]  # fmt: skip


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working folder with photos/: three pictures, one too small, and two broken ones."""
    monkeypatch.chdir(tmp_path)
    photos = tmp_path / "photos"
    photos.mkdir()
    noise = np.random.default_rng(0)
    for name, side in (("a.png", 40), ("b.jpg", 40), ("small.png", 12)):
        Image.fromarray(noise.integers(0, 256, (side, side + 8, 3), np.uint8)).save(photos / name)
    (photos / "cut.png").write_bytes((photos / "a.png").read_bytes()[:300])
    (photos / "text.jpg").write_text("no picture")
    return tmp_path


def train(*arguments):
    return main(["train", "--accelerator", "cpu", *TINY, *arguments])


def refused(capsys):
    """The one line that a refused command leaves on stderr, without what libraries warn of."""
    lines = [line for line in capsys.readouterr().err.splitlines() if "error: " in line]
    assert len(lines) == 1, lines
    return lines[0]


# ------------------------------------------------------------------------------------------------------------
# train and evaluate


def test_from_a_folder_of_photographs_to_a_table(folder, capsys):
    assert train("--data", "photos", "--out", "run", "--preset", "paper", "--steps", "2") == 0
    said = capsys.readouterr().out
    assert "step 2 of 2: finished; the model is run/model" in said
    assert "skipped, 1 so far: photos/" in said
    assert "skipped, 2 so far: photos/" in said
    assert [line["step"] for line in read_losses(folder / "run")] == [1, 2]
    assert json.loads((folder / "run/config.json").read_text())["optimiser"]["batch"] == 2
    with Image.open("run/samples/step_000000002.png") as grid:
        assert grid.size == (5 * 26, 4 * 26)  # input, coarse, completed, original, attention; gaps of 2

    assert train_again("--steps", "3") == 0
    assert [line["step"] for line in read_losses(folder / "run")] == [1, 2, 3]

    InpaintGenerator(cnum=2).save_pretrained("other")
    capsys.readouterr()
    outputs = [f"--output=table{ending}" for ending in (".md", ".csv", ".json")]
    methods = ["--model", "run", "--model", "other", "--method", "mean", "--method", "grey"]
    assert main(["evaluate", "--data", "photos", "--size", "32", *methods, *outputs]) == 0
    said = capsys.readouterr().out
    assert said.count("left out: photos/") == 2
    rows = json.loads((folder / "table.json").read_text())["rows"]
    assert [row["method"] for row in rows if row["holes"] == "all"] == ["mean", "grey", "run", "other"]
    assert all(row["pictures"] == 3 for row in rows)  # boxes of 16 in 32: all in one bin
    assert (folder / "table.md").read_text() in said
    assert (folder / "table.csv").read_text().startswith("method,holes,pictures,l1 %")


def train_again(*arguments):
    return main(["train", "--accelerator", "cpu", "--out", "run", "--resume", *arguments])


def test_a_dry_run_touches_nothing(folder, capsys):
    assert train("--out", "run", "--dry-run") == 0
    said = capsys.readouterr().out
    assert "optimiser.batch = 2\n" in said
    assert "loss.gamma = 0.99\n" in said
    assert "parameters: generator " in said
    assert not (folder / "run").exists()


def test_a_dry_run_says_the_settings_and_phases_of_the_preset(folder, capsys):
    assert main(["train", "--out", "run", "--preset", "iizuka", "--dry-run"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert "recipe = iizuka" in said
    assert "optimiser.completion_steps = 90000" in said
    assert "updates of each step from 1 to 90,000: 1 x generator" in said
    assert "updates of each step from 90,001 to 100,000: 1 x critics" in said
    assert "updates of each step from 100,001 to the last: 1 x critics, then 1 x generator" in said
    assert "parameters: generator 6,072,131, critics joint 45,063,681" in said
    assert not any(line.startswith("loss.gamma") for line in said)


def test_minutes_and_validation(folder, capsys, monkeypatch):
    """Two steps of an hour each, by a clock of its own, in the ninety minutes of a command; then the rest."""
    hours = itertools.count()
    clock = SimpleNamespace(monotonic=lambda: 3600.0 * next(hours))
    for module in ("commands.train", "models.training.stopping"):
        monkeypatch.setattr(f"contextual_attention.{module}.time", clock)
    measured = ["--set=validation.path=photos", "--set=validation.samples=2", "--set=validation.every=1"]
    assert train("--data", "photos", "--out", "run", "--steps", "4", "--minutes", "90", *measured) == 0
    said = capsys.readouterr().out
    assert "step 2 of 4: the 90 minutes are over; go on with --resume; the model is run/model\n" in said
    figures = [line["hole_l1"] for line in read_validation(folder / "run")]
    best = f"step {figures.index(min(figures)) + 1}, hole l1 {min(figures):.2f} %"
    assert f"the best by validation ({best}) is run/best\n" in said
    assert train_again("--minutes", "999") == 0
    assert "step 4 of 4: finished; the model is run/model\n" in capsys.readouterr().out
    assert [line["step"] for line in read_validation(folder / "run")] == [1, 2, 3, 4]
    assert main(["evaluate", "--data=photos", "--size=32", "--model=run/best"]) == 0


def test_the_figures_are_shown_until_there_are_others(folder, monkeypatch):
    shown = []

    @contextlib.contextmanager
    def progress(_title):
        yield lambda _share, text="": shown.append(text)

    monkeypatch.setattr("contextual_attention.commands.train.progress", progress)
    measured = ["--set=validation.path=photos", "--set=validation.samples=2", "--set=validation.every=2"]
    assert train("--data", "photos", "--out", "run", "--steps", "4", *measured) == 0
    _, *texts = [text.partition("validation: ")[2] for text in shown]
    expected = [
        f"hole l1 {x['hole_l1']:.2f} %  {x['hole_psnr']:.2f} dB" for x in read_validation(Path("run"))
    ]
    assert texts == ["", expected[0], expected[0], expected[1]]


@pytest.mark.parametrize("text", ["0", "-1", "inf", "nan", "many"])
def test_minutes_that_are_none(folder, capsys, text):
    with pytest.raises(SystemExit):
        train("--out", "run", "--minutes", text)
    assert "argument --minutes: " in capsys.readouterr().err


def test_another_system_from_photographs_to_its_model(folder, capsys, monkeypatch):
    """Through all three phases, whose steps have other terms to show."""
    shown = []

    @contextlib.contextmanager
    def progress(_title):
        yield lambda _share, text="": shown.append(text)

    monkeypatch.setattr("contextual_attention.commands.train.progress", progress)
    preset, settings = FAMILIES["iizuka"]
    sets = [f"--set={name}={text}" for name, text in settings.items()]
    assert main(["train", "--accelerator=cpu", "--data=photos", "--out=run", "--preset", preset, *sets]) == 0
    assert "step 4 of 4: finished; the model is run/model" in capsys.readouterr().out
    assert [re.sub(r"[\d.]+e?-?\d*", "N", text) for text in shown] == [
        "",
        "step N of N  hole lN N %",
        "step N of N  cross entropy N",
        *2 * ["step N of N  hole lN N %  cross entropy N"],
    ]
    assert load_model("run").system == "iizuka"
    assert main(["evaluate", "--data=photos", "--size=32", "--model=run"]) == 0
    assert "| run |" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--preset", "huge"], f"--preset: expected one of {', '.join(PRESETS)}, got huge"),
        (["--set", "recipe=iizuka"], "recipe: comes with a preset, here 'wasserstein'"),
        (["--set", "optimiser.rate=1"], "optimiser.rate: no such setting; known: data.path"),
        (["--set", "generator.padding=none"], "padding: expected one of 'mirror', 'same', 'zero'"),
        (["--data", "nowhere"], "data: no pictures at 'nowhere'; expected a folder"),
        (["--set", "optimiser.accumulate=3"], "optimiser.batch: expected a multiple of"),
        (["--resume"], "cannot change when a run is resumed"),
        (["--accelerator", "quantum"], "--accelerator quantum, --devices 1:"),
    ],
)
def test_what_train_refuses(folder, capsys, arguments, says):
    assert train("--out", "run", *arguments) == 2
    assert says in refused(capsys)


def test_what_resuming_refuses(folder, capsys):
    assert train_again() == 2
    assert "--resume: there is no run in run (no config.json)" in refused(capsys)
    assert train_again("--preset", "small") == 2
    assert "--preset: a resumed run has its configuration already" in refused(capsys)
    (folder / "run").mkdir()
    (folder / "run/config.json").write_text("{}")
    assert train_again() == 2
    assert "resume: there is no checkpoint in run/checkpoints" in refused(capsys)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "Expecting property name"),
        ("[1]", "TrainConfig: expected settings by name, got [1]"),
        ('{"data": 3}', "DataConfig: expected settings by name, got 3"),
        ('{"steps": "many"}', "'>=' not supported"),
    ],
)
def test_a_damaged_configuration_is_named(folder, capsys, text, says):
    (folder / "run").mkdir()
    (folder / "run/config.json").write_text(text)
    assert train_again() == 2
    assert f"--resume: run/config.json is not the configuration of a run: {says}" in refused(capsys)


def test_a_damaged_mask_ends_the_run_with_a_line(folder, capsys):
    """An OSError of a worker, which comes with the worker's traceback in its text."""
    masks = ["--set=masks.kind=folder", "--set=masks.folder=photos/text.jpg", "--set=data.workers=1"]
    assert train("--data", "photos", "--out", "run", *masks) == 2
    said = refused(capsys)
    assert "text.jpg: cannot be read as a picture" in said
    assert "Traceback" not in said


def test_what_a_dry_run_refuses(folder, capsys, monkeypatch):
    def refuse(*_):
        raise ValueError("critics: too large")

    monkeypatch.setattr("contextual_attention.models.training.estimate.describe", refuse)
    assert train("--out", "run", "--dry-run") == 2
    assert refused(capsys).endswith("error: critics: too large")


@pytest.mark.parametrize("workers", ["0", "1"])
def test_no_readable_picture_ends_the_run_with_a_line(folder, capsys, workers):
    assert train("--data", "photos/*t*", "--out", "run", "--set", f"data.workers={workers}") == 2
    assert "data: 50 pictures one after the other cannot be read" in refused(capsys)


def test_nan_ends_the_run_with_a_line(folder, capsys, monkeypatch):
    def poison(trainer):
        updates = iterate(trainer)
        if trainer.step == 2:
            updates[1]["whole_penalty"] = torch.tensor(float("nan"))
        return updates

    iterate = Trainer.iterate
    monkeypatch.setattr(Trainer, "iterate", poison)
    assert train("--data", "photos", "--out", "run") == 2
    assert refused(capsys).endswith(
        "error: step 2: the term whole_penalty of update 2 of the critics is nan; nothing is saved"
    )
    assert os.listdir("run/checkpoints") == ["step_000000001.ckpt"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "nothing to measure: give at least one --model or --method"),
        (["--method", "magic"], "--method magic: expected one of "),
        (["--model", "photos"], "photos is neither a training run"),
        (
            ["--method", "mean", "--output", "table.txt"],
            "--output table.txt: expected one of .md, .csv, .json",
        ),
        (["--method", "mean", "--output", "no/table.md"], "--output no/table.md: there is no folder no"),
        (
            ["--method", "mean", "--output", "t.md", "--output", "./t.md"],
            "table 2 (t.md) would overwrite table 1 (t.md)",
        ),
        (
            ["--model", "run", "--output", "run/model/config.json"],
            "table 1 (run/model/config.json) would overwrite the model's own run/model/config.json",
        ),
        (
            ["--method", "mean", "--masks", "bxo"],
            "--masks bxo: expected box, boxes, free-form, box-and-strokes, yu2019, "
            "mmagic-irregular, mmagic-box, otenim-box, centre, region, varied, or a folder of masks",
        ),
        (["--method", "mean", "--model", "run", "--method", "mean"], "mean: given twice"),
        (["--model", "run", "--method", "grey", "--model", "run"], "run: given twice"),
        (["--method", "mean", "--size", "8"], "data.size: expected at least 16"),
    ],
)
def test_what_evaluate_refuses(folder, capsys, arguments, says):
    assert main(["evaluate", "--data", "photos", *arguments]) == 2
    assert says in refused(capsys)


@pytest.mark.parametrize("masks", ["free-form", "boxes", "holes"])
def test_evaluate_takes_any_masks(folder, capsys, masks):
    (folder / "holes").mkdir()
    Image.fromarray(np.eye(20, dtype=np.uint8) * 255).save("holes/diagonal.png")
    arguments = ["--method", "mean", "--size", "24", "--masks", masks, "--limit", "2"]
    assert main(["evaluate", "--data", "procedural", *arguments]) == 0
    assert "| mean | all | 2 |" in capsys.readouterr().out


# ------------------------------------------------------------------------------------------------------------
# check-data


def test_check_data_counts_what_there_is(folder, capsys):
    (folder / "photos" / "notes.md").write_text("no picture")
    assert main(["check-data", "photos", "--size", "20"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "pictures: 3"
    assert "  48 x 40: 2" in said
    assert "  20 x 12: 1" in said
    assert "smaller than 20 pixels on a side: 1" in said
    assert "broken: 2" in said
    assert sum("photos/cut.png: cannot be read" in line for line in said) == 1
    assert sum("photos/text.jpg: cannot be read" in line for line in said) == 1
    assert said[-1] == "other files, which are no pictures: 1"


def test_check_data_reads_a_part_at_a_time(folder, capsys, monkeypatch):
    monkeypatch.setattr("contextual_attention.commands.check_data._AT_ONCE", 2)
    assert main(["check-data", "photos"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "pictures: 3"
    assert "broken: 2" in said


def test_check_data_passes_by_what_is_no_file(folder, capsys):
    """Pipes would be waited for, and links may lead in a circle or nowhere."""
    os.mkfifo("photos/pipe.png")
    os.mkdir("photos/folder.png")
    for link, target in (("circle.png", "circle.png"), ("nowhere.png", "/nowhere"), ("again", ".")):
        os.symlink(target, f"photos/{link}")
    os.rename("photos/text.jpg", "photos/two\nlines.jpg")
    assert main(["check-data", "photos"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "pictures: 3"
    assert "broken: 2" in said
    assert sum(line.startswith("  photos/two lines.jpg: cannot be read") for line in said) == 1


def test_names_of_files_that_are_no_text(folder):
    """In a process of its own, with a terminal's encoding: bytes of another one are written as such."""
    (folder / os.fsdecode(b"photos/caf\xe9.png")).write_bytes(b"no picture")
    command = [sys.executable, "-m", "contextual_attention", "check-data", "photos"]
    done = subprocess.run(command, capture_output=True, env=os.environ | {"PYTHONIOENCODING": "utf-8"})
    assert done.stderr == b""
    assert rb"photos/caf\udce9.png: cannot be read" in done.stdout


def test_check_data_refuses_what_is_not_there(folder, capsys):
    assert main(["check-data", "nowhere"]) == 2
    assert "no pictures at 'nowhere'" in refused(capsys)
    assert main(["check-data", "photos/*t*"]) == 2
    assert "none of the pictures can be read" in refused(capsys)


def test_check_data_says_which_data_set_and_what_is_missing(folder, capsys):
    layouts.places(folder / "places")
    (folder / "places/val_large/Places365_val_00000003.jpg").write_text("no picture")
    assert main(["check-data", "places", "--size", "16"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[:7] == [
        "data set: Places2, large (layout places2) in places",
        "  Places2, large, split train: 3 of 1,803,460 pictures, by data_large",
        "    missing: 1: data_large/c/canyon/00000003.jpg",
        "  Places2, large, split val: 2 of 36,500 pictures, by val_large",
        "    missing: 1: val_large/Places365_val_00000001.jpg",
        "  data: the split test of Places2, large is missing: no folder test_large in places "
        "(328,500 pictures)",
        "pictures: 4",
    ]
    assert "broken: 1" in said
    assert not any("other files" in line for line in said)


def test_check_data_of_a_split_or_another_layout(folder, capsys):
    layouts.places(folder / "places")
    layouts.dtd(folder / "places")
    assert main(["check-data", "places"]) == 2
    assert "holds more than one data set: places2" in refused(capsys)
    assert main(["check-data", "places", "--layout", "dtd", "--split", "val"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[:4] == [
        "data set: DTD (layout dtd) in places",
        "  DTD, split val: 1 of 1,880 pictures, by labels/val1.txt",
        "    missing: 1: images/dotted/dotted_0001.jpg",
        "pictures: 1",
    ]
    assert main(["check-data", "places", "--layout", "plain"]) == 0
    assert "pictures: 8" in capsys.readouterr().out
    assert main(["check-data", "photos", "--split", "val"]) == 2
    assert "no published data set is recognised at 'photos'" in refused(capsys)


def test_train_takes_the_training_pictures_and_evaluate_the_others(folder, capsys):
    layouts.celeba(folder / "faces")
    assert train("--data", "faces", "--out", "run", "--steps", "1") == 0
    line = "data: CelebA, split {}: {} pictures, by list_eval_partition.txt"
    assert line.format("train", "2 of 162,770") in capsys.readouterr().out
    arguments = ["evaluate", "--data", "faces", "--method", "mean", "--size", "16"]
    for split, number, options in (
        ("val", "1 of 19,867", []),
        ("test", "2 of 19,962", ["--split", "test"]),
    ):
        assert main([*arguments, *options]) == 0
        said = capsys.readouterr().out
        assert line.format(split, number) in said
        assert f"| mean | all | {number[0]} |" in said
    assert main([*arguments, "--layout", "plain"]) == 0
    said = capsys.readouterr().out
    assert "data:" not in said
    assert "| mean | all | 5 |" in said


def test_evaluate_measures_a_plain_folder_whole(folder, capsys):
    assert main(["evaluate", "--data", "photos", "--method", "mean", "--size", "16"]) == 0
    assert "data:" not in capsys.readouterr().out
    assert main(["evaluate", "--data", "photos", "--method", "mean", "--split", "val"]) == 2
    assert "no published data set is recognised at 'photos'" in refused(capsys)


# ------------------------------------------------------------------------------------------------------------
# Missing packages


def test_a_missing_package_is_named_with_its_extra(monkeypatch):
    def fail(name):
        raise ModuleNotFoundError(f"No module named {package!r}", name=package)

    monkeypatch.setattr(importlib, "import_module", fail)
    package = "lightning_fabric"
    with pytest.raises(CommandError, match=r'lightning_fabric: pip install "contextual_attention\[train\]"'):
        need("models.training.trainer", "train")
    package = "contextual_attention.models.training.trainer"  # a mistake of ours, not of the user
    with pytest.raises(ModuleNotFoundError):
        need("models.training.trainer", "train")
