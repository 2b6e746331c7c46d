"""The examples in the public docstrings run and print what they say."""

import doctest
import importlib

import pytest
import torch

import contextual_attention

_CORE = ("backends", "functional", "modules", "options", "visualize")
_NETWORKS = ("models.critics", "models.generator", "models.losses")
_TRAINING = ("models.dead_leaves", "models.discount", "models.evaluate", "models.masks", "models.settings")
_FILLERS = ("models.exemplar", "models.inpaint", "models.patchmatch")


@pytest.mark.parametrize("module", [*_CORE, *_NETWORKS, *_TRAINING, *_FILLERS])
def test_examples_run(module):
    names = {name: getattr(contextual_attention, name) for name in contextual_attention.__all__}
    loaded = importlib.import_module(f"contextual_attention.{module}")
    result = doctest.testmod(loaded, extraglobs={"torch": torch, **names})
    assert result.attempted > 0
    assert result.failed == 0
