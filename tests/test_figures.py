"""Figures of experiments: every picture stands in its place, unchanged where it is not scaled."""

import io

import numpy as np
import torch
from PIL import Image

from contextual_attention.models.evaluation import figures
from contextual_attention.models.evaluation.figures import Panel, draw, to_jpeg


def test_pictures_stand_side_by_side_under_each_other():
    black, white = torch.full((1, 3, 20, 30), -1.0), torch.ones(1, 3, 10, 10)
    sheet = np.asarray(
        draw({"first": [Panel(white, "l"), Panel(black, "")], "second": [Panel(black, "")]}, 20)
    )
    line, label = 20 + figures._STRIP, figures._LABEL
    assert sheet.shape == (2 * line, label + 20 + 30 + 2 * figures._GAP, 3)
    second = label + 20 + figures._GAP
    assert (sheet[:20, label : label + 20] == 255).all()  # enlarged to 20 x 20
    assert (sheet[:20, second : second + 30] == 0).all()
    assert (sheet[line : line + 20, label : label + 30] == 0).all()
    # The line is written under its picture and nowhere else, the labels beside theirs.
    assert (sheet[20:line, label:second] < 128).any()
    assert (sheet[20:line, second:] == 255).all()
    assert (sheet[:20, :label] < 128).any()
    assert (sheet[line : line + 20, :label] < 128).any()


def test_large_pictures_are_reduced():
    sheet = draw({"x": [Panel(torch.zeros(1, 3, 400, 800), "")]}, 100)
    assert sheet.width == figures._LABEL + 200 + figures._GAP


def test_jpeg():
    with Image.open(io.BytesIO(to_jpeg(Image.new("RGB", (8, 4))))) as image:
        assert (image.format, image.size) == ("JPEG", (8, 4))
