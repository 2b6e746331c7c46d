"""The photograph and the mask of the README's first command, and the picture of docs/."""

import sys

import numpy as np
import pytest
from PIL import Image

from tools.docs import removal_picture


def run(monkeypatch, *options):
    monkeypatch.setattr(sys, "argv", ["removal_picture.py", *map(str, options)])
    removal_picture.main()


def test_what_is_kept_for_the_command(monkeypatch, tmp_path):
    monkeypatch.setattr(removal_picture, "inpaint", None)  # for which there is no need
    run(monkeypatch, "--keep", tmp_path)
    with Image.open(tmp_path / "photo.png") as photo, Image.open(tmp_path / "mask.png") as mask:
        assert photo.size == mask.size
        missing = np.asarray(mask) != 0
    assert 0 < missing.mean() < 0.1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mask.png", "photo.png"]


def test_the_picture(monkeypatch, tmp_path):
    monkeypatch.setattr(removal_picture, "inpaint", lambda photo, mask: photo)
    run(monkeypatch, "-o", tmp_path / "row.png")
    with Image.open(tmp_path / "row.png") as row, Image.open(removal_picture.PHOTO) as photo:
        assert row.size == (3 * photo.width, photo.height)


def test_nothing_to_do(monkeypatch, capsys):
    with pytest.raises(SystemExit):
        run(monkeypatch)
    assert "nothing to do: give -o, --keep or both" in capsys.readouterr().err
