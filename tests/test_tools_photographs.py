"""Photographs by where they are, those inside Qt resource files too."""

from __future__ import annotations

import pytest
from PIL import Image

from tests.helpers.qt_resources import resource_file
from tools.photographs import Photograph
from tools.resources import read_resource


def test_bundled_photographs_are_not_made_larger():
    assert Photograph("astronaut").read(None).shape == (512, 512, 3)


def test_a_bundled_photograph_as_a_file(tmp_path):
    (tmp_path / "astronaut").write_bytes(Photograph("astronaut").contents(None))
    with Image.open(tmp_path / "astronaut") as image:
        assert (image.format, image.size) == ("PNG", (512, 512))


@pytest.mark.parametrize("version", [1, 2, 3])
def test_files_in_resources(tmp_path, version):
    path = tmp_path / "some.rcc"
    path.write_bytes(resource_file(version, {"ä.webp": (b"one", 0), "b": (b"other", 0), "c": (b"", 1)}))
    assert read_resource(path, "folder/ä.webp") == b"one"
    assert read_resource(path, "folder/b") == b"other"
    with pytest.raises(FileNotFoundError, match="has no folder/d"):
        read_resource(path, "folder/d")
    with pytest.raises(ValueError, match="folder/c is a folder or compressed"):
        read_resource(path, "folder/c")
    with pytest.raises(ValueError, match="folder is a folder"):
        read_resource(path, "folder")
    path.write_bytes(b"RIFF" + bytes(40))
    with pytest.raises(ValueError, match="expected a Qt resource file"):
        read_resource(path, "folder/b")


def test_a_photograph_inside_a_resource_file(tmp_path):
    Image.new("RGB", (8, 6), (1, 2, 3)).save(tmp_path / "a.png")
    (tmp_path / "game").mkdir()
    contents = (tmp_path / "a.png").read_bytes()
    (tmp_path / "game/some.rcc").write_bytes(resource_file(3, {"a.png": (contents, 0)}))
    photograph = Photograph("a", "game", "some.rcc", "folder/a.png")
    assert photograph.contents(tmp_path) == contents
    picture = photograph.read(tmp_path)
    assert picture.shape == (6, 8, 3)
    assert (picture == (1, 2, 3)).all()
