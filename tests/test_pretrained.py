"""Finding and loading generators, and what is said where none is."""

import os

import pytest
import torch

from contextual_attention.models.network.generator import InpaintGenerator
from contextual_attention.models.network.pretrained import generator_folder, load_generator


@pytest.fixture
def generator():
    return InpaintGenerator(cnum=2, attention=None)


@pytest.mark.parametrize("inside", ["", "model"])
def test_a_folder_or_a_run_of_training(generator, tmp_path, inside, capsys):
    generator.save_pretrained(tmp_path / inside)
    (tmp_path / "config.json").touch()  # a run has a configuration of its own
    if not inside:
        generator.save_pretrained(tmp_path)
    loaded = load_generator(tmp_path)
    assert generator_folder(tmp_path) == tmp_path / inside
    assert loaded.config == generator.config
    assert not loaded.training
    assert all(torch.equal(a, b) for a, b in zip(loaded.parameters(), generator.parameters(), strict=True))
    assert capsys.readouterr().out == ""


def test_a_folder_without_weights(tmp_path):
    (tmp_path / "model").mkdir()
    with pytest.raises(ValueError, match="neither a training run that has saved"):
        load_generator(tmp_path)


@pytest.mark.parametrize("name", ["/no/such", "not a name", ""])
def test_no_folder_and_no_repository(name):
    with pytest.raises(ValueError, match=f"model: '{name}' is no folder here, and no repository"):
        load_generator(name)


def test_cut_weights(generator, tmp_path):
    generator.save_pretrained(tmp_path)
    os.truncate(tmp_path / "model.safetensors", 1000)
    with pytest.raises(ValueError, match=r"^model: .*model\.safetensors: not a file of named tensors \("):
        load_generator(tmp_path)


def test_weights_of_another_configuration(generator, tmp_path):
    InpaintGenerator(cnum=4, attention=None).save_pretrained(tmp_path)
    config = (tmp_path / "config.json").read_text()
    generator.save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text(config)
    with pytest.raises(
        ValueError, match=r"model\.safetensors: .*: expected shape .* of another configuration"
    ):
        load_generator(tmp_path)
