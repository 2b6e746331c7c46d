"""Masks by the names that configurations and command lines have for them."""

import pickle
from typing import get_args

import numpy as np
import pytest
import torch
from PIL import Image

from contextual_attention.commands import evaluate
from contextual_attention.models.data.mask_kinds import MaskKind, box_and_strokes, mask_drawer
from contextual_attention.models.data.masks import free_form, random_boxes
from contextual_attention.models.training.config import MaskConfig

KINDS = get_args(MaskKind)


@pytest.fixture
def folder(tmp_path):
    Image.fromarray(np.eye(20, dtype=np.uint8) * 255).save(tmp_path / "diagonal.png")
    return str(tmp_path)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_draws(kind, folder):
    draw = pickle.loads(pickle.dumps(mask_drawer(MaskConfig(kind=kind, box=60, folder=folder))))
    mask, boxes = draw(2, (180, 200), torch.Generator().manual_seed(0))
    assert mask.shape == (2, 1, 180, 200)
    assert mask.dtype == torch.bool
    assert boxes.dtype == torch.int64
    for sample, (top, left, height, width) in zip(mask[:, 0], boxes.tolist(), strict=True):
        assert not sample.all()
        assert sample[top : top + height, left : left + width].sum() == sample.sum() > 0


@pytest.mark.parametrize(
    ("options", "differ"),
    [
        ({"kind": "box"}, {"box": 20}),
        ({"kind": "box"}, {"shrink": 20}),
        ({"kind": "boxes"}, {"number": 1}),
        ({"kind": "box-and-strokes"}, {"box": 20}),
        ({"kind": "box-and-strokes"}, {"shrink": 20}),
        ({"kind": "centre"}, {"box": 20}),
        ({"kind": "varied"}, {"box": 20}),
        ({"kind": "varied"}, {"shrink": 20}),
    ],
)
def test_options_are_bound(options, differ):
    one, other = (
        mask_drawer(MaskConfig(**{"box": 40} | options | change))(
            8, (96, 96), torch.Generator().manual_seed(0)
        )
        for change in ({}, differ)
    )
    assert not torch.equal(one.mask, other.mask)


def test_box_and_strokes_is_both():
    mask, boxes = box_and_strokes(5, (64, 64), torch.Generator().manual_seed(2), box=24, shrink=8)
    generator = torch.Generator().manual_seed(2)
    box = random_boxes(5, (64, 64), 24, generator, shrink=8).mask
    strokes = free_form(5, (64, 64), generator).mask
    assert torch.equal(mask, box | strokes)
    assert (mask.sum((1, 2, 3)) > box.sum((1, 2, 3))).any()


def test_box_and_strokes_cover_what_the_published_masks_do():
    """A mean of 0.311 of 1500 holes of the published code, standard deviation 0.067, as that of ours."""
    mask = box_and_strokes(400, (256, 256), torch.Generator().manual_seed(0), box=128, shrink=32).mask
    # Our strokes have up to 12 segments where the code has 11, and no size is rounded down.
    assert abs(mask.float().mean() - 0.311) < 4 * 0.067 * (1 / 400 + 1 / 1500) ** 0.5


def test_the_command_evaluate_knows_every_kind():
    assert {*evaluate._DRAWN, "folder"} == set(KINDS)
