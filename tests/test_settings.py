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


def test_settings_without_a_value_take_numbers_and_text():
    changed = change(PRESETS["deepfill-v2"], {"generator.decoder_cnum": "32", "generator.attention": "None"})
    assert changed.generator.decoder_cnum == 32
    assert change(changed, {"generator.attention": "paper"}).generator.attention == "paper"
    without = change(PRESETS["iizuka"], {"generator.mean": "None"})
    assert without.generator.mean is None
    assert change(without, {"generator.mean": "0.5,0,1"}).generator.mean == (0.5, 0.0, 1.0)


def test_the_recipe_comes_with_the_preset():
    same = {"recipe": "iizuka", "loss.l2": "2"}
    assert change(PRESETS["iizuka"], same).loss.l2 == 2
    with pytest.raises(ValueError, match="recipe: comes with a preset, here 'wasserstein', and so do"):
        change(PRESETS["paper"], {"recipe": "iizuka", "loss.l2": "2"})


def test_a_configuration_from_before_there_were_recipes():
    values = to_dict(PRESETS["paper"])
    del values["recipe"]
    assert from_dict(values) == PRESETS["paper"]


def test_settings_of_another_recipe_are_named():
    values = to_dict(PRESETS["paper"]) | {"recipe": "iizuka"}
    with pytest.raises(ValueError, match=r"IizukaConfig: unknown .*attention"):
        from_dict(values)
    for recipe in ("magic", 3):
        with pytest.raises(ValueError, match="recipe: expected one of wasserstein"):
            from_dict({"recipe": recipe, "loss": {"gamma": 1.0}})


def test_unknown_fields_of_a_file_are_named():
    with pytest.raises(ValueError, match="TrainConfig: unknown learning; known: data, masks"):
        from_dict({"learning": 1})
