"""Evaluation: simple methods by hand, tables, bins, broken pictures, models from disk."""

import csv
import json

import numpy as np
import pytest
import torch
from PIL import Image

from contextual_attention.models.data.masks import random_boxes
from contextual_attention.models.data.samples import Samples
from contextual_attention.models.data.sources import PictureFiles, ProceduralPictures
from contextual_attention.models.evaluation.evaluate import (
    METHODS,
    Scores,
    evaluate,
    fill_with_mean,
    model_method,
    register_method,
    to_csv,
    to_json,
    to_markdown,
)
from contextual_attention.models.evaluation.metrics import DEFINITIONS, picture_metrics
from contextual_attention.models.filling import inpaint
from contextual_attention.models.network.generator import InpaintGenerator


def draw_box(batch, size, generator):
    return random_boxes(batch, size, 12, generator, shrink=8)


def procedural(count=5):
    return Samples(ProceduralPictures(count, 24), draw_box, (16, 16), seed=0)


def test_mean_is_the_mean_of_what_is_known():
    image = torch.arange(12.0).view(1, 3, 2, 2)
    mask = torch.tensor([[True, False], [False, False]]).view(1, 1, 2, 2)
    filled = fill_with_mean(image, mask)
    assert filled[0, :, 0, 0].tolist() == [2.0, 6.0, 10.0]
    assert torch.equal(filled.masked_fill(mask, 0), image.masked_fill(mask, 0))
    assert fill_with_mean(image, torch.ones_like(mask)).abs().max() == 0


def test_methods_do_not_see_the_holes():
    """What a method is given differs nowhere when the pictures differ in their holes alone."""
    seen = []

    def spy(image, mask):
        seen.append((image[mask.expand_as(image)].abs().max(), mask.dtype))
        return image

    evaluate({"spy": spy}, procedural())
    assert seen == [(0, torch.bool)]


def test_scores_do_not_depend_on_the_batch():
    methods = {name: METHODS[name] for name in ("mean", "grey")}
    one, four = (evaluate(methods, procedural(), batch=batch) for batch in (1, 4))
    assert (one.missing, one.pixels) == (four.missing, four.pixels)
    for method, measure in ((m, d) for m in methods for d in DEFINITIONS):
        assert one.values[method][measure] == pytest.approx(four.values[method][measure], rel=1e-5)
    samples = procedural()
    first = samples[0, 0]
    grey = first.image.masked_fill(first.mask, 0)
    expected = picture_metrics(grey[None], first.image[None], first.mask[None])
    assert one.values["grey"]["PSNR"][0] == pytest.approx(float(expected["PSNR"]))


def test_limit_takes_the_first():
    whole, part = (evaluate({"grey": METHODS["grey"]}, procedural(), limit=n) for n in (None, 2))
    assert part.values["grey"]["l1 %"] == whole.values["grey"]["l1 %"][:2]


def test_broken_pictures_are_left_out_and_named(tmp_path):
    paths = [tmp_path / name for name in ("a.png", "bad.png", "c.png")]
    for path in paths[::2]:
        Image.fromarray(np.random.default_rng(0).integers(0, 256, (20, 20, 3), np.uint8)).save(path)
    paths[1].write_text("bad")
    scores = evaluate({"grey": METHODS["grey"]}, Samples(PictureFiles(paths), draw_box, (16, 16), seed=0))
    assert len(scores.missing) == len(scores.pixels) == 2
    assert len(scores.broken) == 1
    assert "bad.png" in scores.broken[0]


def test_nothing_readable(tmp_path):
    (tmp_path / "a.png").write_text("bad")
    Image.new("RGB", (20, 20)).save(tmp_path / "b.png")
    samples = Samples(PictureFiles([tmp_path / "a.png", tmp_path / "b.png"]), draw_box, (16, 16), seed=0)
    with pytest.raises(ValueError, match=r"none of its pictures can be read, last .*a\.png"):
        evaluate({"grey": METHODS["grey"]}, samples, limit=1)


def test_bins_are_exact_at_their_ends():
    """A bin holds its lower end: 7/10 too, though less as a float32; all of a picture is in the last."""
    missing = [69, 70, 0, 100, 29, 30]
    values = {"a": {measure: [0.0] * 6 for measure in DEFINITIONS}}
    rows = Scores(values, missing, [100] * 6).table()[1:]
    assert [(row["holes"], row["pictures"]) for row in rows] == [
        ("0 to 10 %", 1), ("20 to 30 %", 1), ("30 to 40 %", 1), ("60 to 70 %", 1), ("70 to 80 %", 1),
        ("90 to 100 %", 1),
    ]  # fmt: skip


def test_a_hole_of_seven_tenths(tmp_path):
    """From its mask on: 7 rows of 10 pixels."""
    mask = torch.zeros(1, 1, 20, 20, dtype=torch.bool)
    mask[..., :14, :] = True
    samples = Samples(
        ProceduralPictures(1, 24), lambda *_: (mask, torch.tensor([[0, 0, 20, 20]])), (20, 20), seed=0
    )
    rows = evaluate({"grey": METHODS["grey"]}, samples).table()
    assert [row["holes"] for row in rows] == ["all", "70 to 80 %"]


class TestTable:
    @pytest.fixture
    def rows(self):
        values = {
            method: {measure: [1.0 * n, 2.0 * n, 6.0 * n] for measure in DEFINITIONS}
            for n, method in enumerate("ab")
        }
        return Scores(values, missing=[11, 65, 19], pixels=[100] * 3).table()

    def test_means_over_all_and_over_bins(self, rows):
        assert [(row["method"], row["holes"], row["pictures"], row["PSNR"]) for row in rows] == [
            ("a", "all", 3, 0.0),
            ("b", "all", 3, 3.0),
            ("a", "10 to 20 %", 2, 0.0),
            ("b", "10 to 20 %", 2, 3.5),
            ("a", "60 to 70 %", 1, 0.0),
            ("b", "60 to 70 %", 1, 2.0),
        ]

    def test_markdown_has_the_definitions(self, rows):
        text = to_markdown(rows)
        assert "| b | all | 3 | 3 |" in text
        assert all(definition in text for definition in DEFINITIONS.values())

    def test_csv_and_json_hold_the_rows(self, rows):
        read = list(csv.DictReader(to_csv(rows).splitlines()))
        assert [row["holes"] for row in read] == [row["holes"] for row in rows]
        assert [float(row["SSIM"]) for row in read] == [row["SSIM"] for row in rows]
        rows[0]["PSNR"] = float("inf")
        read = json.loads(to_json(rows))
        assert read["rows"][0]["PSNR"] is None
        assert read["rows"][1:] == rows[1:]


@pytest.mark.parametrize("name", [name for name in inpaint.METHODS if name != "model"])
def test_methods_of_inpaint_that_need_no_model_are_measured(name):
    samples = Samples(ProceduralPictures(2, 64), draw_box, (48, 48), seed=0)
    rows = evaluate({name: METHODS[name], "grey": METHODS["grey"]}, samples).table()
    scores = {row["method"]: row for row in rows if row["holes"] == "all"}
    assert scores[name]["pictures"] == 2
    for measure in ("l1 %", "l2 %", "TV %"):
        assert 0 < scores[name][measure] < 100
    assert scores[name]["PSNR"] > scores["grey"]["PSNR"]


def test_methods_plug_in_by_name():
    @register_method("black")
    def fill_with_black(image, mask):
        return image.masked_fill(mask, -1)

    try:
        assert METHODS["black"] is fill_with_black
        with pytest.raises(ValueError, match="'black' is a method already"):
            register_method("black")(fill_with_black)
    finally:
        del METHODS["black"]


def test_a_saved_model_is_a_method(tmp_path):
    torch.manual_seed(0)
    generator = InpaintGenerator(cnum=2)
    generator.save_pretrained(tmp_path / "run" / "model")
    sample = procedural()[0, 0]
    image, mask = sample.image[None], sample.mask[None]
    expected = generator(image, mask).completed
    for folder in (tmp_path / "run", tmp_path / "run" / "model"):
        with torch.no_grad():
            assert torch.equal(model_method(str(folder))(image, mask), expected)
    with pytest.raises(ValueError, match="neither a training run"):
        model_method(str(tmp_path))


def test_a_guided_model_is_named(tmp_path):
    InpaintGenerator(cnum=2, sketch=True).save_pretrained(tmp_path / "guided")
    with pytest.raises(ValueError, match=r"model: .*guided is guided by sketches, .* leave it out"):
        model_method(str(tmp_path / "guided"))
