"""The command inpaint on folders: one failure leaves the others, a kill loses nothing, a rerun completes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.command_line import pixels, refused
from helpers.striped import MISSING, assert_restored, run_inpaint, stripes, with_hole, write_photo_and_mask
from PIL import Image

from contextual_attention.cli import main
from contextual_attention.commands import fill


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
        Image.fromarray(with_hole()).save(f"in/{name}.png")
        Image.fromarray(MISSING).save(f"masks/{name}.png")
    Path("in/b.png").write_bytes(Path("in/a.png").read_bytes()[:60])
    many = {"image": "in", "mask": "masks", "output": "out"}
    assert run_inpaint("--jobs", jobs, "--report", "report.json", **many) == 2
    assert "1 of 3 photographs failed; in/b.png" in refused(capsys)
    assert sorted(os.listdir("out")) == ["a.png", "c.png"]
    report = {Path(row["image"]).name: row["status"] for row in json.loads(Path("report.json").read_text())}
    assert report == {"a.png": "done", "b.png": "failed", "c.png": "done"}
    before = Path("out/a.png").stat().st_mtime_ns
    Image.fromarray(with_hole()).save("in/b.png")
    assert run_inpaint(image="in/*.png", mask="mask.png", output="out") == 0
    assert Path("out/a.png").stat().st_mtime_ns == before
    assert_restored(pixels("out/b.png"), stripes())


def make_folders(*names):
    for name in names:
        Path(name).mkdir()


def test_every_format_is_found_by_its_content_and_the_rest_is_told(folder, capsys):
    make_folders("in", "out", "in/sub")
    picture = Image.fromarray(with_hole())
    picture.save("in/a.webp", lossless=True)
    picture.save("in/b.tga")
    picture.save("in/c.jp2")
    picture.save("in/d", "PNG")  # no ending
    picture.save("in/e.txt", "TIFF")
    Path("in/notes.txt").write_text("no picture")
    Path("in/data.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(99))  # Pillow knows its name, and no more
    assert run_inpaint("--format", "png", image="in", output="out") == 0
    assert "in: skipped what is no picture: data.h5, notes.txt, sub\n" in capsys.readouterr().out
    assert sorted(os.listdir("out")) == [f"{name}.png" for name in "abcde"]
    for name in "abcde":
        assert_restored(pixels(f"out/{name}.png"), stripes())


@pytest.mark.parametrize("broken", ["empty", "half", "text"])
def test_a_broken_result_does_not_count_as_done(folder, capsys, broken):
    make_folders("in", "out")
    Image.fromarray(with_hole()).save("in/a.png")
    assert run_inpaint(image="in", output="out") == 0
    whole = Path("out/a.png").read_bytes()
    Path("out/a.png").write_bytes({"empty": b"", "half": whole[: len(whole) // 2], "text": b"no"}[broken])
    assert run_inpaint(image="in", output="out") == 0
    assert Path("out/a.png").read_bytes() == whole
    capsys.readouterr()
    assert run_inpaint(image="in", output="out") == 0
    assert "out/a.png: there already" in capsys.readouterr().out


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_two_photographs_with_one_result_are_refused(folder, capsys, jobs):
    make_folders("in", "out")
    for name in ("in/a.png", "in/a.tif"):
        Image.fromarray(with_hole()).save(name)
    assert run_inpaint("--format", "png", "--jobs", jobs, image="in", output="out") == 2
    assert "the result of in/a.tif (out/a.png) would overwrite the result of in/a.png" in refused(capsys)
    # Through a link in the folder of results, too.
    os.symlink("a.png", "out/a.tif")
    assert run_inpaint("--jobs", jobs, image="in", output="out") == 2
    assert "would overwrite the result of in/a.png" in refused(capsys)
    assert os.listdir("out") == ["a.tif"]


@pytest.mark.parametrize("output", ["in", "link"])
def test_a_folder_is_not_filled_in_place(folder, capsys, output):
    make_folders("in")
    os.symlink("in", "link")
    Image.fromarray(with_hole()).save("in/a.png")
    assert run_inpaint(image="in", output=output) == 2
    assert "would overwrite the photograph in/a.png" in refused(capsys)
    assert run_inpaint(image="in/*.png", mask="in", output="in") == 2
    assert run_inpaint("--report", "in/a.png", image="in", output=".") == 2


def test_masks_of_one_name_are_refused(folder, capsys):
    make_folders("in", "masks", "out")
    Image.fromarray(with_hole()).save("in/a.png")
    for name in ("masks/a.png", "masks/a.bmp"):
        Image.fromarray(MISSING).save(name)
    assert run_inpaint(image="in", mask="masks", output="out") == 2
    assert "masks/a.bmp and masks/a.png: the same name but for the ending" in refused(capsys)


def test_a_killed_run_leaves_whole_files_and_a_rerun_completes(folder):
    Path("in").mkdir()
    Path("out").mkdir()
    for k in range(6):
        Image.fromarray(with_hole()).save(f"in/{k}.png")
    arguments = ["inpaint", "in", "mask.png", "-o", "out", "--jobs", "2"]
    run = subprocess.Popen(
        [sys.executable, "-m", "contextual_attention", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert "written" in run.stdout.readline()
    run.kill()
    # To the end of the file: until the last of its workers has ended, too, which holds the pipe open.
    run.communicate(timeout=30)
    finished = {name: os.stat(f"out/{name}").st_mtime_ns for name in os.listdir("out") if name.endswith("g")}
    assert finished
    for name in finished:
        assert_restored(pixels(f"out/{name}"), stripes())
    assert main(arguments[:-2]) == 0
    for k in range(6):
        assert_restored(pixels(f"out/{k}.png"), stripes())
    assert finished.items() <= {name: os.stat(f"out/{name}").st_mtime_ns for name in finished}.items()


def test_a_worker_that_is_ended_is_a_failure_not_a_crash(folder, capsys, monkeypatch):
    Path("in").mkdir()
    Path("out").mkdir()
    for name in ("a", "b"):
        Image.fromarray(with_hole()).save(f"in/{name}.png")
    monkeypatch.setattr(fill, "_attempt", end_this_process)
    assert run_inpaint("--jobs", "2", image="in", output="out") == 2
    assert "2 of 2 photographs failed; in/a.png: its process was ended from outside" in refused(capsys)


def end_this_process(task, given, advance=None):
    os._exit(9)
