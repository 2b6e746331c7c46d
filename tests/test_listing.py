"""Folders of many pictures, listed and held."""

import os
from pathlib import Path

import pytest

from contextual_attention.models.data.listing import Paths, files_below, list_pictures


@pytest.fixture
def folder(tmp_path):
    for name in ("train/b/2.JPEG", "train/b/1.jpg", "train/a.png", "train/._a.png", "train/b/deep/3.Jpg",
                 "train/notes.txt", "other/9.jpg"):  # fmt: skip
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    os.mkfifo(tmp_path / "train/pipe.jpg")
    return tmp_path


def test_pictures_by_their_endings(folder):
    """Not what macOS leaves, and nothing that a reader would wait for."""
    expected = ["train/a.png", "train/b/1.jpg", "train/b/2.JPEG", "train/b/deep/3.Jpg"]
    assert list_pictures(folder, "train") == expected
    assert list_pictures(folder / "train", "") == [name.removeprefix("train/") for name in expected]


def test_links_are_followed_and_circles_end(folder):
    (folder / "train/linked").symlink_to(folder / "other")
    (folder / "train/a_link.jpg").symlink_to(folder / "other/9.jpg")
    (folder / "train/nowhere.jpg").symlink_to(folder / "nowhere.jpg")
    (folder / "train/itself.jpg").symlink_to("itself.jpg")
    (folder / "other/circle").symlink_to(folder / "train")
    found = list_pictures(folder, "train")
    assert {"train/linked/9.jpg", "train/a_link.jpg"} <= set(found)
    assert not {"train/nowhere.jpg", "train/itself.jpg"} & set(found)
    assert len(found) < 40


def test_files_below_follow_no_links_to_folders_by_themselves(folder):
    (folder / "other/circle").symlink_to(folder)
    assert sorted(files_below(folder / "other")) == ["9.jpg"]


def test_a_folder_that_may_not_be_read_is_left_out(folder, monkeypatch):
    scan = os.scandir

    def refuse(path):
        if os.fspath(path).endswith("train/b"):
            raise PermissionError("not yours")
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    assert list_pictures(folder, "train") == ["train/a.png"]


def test_paths_are_a_sequence():
    names = ["a/1.jpg", "größe/2.jpg", os.fsdecode(b"caf\xe9.png"), ""]
    paths = Paths(Path("root"), names)
    expected = [Path("root", name) for name in names]
    assert list(paths) == expected
    assert len(paths) == 4
    assert paths[-2] == expected[-2]
    assert paths[1:3] == expected[1:3]
    with pytest.raises(IndexError):
        paths[4]
    assert len(Paths(Path("root"), [])) == 0


def test_paths_take_little_memory():
    paths = Paths(Path("/data/places2"), [f"data_256/a/airfield/{number:08}.jpg" for number in range(10_000)])
    assert len(paths._text) + paths._ends.nbytes < 50 * len(paths)
