"""A run killed within a save goes on with its checkpoint's model, and without what the kill left."""

import functools
import json
import os
import shutil
import signal

import pytest
import torch
from helpers.runs import assert_equal, forkserver, make_trainer, tiny

from contextual_attention.cli import main
from contextual_attention.files import UNFINISHED
from contextual_attention.models.network.generator import InpaintGenerator
from contextual_attention.models.training.checkpoint import Checkpoints, load_checkpoint
from contextual_attention.models.training.run_log import RunLog
from contextual_attention.models.training.settings import to_dict

# What a save moves to its place: a checkpoint's part, parts.json and the folder of both; then config.json,
# README.md and model.safetensors, or for these the folder model/ where there is none; then these of best/,
# and validation.json.
MOVES = 10
MEASURED = {"validation__path": "procedural:5", "validation__samples": "5", "validation__every": "1"}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run of one step that has been measured and saved."""
    out = tmp_path_factory.mktemp("finished")
    (out / "config.json").write_text(json.dumps(to_dict(tiny(steps="1", **MEASURED))))
    assert make_trainer(out, steps="1", **MEASURED).run()
    return out


def save_and_die(out, move, has_a_model):
    """Take the second step, a better one, and die when the save is about to move something to its place."""
    trainer = make_trainer(out, resume=True, steps="2", **MEASURED)
    if not has_a_model:
        shutil.rmtree(out / "model")
    moved = []

    def counted(then, source, target):
        moved.append(target)
        if len(moved) == move:
            os.kill(os.getpid(), signal.SIGKILL)
        then(source, target)

    trainer.iterate()
    log = RunLog(out, 1)
    trainer.validation.measure = lambda _: {"hole_l1": 0.0, "hole_psnr": 100.0}
    trainer.validation.after(2, trainer.average.module, log)
    os.replace, os.rename = (functools.partial(counted, then) for then in (os.replace, os.rename))
    trainer.save()


def unfinished(folder):
    return [path.name for path in folder.rglob(f"{UNFINISHED}*")]


def assert_models_are_of_the_newest_checkpoint(out, step):
    state = load_checkpoint(Checkpoints(out / "checkpoints", keep=9).newest())
    assert state["step"] == step
    model = InpaintGenerator.from_pretrained(out / "model")
    for name, weight in model.state_dict().items():
        assert torch.equal(weight, state["average"][f"module.{name}"]), name
    assert state["best"]["step"] == step
    assert_equal(InpaintGenerator.from_pretrained(out / "best").state_dict(), state["best"]["weights"])
    assert json.loads((out / "best" / "validation.json").read_text())["step"] == step


@pytest.mark.parametrize(
    ("move", "had_a_model"), [*((move, True) for move in range(1, MOVES + 1)), (4, False)]
)
def test_killed_before_each_move_of_a_save(finished, tmp_path, move, had_a_model):
    out = shutil.copytree(finished, tmp_path / "run")
    process = forkserver().Process(target=save_and_die, args=(out, move, had_a_model))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert unfinished(out) != []
    reached = 1 if move <= 3 else 2
    assert make_trainer(out, resume=True, steps="2", **MEASURED).step == reached
    assert unfinished(out) == []
    assert_models_are_of_the_newest_checkpoint(out, reached)


@pytest.mark.parametrize("left", [None, "nothing in it", "half a model", "another model"])
def test_a_finished_run_gets_its_model_back(finished, tmp_path, capsys, left):
    out = shutil.copytree(finished, tmp_path / "run")
    model = out / "model"
    if left == "half a model":
        os.truncate(model / "model.safetensors", 1000)
    elif left == "another model":
        InpaintGenerator(cnum=4).save_pretrained(model)
    else:
        shutil.rmtree(model)
        if left is not None:
            model.mkdir()
    (out / f"{UNFINISHED}0123").mkdir()
    (out / f"{UNFINISHED}0123" / "config.json").touch()
    assert main(["train", "--resume", "--out", str(out), "--accelerator", "cpu"]) == 0
    assert "step 1 of 1: finished; the model is" in capsys.readouterr().out
    assert unfinished(out) == []
    assert_models_are_of_the_newest_checkpoint(out, 1)
