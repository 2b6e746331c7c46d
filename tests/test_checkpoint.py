"""Checkpoints: whole or absent whenever the process dies, the newest kept, damage named."""

import os
import signal
import time

import pytest
import torch
from helpers.runs import forkserver

from contextual_attention.files import clear_unfinished
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
            path.unlink()
    clear_unfinished(tmp_path)
    checkpoints.save(1, {})
    assert [path.name for path in tmp_path.iterdir()] == ["step_000000001.ckpt"]  # nothing unfinished remains


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", None])
def test_damage_is_named(tmp_path, content):
    path = Checkpoints(tmp_path, keep=1).save(5, {"weight": torch.zeros(1000)})
    path.write_bytes(path.read_bytes()[:1000] if content is None else content)
    with pytest.raises(CheckpointError, match=r"step_000000005\.ckpt: damaged .*from the checkpoint before"):
        load_checkpoint(path)


class Evil:
    def __reduce__(self):
        return os.mkdir, ("evil",)


def test_a_checkpoint_cannot_run_code(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"weight": Evil()}, tmp_path / "step_000000001.ckpt")
    with pytest.raises(CheckpointError):
        load_checkpoint(tmp_path / "step_000000001.ckpt")
    assert not (tmp_path / "evil").exists()
