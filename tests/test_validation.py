"""Validation: what is measured on which crops, which generator is kept as the best, and going on with it."""

import json
import os
import shutil

import numpy as np
import pytest
import torch
from helpers import layouts
from helpers.runs import assert_equal, losses, make_trainer, tiny
from lightning_fabric import Fabric
from PIL import Image

from contextual_attention.models.data.sources import ProceduralPictures
from contextual_attention.models.evaluation.evaluate import evaluate
from contextual_attention.models.network.generator import InpaintGenerator
from contextual_attention.models.network.pretrained import load_model, model_folder
from contextual_attention.models.training.checkpoint import CheckpointError, Checkpoints, load_checkpoint
from contextual_attention.models.training.run_log import read_validation
from contextual_attention.models.training.validation import Validation, held_out_samples

# Five procedural pictures, seven crops of them: two are taken twice.
HELD_OUT = {"validation__path": "procedural:5", "validation__samples": "7", "validation__every": "1"}


def make_validation(**changes):
    return Validation(tiny(**HELD_OUT | changes), Fabric(accelerator="cpu", devices=1))


def generator():
    torch.manual_seed(0)
    return InpaintGenerator(tiny().generator).eval()


def images(validation):
    return torch.cat([batch.image for batch in validation.batches])


def masks(validation):
    return torch.cat([batch.mask for batch in validation.batches])


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """A folder of five pictures."""
    folder = tmp_path_factory.mktemp("pictures")
    noise = np.random.default_rng(0)
    for name in "abcde":
        Image.fromarray(noise.integers(0, 256, (40, 48, 3), np.uint8)).save(folder / f"{name}.png")
    return folder


@pytest.fixture(scope="module")
def whole_run(pictures, tmp_path_factory):
    """Four steps in one go, measured after every second, on a folder."""
    out = tmp_path_factory.mktemp("whole")
    assert make_trainer(out, **asked(pictures)).run()
    return out


def asked(pictures):
    return {"validation__path": str(pictures), "validation__samples": "7", "validation__every": "2"}


def planned(monkeypatch, *errors):
    """Measurements that come out as planned."""
    coming = iter(errors)
    figures = lambda *_: {"hole_l1": next(coming), "hole_psnr": 20.0}  # noqa: E731
    monkeypatch.setattr(Validation, "measure", figures)


# ------------------------------------------------------------------------------------------------------------
# What is measured


def test_figures_are_those_of_the_formulas():
    """With the command evaluate for the l1, and NumPy, a sample at a time, for the PSNR; in three batches."""
    validation, network = make_validation(validation__samples="35"), generator()
    assert [len(batch.image) for batch in validation.batches] == [16, 16, 3]
    figures = validation.measure(network)
    decibels, percent = [], []
    with torch.no_grad():
        completed = network(images(validation), masks(validation)).completed.double().numpy()
    for made, image, mask in zip(
        completed, images(validation).numpy(), masks(validation).numpy(), strict=True
    ):
        hole = np.broadcast_to(mask, image.shape)
        error = made[hole] - image.astype(np.float64)[hole]
        decibels.append(10 * np.log10(2**2 / np.mean(error**2)))
        percent.append(100 * np.mean(np.abs(error)) / 2)
    assert figures["hole_psnr"] == pytest.approx(np.mean(decibels), rel=1e-5)  # float32 against float64
    assert figures["hole_l1"] == pytest.approx(np.mean(percent), rel=1e-5)


def test_the_error_is_that_of_the_command_evaluate():
    config, network = tiny(**HELD_OUT | {"validation__samples": "5"}), generator()
    figures = Validation(config, Fabric(accelerator="cpu", devices=1)).measure(network)
    complete = lambda image, mask: network(image, mask).completed  # noqa: E731
    scores = evaluate({"network": complete}, held_out_samples(config)).values["network"]["hole l1 %"]
    assert figures["hole_l1"] == pytest.approx(sum(scores) / len(scores), rel=1e-5)


def test_a_perfect_hole_is_100_decibels():
    class Perfect:
        def __call__(self, image, mask):
            return type("Result", (), {"completed": image})

    assert make_validation().measure(Perfect()) == {"hole_l1": 0, "hole_psnr": pytest.approx(100)}


def test_crops_and_holes_are_the_same_whatever_the_run():
    one, other = make_validation(), make_validation(seed="7", data__flip="true", optimiser__batch="2")
    assert torch.equal(images(one), images(other))
    assert torch.equal(masks(one), masks(other))
    # Sizes and kinds are the run's own.
    boxes = make_validation(masks__box="6", masks__shrink="0", data__size="32")
    assert images(boxes).shape == (7, 3, 32, 32)
    assert (masks(boxes).sum((1, 2, 3)) == 36).all()


def test_pictures_are_taken_again_with_other_crops_and_holes(pictures):
    validation = make_validation(**asked(pictures))
    every = images(validation)
    assert validation.pictures == 5
    assert len(every) == 7
    assert len({image.numpy().tobytes() for image in every}) == 7
    assert len({mask.numpy().tobytes() for mask in masks(validation)}) > 4
    # The last two are of the first two pictures, of which the first are taken where there are more.
    first = images(make_validation(**asked(pictures) | {"validation__samples": "3"}))
    assert torch.equal(first, every[:3])


def test_crops_are_not_mirrored():
    """Pictures that grow brighter to the right still do."""
    samples = held_out_samples(tiny(**HELD_OUT, data__flip="true"))

    class Ramps(ProceduralPictures):
        def read(self, index):
            return torch.arange(36, dtype=torch.uint8).expand(3, 36, 36)

    samples.source = Ramps(5, 36)
    crops = [samples[epoch, index].image for epoch in range(4) for index in range(5)]
    assert all((crop.diff(dim=2) >= 0).all() for crop in crops)


def test_the_pictures_of_a_published_data_set_are_those_for_validation(tmp_path):
    layouts.celeba(tmp_path)
    said = []
    config = tiny(**HELD_OUT | {"validation__path": str(tmp_path)})
    assert len(held_out_samples(config, said.append)) == 1
    assert "CelebA, split val: 1 of 19,867 pictures" in said[0]
    assert len(held_out_samples(tiny(validation__path=str(tmp_path), validation__split="test"))) == 2
    plain = tiny(validation__path=str(tmp_path), validation__layout="plain")
    assert len(held_out_samples(plain)) == 5


def test_broken_pictures_are_named_once(pictures, tmp_path, capsys):
    folder = shutil.copytree(pictures, tmp_path / "pictures")
    (folder / "b.png").write_text("no picture")
    make_validation(validation__path=str(folder), validation__samples="17")
    said = capsys.readouterr().out.splitlines()
    assert len(said) == 1
    assert said[0].startswith(f"validation: skipped: {folder}/b.png")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"validation__path": "nowhere"}, "validation: data: no pictures at 'nowhere'"),
        ({"validation__split": "test"}, "validation: split: no published data set is recognised"),
        ({"validation__every": "0"}, r"validation\.every: expected at least 1, got 0"),
        ({"validation__samples": "0"}, r"validation\.samples: expected at least 1, got 0"),
        ({"validation__layout": "odd"}, r"validation\.layout: expected one of"),
    ],
)
def test_what_is_refused(changes, says):
    with pytest.raises(ValueError, match=says):
        make_validation(**changes)


# ------------------------------------------------------------------------------------------------------------
# What a run makes of it


def test_a_run_that_is_measured_computes_what_another_does(whole_run, tmp_path):
    assert make_trainer(tmp_path).run()
    assert losses(tmp_path) == losses(whole_run)
    assert not (tmp_path / "validation.jsonl").exists()
    assert not (tmp_path / "best").exists()
    last = os.path.join("checkpoints", "step_000000004.ckpt")
    one, other = load_checkpoint(whole_run / last), load_checkpoint(tmp_path / last)
    assert one.pop("best") is not None
    assert other.pop("best") is None
    assert one.pop("config").pop("validation") != other.pop("config").pop("validation")
    assert_equal(one, other)


def test_figures_are_logged_and_reported(whole_run, pictures, tmp_path):
    reported = {}
    trainer = make_trainer(tmp_path, **asked(pictures))
    trainer.run(report=lambda step, terms: reported.update({step: terms}))
    lines = read_validation(tmp_path)
    assert [line["step"] for line in lines] == [2, 4]
    assert lines[-1]["hole_l1"] == trainer.validation.measure(trainer.average.module)["hole_l1"]
    assert all(line["seconds"] > 0 for line in lines)
    for line in lines:
        assert reported[line["step"]]["validation_hole_l1"] == line["hole_l1"]
        assert reported[line["step"]]["validation_hole_psnr"] == line["hole_psnr"]
    assert "hole_l1" in reported[1]
    assert "validation_hole_l1" not in reported[1]


def test_the_best_is_kept(tmp_path, monkeypatch):
    """Of five measurements the second is the least; the fourth is as good, and comes later."""
    planned(monkeypatch, 9.0, 7.0, 8.0, 7.0, float("nan"))
    trainer, averages = make_trainer(tmp_path, steps="5", save_every="1", **HELD_OUT), {}
    take = lambda step, _: averages.update({step: state_of(trainer.average.module)})  # noqa: E731
    assert trainer.run(report=take)
    assert json.loads((tmp_path / "best/validation.json").read_text()) == {
        "step": 2, "hole_l1": 7.0, "hole_psnr": 20.0, "pictures": 7,
    }  # fmt: skip
    assert model_folder(tmp_path) == tmp_path / "model"
    assert_equal(state_of(load_model(tmp_path / "best")), averages[2])
    assert_equal(state_of(load_model(tmp_path)), averages[5])
    best = load_checkpoint(trainer.checkpoints.newest())["best"]
    assert_equal(dict(best["weights"]), averages[2])


def state_of(network):
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


def test_what_is_no_number_is_never_the_best(tmp_path, monkeypatch):
    planned(monkeypatch, float("nan"), 9.0)
    trainer = make_trainer(tmp_path, steps="2", **HELD_OUT)
    trainer.run(1)
    assert trainer.validation.best is None
    trainer.run(2)
    assert trainer.validation.best.step == 2


def test_four_steps_are_two_and_two(whole_run, pictures, tmp_path):
    make_trainer(tmp_path, **asked(pictures)).run(2)
    assert make_trainer(tmp_path, resume=True, **asked(pictures)).run()
    last = os.path.join("checkpoints", "step_000000004.ckpt")
    assert_equal(load_checkpoint(tmp_path / last), load_checkpoint(whole_run / last))
    without_time = lambda out: [line | {"seconds": 0} for line in read_validation(out)]  # noqa: E731
    assert without_time(tmp_path) == without_time(whole_run)
    for file in ("validation.json", "model.safetensors", "config.json"):
        assert (tmp_path / "best" / file).read_bytes() == (whole_run / "best" / file).read_bytes()


@pytest.mark.parametrize("left", ["nothing", "half", "a later one"])
def test_the_best_is_made_once_more_of_the_checkpoint(tmp_path, monkeypatch, left):
    """A kill came before it was written, or after one that the run has to come to once more."""
    planned(monkeypatch, 9.0, 8.0)
    make_trainer(tmp_path, **HELD_OUT).run(1)
    before = {path.name: path.read_bytes() for path in (tmp_path / "best").iterdir()}
    if left == "nothing":
        shutil.rmtree(tmp_path / "best")
    elif left == "half":
        os.truncate(tmp_path / "best" / "model.safetensors", 100)
        (tmp_path / "best" / "validation.json").unlink()
    else:
        later = make_trainer(tmp_path, resume=True, **HELD_OUT)
        later.run(2)
        shutil.rmtree(later.checkpoints.newest())
    trainer = make_trainer(tmp_path, resume=True, **HELD_OUT)
    assert trainer.step == 1
    assert {path.name: path.read_bytes() for path in (tmp_path / "best").iterdir()} == before


def test_a_later_best_must_beat_that_of_the_checkpoint(tmp_path, monkeypatch):
    planned(monkeypatch, 7.0, 8.0, 6.0)
    make_trainer(tmp_path, **HELD_OUT).run(1)
    resumed = make_trainer(tmp_path, resume=True, **HELD_OUT)
    resumed.run(2)
    assert resumed.validation.best.step == 1
    resumed.run(3)
    assert resumed.validation.best.step == 3


def test_what_may_change_when_a_run_is_resumed(pictures, tmp_path, monkeypatch):
    make_trainer(tmp_path, **asked(pictures)).run(2)
    moved = shutil.copytree(pictures, tmp_path / "moved")
    resumed = make_trainer(tmp_path, resume=True, **asked(moved) | {"validation__every": "1"})
    resumed.run(3)
    assert [line["step"] for line in read_validation(tmp_path)] == [2, 3]
    # Without pictures nothing is measured, and the best stays.
    off = make_trainer(tmp_path, resume=True, **asked(pictures) | {"validation__path": ""})
    best = off.validation.best.figures
    off.run(4)
    assert [line["step"] for line in read_validation(tmp_path)] == [2, 3]
    assert load_checkpoint(off.checkpoints.newest())["best"]["figures"] == best
    (moved / "a.png").unlink()
    with pytest.raises(ValueError, match="validation: the run was measured on 5 pictures, but there are 4;"):
        make_trainer(tmp_path, resume=True, **asked(moved))
    with pytest.raises(ValueError, match=r"validation\.samples: 7 became 8 since the checkpoint"):
        make_trainer(tmp_path, resume=True, **asked(pictures) | {"validation__samples": "8"})


@pytest.mark.parametrize("change", [lambda best: best.pop("weights"), lambda best: best["weights"].popitem()])
def test_a_best_of_something_else_is_named(whole_run, pictures, tmp_path, change):
    state = load_checkpoint(whole_run / "checkpoints" / "step_000000004.ckpt")
    change(state["best"])
    Checkpoints(tmp_path / "checkpoints", keep=1).save(4, state)
    with pytest.raises(CheckpointError, match=r"step_000000004\.ckpt: not the state of this run"):
        make_trainer(tmp_path, resume=True, **asked(pictures))
