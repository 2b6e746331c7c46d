"""Writing files and folders whole or not at all."""

import os
from pathlib import Path

import pytest

from contextual_attention.files import (
    check_distinct,
    check_new_folder,
    check_writable,
    replace_file,
    replace_folder,
)


def writes(content):
    return lambda file: file.write(content)


def test_a_file_is_made_and_replaced(tmp_path):
    path = tmp_path / "file"
    for content in (b"first", b"2"):
        replace_file(path, writes(content))
        assert path.read_bytes() == content
    assert list(tmp_path.iterdir()) == [path]


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")

    def fail(file):
        file.write(b"new")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        replace_file(path, fail)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_what_a_link_points_to_is_replaced(tmp_path):
    (tmp_path / "there").mkdir()
    file, link = tmp_path / "there" / "file", tmp_path / "link"
    file.write_text("old")
    link.symlink_to(file)
    replace_file(link, writes(b"new"))
    assert link.is_symlink()
    assert file.read_text() == "new"
    assert list(file.parent.iterdir()) == [file]


def test_a_file_has_the_rights_of_any_other(tmp_path):
    """Not those of a temporary file, which its owner alone may read."""
    (tmp_path / "plain").touch()
    replace_file(tmp_path / "file", writes(b""))
    assert (tmp_path / "file").stat().st_mode == (tmp_path / "plain").stat().st_mode


def fill(*names):
    def write(folder):
        for name in names:
            (folder / name).write_text("new")

    return write


def test_a_folder_appears_with_its_files(tmp_path):
    folder = tmp_path / "folder"

    def write(temporary):
        fill("a", "b")(temporary)
        assert not folder.exists()

    replace_folder(folder, write)
    assert sorted(os.listdir(folder)) == ["a", "b"]
    assert os.listdir(tmp_path) == ["folder"]


def test_files_of_an_old_folder_are_replaced_and_others_stay(tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    for name in ("a", "other"):
        (folder / name).write_text("old")
    replace_folder(folder, fill("a", "b"))
    assert {path.name: path.read_text() for path in folder.iterdir()} == {
        "a": "new",
        "b": "new",
        "other": "old",
    }
    assert os.listdir(tmp_path) == ["folder"]


def test_a_folder_without_its_parent_in_the_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    replace_folder(type(tmp_path)("folder"), fill("a"))
    assert os.listdir(tmp_path) == ["folder"]


@pytest.mark.parametrize("exists", [False, True])
def test_a_failed_write_leaves_the_folder_as_it_was(tmp_path, exists):
    folder = tmp_path / "folder"
    if exists:
        replace_folder(folder, fill("a"))
    before = os.listdir(tmp_path)

    def fail(temporary):
        fill("b")(temporary)
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        replace_folder(folder, fail)
    assert os.listdir(tmp_path) == before
    assert not exists or os.listdir(folder) == ["a"]


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("no/file", "there is no folder .*no$"),
        (".", "exists and is not a file"),
        ("x" * 300, "File name too long"),
    ],
)
def test_what_cannot_be_written(tmp_path, name, says):
    with pytest.raises(OSError, match=says):
        check_writable(tmp_path / name)


def test_what_can_be_written(tmp_path):
    (tmp_path / "old").touch()
    check_writable(tmp_path / "old")
    check_writable(tmp_path / "new")
    assert os.listdir(tmp_path) == ["old"]


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("no/new", "there is no folder .*no$"),
        ("file", "exists; remove it, or name another folder"),
        ("full", "exists"),
        ("dangling", "exists"),
    ],
)
def test_where_no_new_folder_can_be(tmp_path, name, says):
    (tmp_path / "file").touch()
    (tmp_path / "full" / "folder").mkdir(parents=True)
    (tmp_path / "dangling").symlink_to("nothing")
    with pytest.raises(OSError, match=says):
        check_new_folder(tmp_path / name)


def test_where_a_new_folder_can_be(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("empty").mkdir()
    for name in ("new", "empty"):
        check_new_folder(Path(name))
        replace_folder(Path(name), fill("a"))
        assert os.listdir(name) == ["a"]


@pytest.mark.parametrize("name", ["a", "./a", "there/../a", "link", "hard", "linked folder/a"])
def test_one_file_by_another_name(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a").write_text("photograph")
    (tmp_path / "there").mkdir()
    (tmp_path / "link").symlink_to("a")
    os.link("a", "hard")
    (tmp_path / "linked folder").symlink_to(".")
    with pytest.raises(OSError, match=rf"--output \({Path(name)}\) would overwrite IMAGE \(a\)"):
        check_distinct({"--output": Path(name)}, {"IMAGE": Path("a")})
    with pytest.raises(OSError, match=r"--map \(a\) would overwrite --output"):
        check_distinct({"--output": Path(name), "--map": Path("a")}, {})


@pytest.mark.parametrize("name", ["new", "there/../new", "dangling", "linked folder/new"])
def test_one_place_of_a_file_that_is_not_there_yet(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there").mkdir()
    (tmp_path / "dangling").symlink_to("new")
    (tmp_path / "linked folder").symlink_to(".")
    with pytest.raises(OSError, match="would overwrite"):
        check_distinct({"--output": Path(name), "--map": Path("new")}, {})
    check_distinct({"--output": Path(name), "--map": Path("there/new")}, {"IMAGE": Path("no/such")})
    assert sorted(os.listdir()) == ["dangling", "linked folder", "there"]


def test_reading_a_file_twice_is_no_harm(tmp_path):
    (tmp_path / "a").touch()
    check_distinct({"--output": tmp_path / "b"}, {"IMAGE": tmp_path / "a", "MASK": tmp_path / "a"})
