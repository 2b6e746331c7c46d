"""The examples in the docstrings of masks, data and configuration run and print what they say."""

import doctest
import importlib

import pytest
import torch


@pytest.mark.parametrize("module", ["config", "dead_leaves", "evaluate", "masks"])
def test_examples_run(module):
    loaded = importlib.import_module(f"contextual_attention.models.{module}")
    result = doctest.testmod(loaded, extraglobs={"torch": torch})
    assert result.attempted > 0
    assert result.failed == 0
