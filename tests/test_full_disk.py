"""A disk that is full at any moment of writing: one line, status 2, nothing half written.

In a process of its own, whose files may not grow beyond a bound: a write beyond it fails as on a full disk.
"""

import contextlib
import io
import os
import resource
import signal
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest
from helpers.runs import forkserver
from test_damaged_files import CHECKPOINTS, photograph, write_mask

from contextual_attention.cli import main
from contextual_attention.files import UNFINISHED
from contextual_attention.models.network.pretrained import load_model
from contextual_attention.models.training.checkpoint import Checkpoints, load_checkpoint


def convert():
    Path("model.pt").write_bytes(CHECKPOINTS["model.pt"]())
    return ["convert", "model.pt", "out"]


def inpaint():
    photograph().save("photo.png")
    write_mask("mask.png")
    return ["inpaint", "photo.png", "mask.png", "-o", "out.bmp"]


def evaluate():
    photograph().save("photo.png")
    return ["evaluate", "--data", "photo.png", "--size", "16", "--method", "mean", "--output", "out.json"]


def train():
    settings = ("data.size=24", "data.pictures=10", "masks.box=12", "masks.shrink=6", "generator.cnum=2",
                "critics.local=4,4,4,4", "critics.whole=4,4,4,4", "optimiser.batch=2")  # fmt: skip
    sets = [f"--set={each}" for each in settings]
    return ["train", "--out", "run", "--accelerator", "cpu", "--preset", "small", "--steps", "1", *sets]


def resume():
    """A run of one step, to which another is to be added."""
    with contextlib.redirect_stdout(io.StringIO()):
        assert main(train()) == 0
    return ["train", "--out", "run", "--accelerator", "cpu", "--resume", "--steps", "2"]


# Each with the numbers of bytes after which the disk is full, and the file that does not fit then.
SCENES = {
    convert: {0: "out", 600: "out", 30_000: "out"},
    inpaint: {0: "out.bmp", 600: "out.bmp"},
    evaluate: {0: "out.json", 600: "out.json"},
    train: {0: "run/config.json", 10_000: "run/checkpoints/step_000000001.ckpt"},
    resume: {0: "run/model", 100_000: "run/checkpoints/step_000000002.ckpt"},
}


def play(scene: Callable[[], list[str]], bound: int, folder: Path) -> tuple[int, str]:
    os.chdir(folder)
    arguments = scene()
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # the write fails then, and the process goes on
    resource.setrlimit(resource.RLIMIT_FSIZE, (bound, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
    complained = io.StringIO()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(complained):
        status = main(arguments)
    return status, complained.getvalue()


@pytest.fixture(scope="module")
def pool():
    with ProcessPoolExecutor(1, mp_context=forkserver(), max_tasks_per_child=1) as pool:
        yield pool


@pytest.mark.parametrize(
    ("scene", "bound", "file"),
    [(scene, bound, file) for scene, files in SCENES.items() for bound, file in files.items()],
)
def test_one_line_and_nothing_half_written(pool, tmp_path, scene, bound, file):
    status, complained = pool.submit(play, scene, bound, tmp_path).result()
    assert status == 2
    (line,) = complained.splitlines()
    assert ": error: " in line
    assert "File too large" in line
    assert file in line
    assert list(tmp_path.rglob(f"{UNFINISHED}*")) == []
    assert list(tmp_path.glob("out*")) == []
    if scene is resume:  # what was there is whole
        newest = Checkpoints(tmp_path / "run/checkpoints", keep=9).newest()
        assert load_checkpoint(newest)["step"] == 1
        assert load_model(tmp_path / "run").config.cnum == 2
