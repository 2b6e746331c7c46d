"""The examples in the public docstrings run and print what they say."""

import doctest
import importlib

import pytest
import torch

import contextual_attention

_CORE = ("backends", "functional", "modules", "options", "visualize")
_MODELS = {
    "network": ("context_encoder_critic", "critics", "generator", "iizuka_critics", "patch_critic"),
    "data": ("dead_leaves", "discount", "masks", "scenes.scene"),
    "training": ("adversarial", "losses", "settings"),
    "filling": ("exemplar", "inpaint", "patchmatch"),
    "evaluation": ("evaluate",),
}


@pytest.mark.parametrize(
    "module",
    [*_CORE, *(f"models.{folder}.{name}" for folder, names in _MODELS.items() for name in names)],
)
def test_examples_of_docstrings_run(module):
    names = {name: getattr(contextual_attention, name) for name in contextual_attention.__all__}
    loaded = importlib.import_module(f"contextual_attention.{module}")
    result = doctest.testmod(loaded, extraglobs={"torch": torch, **names})
    assert result.attempted > 0
    assert result.failed == 0
