"""The photographs that other packages bring along."""

import importlib.util

import pytest

from contextual_attention import photos
from contextual_attention.models.data.bundled import bundled_photographs


def test_every_photograph_can_be_read():
    found = bundled_photographs()
    assert {"astronaut", "china"} <= set(found)
    for path in found.values():
        assert min(photos.read_photo(path).shape[2:]) >= 300


def test_one_package_is_enough(monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "sklearn" else find(name))
    assert "astronaut" in bundled_photographs()
    assert "china" not in bundled_photographs()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(FileNotFoundError, match="pip install scikit-image"):
        bundled_photographs()
