"""The report's experiments on small photographs."""

import json
import math
from pathlib import Path

import pytest
import skimage
import torch
from PIL import Image

from contextual_attention import photos
from contextual_attention.cli import main
from contextual_attention.models import experiments

BRICK = Path(skimage.__path__[0], "data", "brick.png")


@pytest.fixture
def photo(monkeypatch):
    """A small photograph, with holes of 24 pixels."""
    monkeypatch.setattr(experiments, "_SIDE", 24)
    return photos.read_photo(BRICK, 120)


def test_a_replica_is_used(photo):
    """The report found that the network does not; the filler copies what stands beside it."""
    alone, beside = experiments.replication(photo).rows
    assert beside["PSNR"] > 35 > alone["PSNR"]
    # Plain brick looks the same in many places.
    assert beside["from the true place"] > 0.9
    assert beside["gradient"] == pytest.approx(1, abs=0.05)


def test_textures_are_ranked(photo):
    found = experiments.textures(photo)
    energies = [row["gradient energy"] for row in found.rows]
    assert energies == sorted(energies)
    assert energies[0] < energies[-1]
    assert found.figure.shape == (1, 3, 4 * 72, 3 * 72)


def test_holes_grow(photo, monkeypatch):
    monkeypatch.setattr(experiments, "_SIZES", (8, 24))
    small, large = experiments.sizes(photo).rows
    assert (small["side"], large["side"]) == (8, 24)
    assert small["PSNR"] > large["PSNR"]
    with pytest.raises(ValueError, match="a hole of 24 pixels needs 48 a side"):
        experiments.sizes(photo[..., :40])


def test_measures_by_hand(monkeypatch):
    photo = torch.arange(8.0).div(8).expand(1, 3, 8, 8).contiguous()
    hole = torch.zeros(1, 1, 8, 8, dtype=torch.bool)
    hole[..., 2:6, 2:6] = True
    flat = photo.masked_fill(hole, 0.5)  # the truth in the hole: 0.25, 0.375, 0.5, 0.625
    monkeypatch.setattr(experiments, "inpaint", lambda *_, **__: (flat, torch.zeros(1, 2, 8, 8)))
    _, row, _ = experiments._filled(photo, hole, "exemplar")
    squares = (0.25**2 + 0.125**2 + 0.125**2) / 4
    assert row["PSNR"] == pytest.approx(10 * math.log10(4 / squares))
    assert row["l1"] == pytest.approx(50 * 0.125)
    assert row["gradient"] == 0


def test_the_command_writes_a_figure_and_a_table(tmp_path, capsys):
    small = tmp_path / "in"
    small.mkdir()
    with Image.open(BRICK) as image:
        image.resize((120, 110)).save(small / "brick.png")
    command = ["experiment", "replication", "--image", str(small), "-o", str(tmp_path)]
    assert main(command) == 0
    with Image.open(tmp_path / "replication-brick.jpg") as figure:
        assert figure.size == (4 * 120, 110)
    rows = json.loads((tmp_path / "replication.json").read_text())
    assert [row["background"] for row in rows] == ["alone", "with a replica"]
    assert "| photo | background | PSNR" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("image", "output", "reason"),
    [
        ("gone.png", ".", "gone.png: no such file"),
        ("tiny.png", ".", "needs 96 a side"),
        ("tiny.png", "gone", "there is no such folder"),
        ("empty", ".", "no .png or .jpg there"),
    ],
)
def test_requests_that_cannot_be_met(tmp_path, monkeypatch, capsys, image, output, reason):
    monkeypatch.chdir(tmp_path)
    Path("empty").mkdir()
    Image.new("RGB", (30, 30)).save("tiny.png")
    assert main(["experiment", "replication", "--image", image, "-o", output]) == 2
    assert reason in capsys.readouterr().err
