"""Configurations as dicts, through JSON, and changed by name."""

import dataclasses
import json

import pytest

from contextual_attention.models.training.config import TrainConfig
from contextual_attention.models.training.presets import PRESETS
from contextual_attention.models.training.settings import change, from_dict, to_dict


@pytest.mark.parametrize("preset", PRESETS)
def test_a_configuration_survives_json(preset):
    assert from_dict(json.loads(json.dumps(to_dict(PRESETS[preset])))) == PRESETS[preset]


def test_changes_by_name():
    changed = change(
        PRESETS["paper"],
        {"optimiser.batch": "8", "generator.attention": "None", "critics.local": "4,5,6,7",
         "data.flip": "false", "loss.gamma": "0.5", "steps": "3", "masks.kind": "free-form"},
    )  # fmt: skip
    assert changed.optimiser.batch == 8
    assert changed.generator.attention is None
    assert changed.critics.local == (4, 5, 6, 7)
    assert changed.data.flip is False
    assert changed.loss.gamma == 0.5
    assert changed.steps == 3
    assert changed.masks.kind == "free-form"
    assert dataclasses.replace(changed, steps=TrainConfig().steps) != PRESETS["paper"]


def test_unknown_fields_of_a_file_are_named():
    with pytest.raises(ValueError, match="TrainConfig: unknown learning; known: data, masks"):
        from_dict({"learning": 1})
