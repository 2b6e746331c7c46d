"""Checkpoints: whole or absent whenever the process dies, the newest kept, damage named."""

import io
import os
import signal
import time
from pathlib import Path

import pytest
import torch
from helpers.runs import forkserver

from contextual_attention.files import clear_unfinished, remove
from contextual_attention.models.training import checkpoint
from contextual_attention.models.training.checkpoint import CheckpointError, Checkpoints, load_checkpoint


def test_keeps_the_newest(tmp_path):
    checkpoints = Checkpoints(tmp_path / "run", keep=2)
    assert checkpoints.newest() is None
    for step in (3, 20, 100):
        checkpoints.save(step, {"step": step, "weight": torch.full((3,), float(step))})
    assert sorted(path.name for path in checkpoints.folder.iterdir()) == [
        "step_000000020.ckpt",
        "step_000000100.ckpt",
    ]
    state = load_checkpoint(checkpoints.newest())
    assert state["step"] == 100
    assert torch.equal(state["weight"], torch.full((3,), 100.0))


def test_other_files_are_no_checkpoints(tmp_path):
    (tmp_path / "best.ckpt").touch()
    assert Checkpoints(tmp_path, keep=1).newest() is None


def save_for_ever(folder):
    checkpoints = Checkpoints(folder, keep=2)
    weight = torch.arange(500_000.0)
    step = 0
    while True:
        step += 1
        checkpoints.save(step, {"step": step, "weight": weight})


def test_a_kill_at_any_moment_leaves_whole_checkpoints(tmp_path):
    """Killed eight times, at moments spread over several saves."""
    checkpoints = Checkpoints(tmp_path, keep=2)
    for wait in range(8):
        process = forkserver().Process(target=save_for_ever, args=(tmp_path,))
        process.start()
        while checkpoints.newest() is None:
            assert process.is_alive()
            time.sleep(0.005)
        time.sleep(0.003 * wait)
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        saved = sorted(tmp_path.glob("step_*.ckpt"))
        assert 1 <= len(saved) <= 3  # a third where the kill came before the oldest was removed
        for path in saved:
            state = load_checkpoint(path)
            assert path.name == f"step_{state['step']:09d}.ckpt"
            assert torch.equal(state["weight"], torch.arange(500_000.0))
            remove(path)
    clear_unfinished(tmp_path)
    checkpoints.save(1, {})
    assert [path.name for path in tmp_path.iterdir()] == ["step_000000001.ckpt"]  # nothing unfinished remains


def test_parts_are_of_16_mib_at_most(tmp_path):
    assert checkpoint.PART_BYTES == 16 * 2**20
    weight = torch.randn(9_000_000)  # 36 MB
    path = Checkpoints(tmp_path, keep=1).save(5, {"weight": weight})
    sizes = {file.name: file.stat().st_size for file in path.iterdir()}
    assert sorted(sizes) == ["part_0001", "part_0002", "part_0003", "parts.json"]
    assert sizes["part_0001"] == sizes["part_0002"] == 16 * 2**20
    assert sum(sizes.values()) > 36_000_000
    assert torch.equal(load_checkpoint(path)["weight"], weight)


@pytest.fixture
def divided(tmp_path, monkeypatch):
    """A checkpoint of many parts of a thousand bytes."""
    monkeypatch.setattr(checkpoint, "PART_BYTES", 1000)
    path = Checkpoints(tmp_path, keep=1).save(5, {"weight": torch.arange(2000)})
    assert len(list(path.glob("part_*"))) > 16
    return path


def test_a_checkpoint_of_many_parts(divided):
    assert max(file.stat().st_size for file in divided.glob("part_*")) == 1000
    assert torch.equal(load_checkpoint(divided)["weight"], torch.arange(2000))


def test_a_full_disk_where_parts_are_put_together(divided, monkeypatch):
    """Told with the name of the file there: the run's own folder may have room."""

    class Full(io.BytesIO):
        def write(self, _):
            raise OSError(28, "No space left on device")

    opened = Path.open
    monkeypatch.setattr(
        Path, "open", lambda path, mode="r", *a: Full() if mode == "wb" else opened(path, mode, *a)
    )
    expected = rf"No space left on device: '(?!{divided.parent}).*step_000000005\.ckpt'"
    with pytest.raises(OSError, match=expected):
        load_checkpoint(divided)


def test_saving_the_same_step_once_more(divided):
    Checkpoints(divided.parent, keep=1).save(5, {"weight": torch.zeros(3)})
    assert [path.name for path in divided.parent.iterdir()] == [divided.name]
    assert torch.equal(load_checkpoint(divided)["weight"], torch.zeros(3))


def exchange(path):
    second, third = path / "part_0002", path / "part_0003"
    for source, target in ((second, path / "other"), (third, second), (path / "other", third)):
        source.rename(target)


def a_pipe(path):
    (path / "part_0002").unlink()
    os.mkfifo(path / "part_0002")


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (
            lambda path: (path / "part_0002").write_bytes(b""),
            "part_0002: not the 1000 bytes that were written",
        ),
        (lambda path: os.truncate(path / "part_0002", 999), "part_0002: not the 1000 bytes"),
        (lambda path: (path / "part_0002").write_bytes(bytes(1000)), "part_0002: not the 1000 bytes"),
        (lambda path: (path / "part_0002").unlink(), "part_0002 is missing"),
        (a_pipe, "part_0002 is missing"),
        (exchange, "part_0002: not the 1000 bytes"),
        (lambda path: (path / "parts.json").unlink(), r"parts\.json is missing"),
        (lambda path: (path / "parts.json").write_text("{"), r"parts\.json: Expecting property name"),
        (lambda path: (path / "parts.json").write_text("[]"), r"parts\.json: list indices"),
        (lambda path: (path / "parts.json").write_text('{"parts": [{}]}'), r"parts\.json: 'bytes'"),
        (lambda path: (path / "parts.json").write_bytes(b"\xff" * 9), r"parts\.json: 'utf-8'"),
        (lambda path: (path / "parts.json").write_text('{"parts": []}'), "it is empty"),
    ],
)
def test_damage_is_named(divided, damage, says):
    damage(divided)
    expected = rf"step_000000005\.ckpt: damaged \({says}.*\); remove it to go on from the checkpoint before"
    with pytest.raises(CheckpointError, match=expected):
        load_checkpoint(divided)


def test_a_checkpoint_of_one_file(tmp_path):
    """As they were before they were divided: read, counted and removed like the others."""
    checkpoints = Checkpoints(tmp_path, keep=2)
    torch.save({"step": 3}, tmp_path / "step_000000003.ckpt")
    assert load_checkpoint(checkpoints.newest())["step"] == 3
    for step in (4, 5):
        checkpoints.save(step, {"step": step})
    assert len(list(tmp_path.iterdir())) == 2
    assert load_checkpoint(checkpoints.newest())["step"] == 5


@pytest.mark.parametrize("content", [b"", b"not a checkpoint"])
def test_damage_of_one_file_is_named(tmp_path, content):
    (tmp_path / "step_000000005.ckpt").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"step_000000005\.ckpt: damaged .*from the checkpoint before"):
        load_checkpoint(tmp_path / "step_000000005.ckpt")


class Evil:
    def __reduce__(self):
        return os.mkdir, ("evil",)


def test_a_checkpoint_cannot_run_code(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = Checkpoints(tmp_path, keep=1).save(1, {"weight": Evil()})
    with pytest.raises(CheckpointError, match=rf"{path}: damaged \("):
        load_checkpoint(path)
    assert not (tmp_path / "evil").exists()
