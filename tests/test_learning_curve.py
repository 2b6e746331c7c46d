"""The script behind docs/images/training.png: what it holds out, measures and draws."""

import json

import pytest
import torch
from PIL import Image

from contextual_attention.models.data.sources import ProceduralPictures
from contextual_attention.models.training.presets import PRESETS
from contextual_attention.models.training.settings import change
from tools.docs import learning_curve

TINY = {
    "data.size": "24", "data.pictures": "4", "masks.box": "12", "generator.cnum": "2", "optimiser.batch": "2",
    "critics.local": "4,4,4,4", "critics.whole": "4,4,4,4", "steps": "2", "optimiser.average": "0",
}  # fmt: skip


@pytest.fixture(scope="module")
def curve():
    config, threads = change(PRESETS["small"], TINY), torch.get_num_threads()
    held_out = ProceduralPictures(3, 36, seed=1)
    return learning_curve.run(learning_curve.Experiment("leaves", config, held_out, every=1, threads=threads))


def test_a_curve_starts_with_the_untrained_network_and_moves(curve):
    assert curve.steps == [0, 1, 2]
    assert len(set(curve.errors)) == 3
    assert all(0 < error < 100 for error in [curve.mean, *curve.errors])


def test_the_picture_is_small_enough_for_a_repository(curve, tmp_path):
    path = tmp_path / "training.png"
    learning_curve.plot([curve, curve], path)
    assert path.stat().st_size < 200_000
    with Image.open(path) as picture:
        assert picture.width > 600


def test_the_numbers_are_those_of_the_picture(curve, tmp_path):
    learning_curve.write_numbers([curve], tmp_path / "training.json")
    numbers = json.loads((tmp_path / "training.json").read_text())
    assert numbers["measure"] == "hole l1 %"
    assert numbers["curves"] == [
        {"title": "leaves", "mean": curve.mean, "steps": curve.steps, "errors": curve.errors}
    ]


def test_held_out_parts_are_not_trained_on(tmp_path):
    trained_on, held_out = learning_curve.cut_photographs(tmp_path)
    for part in (trained_on, held_out):
        assert len(list(part.iterdir())) == len(learning_curve.PHOTOGRAPHS)
    for path in trained_on.iterdir():
        with Image.open(path) as left, Image.open(held_out / path.name) as right:
            assert left.height == right.height
            assert abs(left.width - 2 * right.width) <= 2
