"""The report's experiments on small photographs."""

import functools
import json
import math
import os
from pathlib import Path

import pytest
import torch
from PIL import Image

from contextual_attention import photos
from contextual_attention.cli import main
from contextual_attention.models import inpaint
from contextual_attention.models.data.bundled import bundled_photographs
from contextual_attention.models.evaluation import artifacts, experiments
from contextual_attention.models.network.generator import InpaintGenerator

BRICK = bundled_photographs()["brick"]
FILL = functools.partial(inpaint, method="exemplar", return_offsets=True)


def fill_grey(photo, hole):
    """The simplest method: black's and white's middle, from nowhere."""
    return photo.masked_fill(hole, 0), torch.zeros(1, 2, *photo.shape[2:], dtype=torch.int64)


@pytest.fixture
def photo(monkeypatch):
    """A small photograph, with holes of 24 pixels."""
    monkeypatch.setattr(experiments, "_SIDE", 24)
    return photos.read_photo(BRICK, 120)


def test_a_replica_is_used(photo):
    """The report found that the network does not; the filler copies what stands beside it."""
    found = experiments.replication(photo, FILL)
    alone, beside = found.rows
    assert beside["PSNR"] > 35 > alone["PSNR"]
    # Plain brick looks the same in many places, and nearer ones are preferred.
    assert beside["from the true place"] > 0.8
    assert beside["gradient"] == pytest.approx(1, abs=0.05)
    pictures = [panel.picture.shape[2:] for panel in found.figure["with a replica"]]
    assert pictures == [(120, 240), *[(72, 72)] * 3]


def test_attention_to_the_true_place_by_hand(monkeypatch):
    """8 of the 16 pixels of the hole look one width to the right; of a network, 1 of its 4 patches."""
    monkeypatch.setattr(experiments, "_SIDE", 4)

    def look(photo, hole):
        offsets = torch.zeros(1, 2, *photo.shape[2:], dtype=torch.int64)
        offsets[:, 1, :8, :] = 16
        return photo, offsets

    def look_as_a_network(photo, hole):
        offsets = torch.zeros(1, 2, 2, 4, dtype=torch.int64)
        offsets[:, 1, 1, 1] = 2
        return photo, offsets[..., : photo.shape[3] // 8]

    picture = torch.zeros(1, 3, 16, 16)
    assert experiments.replication(picture, look).rows[1]["from the true place"] == 0.5
    assert experiments.replication(picture, look_as_a_network).rows[1]["from the true place"] == 0.25

    def look_nowhere(photo, hole):
        return photo, torch.zeros(1, 2, 1, 1, dtype=torch.int64)

    assert experiments.replication(picture, look_nowhere).rows[1]["from the true place"] is None


def test_textures_are_ranked(photo):
    found = experiments.textures(photo, fill_grey)
    energies = [row["gradient energy"] for row in found.rows]
    assert energies == sorted(energies)
    assert energies[0] < energies[-1]
    assert [row["texture"] for row in found.rows] == [1, 2, 3, 4]
    assert [len(row) for row in found.figure.values()] == [4, 4, 4]
    assert all(panel.picture.shape == (1, 3, 72, 72) for panel in found.figure["filled"])


def test_holes_grow(photo, monkeypatch):
    monkeypatch.setattr(experiments, "_SIZES", (8, 24))
    found = experiments.sizes(photo, FILL)
    small, large = found.rows
    assert (small["side"], large["side"]) == (8, 24)
    assert small["PSNR"] > large["PSNR"]
    # The same part of the photograph whatever the hole.
    assert len({float(panel.picture.sum()) for panel in found.figure["photograph"]}) == 1
    with pytest.raises(ValueError, match="a hole of 24 pixels needs 48 a side"):
        experiments.sizes(photo[..., :40], FILL)


def test_measures_by_hand():
    photo = torch.arange(8.0).div(8).expand(1, 3, 8, 8).contiguous()
    hole = torch.zeros(1, 1, 8, 8, dtype=torch.bool)
    hole[..., 2:6, 2:6] = True
    flat = photo.masked_fill(hole, 0.5)  # the truth in the hole: 0.25, 0.375, 0.5, 0.625
    measures = experiments.run_of(photo, hole, lambda *_: (flat, torch.zeros(1, 2, 8, 8))).measures
    squares = (0.25**2 + 0.125**2 + 0.125**2) / 4
    assert measures["PSNR"] == pytest.approx(10 * math.log10(4 / squares))
    assert measures["l1"] == pytest.approx(50 * 0.125)
    assert measures["gradient"] == 0


class TestArtifacts:
    def test_correlations_by_hand(self):
        first = torch.tensor([[[1.0, -1], [1, -1]], [[1, 1], [-1, -1]], [[3, 3], [3, 3]]])
        second = torch.tensor([[[5.0, 1], [5, 1]], [[-2, -2], [0, 0]], [[1, 0], [0, 0]]])
        # The third of the second: (3, -1, -1, -1) / 4 around its mean, of norm sqrt(12) / 4.
        expected = torch.tensor([[1, 0, 1 / math.sqrt(3)], [0, -1, 1 / math.sqrt(3)], [0, 0, 0]])
        torch.testing.assert_close(artifacts.correlations(first, second), expected)

    def test_the_worst_region(self):
        error = torch.zeros(96, 96)
        error[40:64, 10:34] = 0.5
        error[0, 95] = 0.9  # one bad pixel is no region
        assert artifacts.worst_region(error) == (0.5, 40, 10)

    @pytest.fixture
    def scenes(self):
        """Three unlike pictures of noise."""
        generator = torch.Generator().manual_seed(0)
        return {name: torch.rand(1, 3, 192, 192, generator=generator) - 0.5 for name in "abc"}

    def test_an_artifact_that_repeats(self, scenes):
        """A method that adds the same ramp to whatever it fills; noise of another kind does not repeat."""

        def add_ramp(photo, hole):
            truth = scenes[self.name_of(photo, scenes)]
            ramp = torch.linspace(0, 0.4, 192).expand_as(truth)
            return torch.where(hole, truth + ramp, photo), torch.zeros(1, 2, 1, 1)

        found = artifacts.artifacts(scenes, add_ramp)
        for row in found.rows:
            assert row["correlation"] == pytest.approx(1, abs=1e-4)
            assert row["mirrored"] == pytest.approx(-1, abs=1e-4)  # the ramp turned around
            # It is steepest on the right: the last 24 of the 96 columns.
            assert row["place"].endswith(f", {96 - 24}")
        assert list(found.figure) == [row["photo"] for row in found.rows]

    def test_errors_that_have_nothing_in_common(self, scenes):
        for row in artifacts.artifacts(scenes, fill_grey).rows:
            # The noise of 96 x 96 pixels: correlations of 1 / 96.
            assert abs(row["correlation"]) < 3 / 96

    def test_the_worst_photograph_comes_first(self, scenes):
        scenes["b"] = scenes["b"] * 2
        rows = artifacts.artifacts(scenes, fill_grey).rows
        assert rows[0]["photo"] == "b"
        assert [row["worst l1"] for row in rows] == sorted((row["worst l1"] for row in rows), reverse=True)

    def test_one_photograph_is_not_enough(self, scenes):
        with pytest.raises(ValueError, match="at least 2 photographs, got 1"):
            artifacts.artifacts({"a": scenes["a"]}, fill_grey)

    @staticmethod
    def name_of(photo, scenes):
        return next(name for name, scene in scenes.items() if torch.equal(scene[..., 0, :], photo[..., 0, :]))


class TestCommand:
    @pytest.fixture
    def folder(self, tmp_path, monkeypatch):
        """A working folder with two small photographs in it."""
        monkeypatch.chdir(tmp_path)
        (tmp_path / "in").mkdir()
        for name in ("brick", "coffee"):
            with Image.open(bundled_photographs()[name]) as image:
                image.resize((130, 110)).save(tmp_path / "in" / f"{name}.png")
        return tmp_path

    def test_figures_and_tables(self, folder, capsys):
        assert main(["experiment", "replication", "--image", "in", "-o", ".", "--resize", "104x112"]) == 0
        rows = json.loads((folder / "replication.json").read_text())
        assert [(row["photo"], row["background"]) for row in rows] == [
            (name, background) for name in ("brick", "coffee") for background in ("alone", "with a replica")
        ]
        mean = sum(row["PSNR"] for row in rows if row["background"] == "alone") / 2
        text = (folder / "replication.md").read_text()
        assert f"| alone | {mean:.4g} |" in text
        assert "| brick | with a replica |" in text
        assert f"| alone | {mean:.4g} |" in capsys.readouterr().out
        with Image.open("replication-brick.jpg") as figure:
            # Two rows of 192 pixels and a line; of the second, the picture is 224 x 104.
            assert figure.height == 2 * (192 + 19)
            assert figure.width > 224 * 192 / 104 + 3 * 192

    def test_a_model(self, folder, capsys):
        torch.manual_seed(0)
        InpaintGenerator(cnum=4).save_pretrained(folder / "model")
        arguments = ["--image", "in", "-o", ".", "--resize", "104x112"]
        assert main(["experiment", "replication", *arguments, "--method", "model"]) == 2
        assert "--method model needs a --model" in capsys.readouterr().err
        assert main(["experiment", "replication", *arguments, "--method", "model", "--model", "model"]) == 0
        rows = json.loads((folder / "replication.json").read_text())
        assert all(0 <= row["from the true place"] <= 1 for row in rows)

    def test_artifacts(self, folder, monkeypatch):
        monkeypatch.setattr(artifacts, "_SIDE", 24)
        arguments = ["--image", "in", "--resize", "60x64"]
        assert main(["experiment", "artifacts", *arguments, "-o", "."]) == 0
        assert {row["photo"] for row in json.loads(Path("artifacts.json").read_text())} == {"brick", "coffee"}
        assert Path("artifacts.jpg").is_file()

    def test_without_a_photograph_the_bundled_ones_are_taken(self, folder, monkeypatch):
        asked = []

        def found(photo, fill):
            asked.append(photo.shape)
            return experiments.Found([{"side": 1, "PSNR": 1.0}], {"x": [experiments.Panel(photo, "")]})

        monkeypatch.setattr(experiments, "sizes", found)
        assert main(["experiment", "sizes", "-o", "."]) == 0
        assert asked == [(1, 3, 512, 680)] * len(bundled_photographs())
        assert {path.stem.removeprefix("sizes-") for path in folder.glob("*.jpg")} == set(
            bundled_photographs()
        )

    def test_the_shape_can_be_kept(self, folder, monkeypatch):
        asked = []

        def found(photo, fill):
            asked.append(photo.shape[2:])
            raise ValueError("enough")

        monkeypatch.setattr(experiments, "sizes", found)
        assert main(["experiment", "sizes", "--image", "in", "-o", ".", "--max-size", "65"]) == 2
        assert asked == [(55, 65)]

    @pytest.mark.parametrize(
        ("arguments", "reason"),
        [
            (["--image", "gone.png", "-o", "."], "gone.png: no such file"),
            (["--image", "in", "-o", ".", "--resize", "30x30"], "needs 96 a side"),
            (["--image", "in", "-o", "gone"], "there is no such folder"),
            (["--image", "empty", "-o", "."], "empty: no photographs there"),
            (["--image", "twice", "-o", "."], "the same name but for the ending; rename one"),
            (
                ["--image", "twice/replication-a.jpg", "-o", "link"],
                "replication.md (link/replication.md) would overwrite the photograph replication-a.jpg",
            ),
            (["--image", "results", "-o", "results"], "would overwrite the photograph replication-a.jpg"),
            (
                ["--image", "in", "-o", ".", "--method", "model", "--model", "empty"],
                "--model: empty is neither a training run",
            ),
        ],
    )
    def test_requests_that_cannot_be_met(self, folder, capsys, arguments, reason):
        for name in ("empty", "twice", "results", "link"):
            Path(name).mkdir()
        with Image.open("in/brick.png") as image:
            for name in ("twice/a.png", "twice/a.bmp", "twice/replication-a.jpg", "results/a.png"):
                image.save(name)
            image.save("results/replication-a.jpg")
        os.symlink("../twice/replication-a.jpg", "link/replication.md")
        assert main(["experiment", "replication", *arguments]) == 2
        assert reason in capsys.readouterr().err

    @pytest.mark.parametrize(
        ("arguments", "reason"),
        [
            (["--resize", "512"], "expected HEIGHTxWIDTH in pixels, such as 512x680, got '512'"),
            (["--resize", "512x680", "--max-size", "9"], "not allowed with argument --resize"),
        ],
    )
    def test_arguments_that_make_no_sense(self, capsys, arguments, reason):
        with pytest.raises(SystemExit):
            main(["experiment", "sizes", "-o", ".", *arguments])
        assert reason in capsys.readouterr().err
