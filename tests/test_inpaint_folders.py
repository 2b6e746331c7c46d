"""The command inpaint on folders: one failure leaves the others, a kill loses nothing, a rerun completes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from striped import MISSING, assert_restored, command, damaged, pixels, refused, stripes, write_photo_and_mask

from contextual_attention.cli import main


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working folder with photo.png, whose hole mask.png marks."""
    monkeypatch.chdir(tmp_path)
    write_photo_and_mask()
    return tmp_path


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_folders_do_what_they_can_and_a_rerun_the_rest(folder, capsys, jobs):
    for name in ("in", "masks", "out"):
        Path(name).mkdir()
    for name in ("a", "b", "c"):
        Image.fromarray(damaged()).save(f"in/{name}.png")
        Image.fromarray(MISSING).save(f"masks/{name}.png")
    Path("in/b.png").write_bytes(Path("in/a.png").read_bytes()[:60])
    many = {"image": "in", "mask": "masks", "output": "out"}
    assert command("--jobs", jobs, "--report", "report.json", **many) == 2
    assert "1 of 3 photographs failed; in/b.png" in refused(capsys)
    assert sorted(os.listdir("out")) == ["a.png", "c.png"]
    report = {Path(row["image"]).name: row["status"] for row in json.loads(Path("report.json").read_text())}
    assert report == {"a.png": "done", "b.png": "failed", "c.png": "done"}
    before = Path("out/a.png").stat().st_mtime_ns
    Image.fromarray(damaged()).save("in/b.png")
    assert command(image="in/*.png", mask="mask.png", output="out") == 0
    assert Path("out/a.png").stat().st_mtime_ns == before
    assert_restored(pixels("out/b.png"), stripes())


def test_a_killed_run_leaves_whole_files_and_a_rerun_completes(folder):
    Path("in").mkdir()
    Path("out").mkdir()
    for k in range(6):
        Image.fromarray(damaged()).save(f"in/{k}.png")
    arguments = ["inpaint", "in", "mask.png", "-o", "out"]
    run = subprocess.Popen(
        [sys.executable, "-m", "contextual_attention", *arguments], stdout=subprocess.PIPE, text=True
    )
    assert "written" in run.stdout.readline()
    run.kill()
    run.communicate()
    finished = [name for name in os.listdir("out") if name.endswith(".png")]
    assert finished
    for name in finished:
        assert_restored(pixels(f"out/{name}"), stripes())
    assert main(arguments) == 0
    assert {f"{k}.png" for k in range(6)} <= set(os.listdir("out"))
