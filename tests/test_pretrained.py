"""Finding and loading networks, and what is said where none is."""

import json
import os

import pytest
import torch

from contextual_attention import models
from contextual_attention.models.network import pretrained
from contextual_attention.models.network.generator import InpaintGenerator
from contextual_attention.models.network.pretrained import load_model, model_folder
from contextual_attention.models.network.systems import SYSTEMS


@pytest.fixture
def generator():
    return InpaintGenerator(cnum=2, attention=None)


@pytest.mark.parametrize("inside", ["", "model"])
def test_a_folder_or_a_run_of_training(generator, tmp_path, inside, capsys):
    generator.save_pretrained(tmp_path / inside)
    (tmp_path / "config.json").touch()  # a run has a configuration of its own
    if not inside:
        generator.save_pretrained(tmp_path)
    loaded = load_model(tmp_path)
    assert model_folder(tmp_path) == tmp_path / inside
    assert loaded.config == generator.config
    assert not loaded.training
    assert all(torch.equal(a, b) for a, b in zip(loaded.parameters(), generator.parameters(), strict=True))
    assert capsys.readouterr().out == ""


def test_a_folder_without_weights(tmp_path):
    (tmp_path / "model").mkdir()
    with pytest.raises(ValueError, match="neither a training run that has saved"):
        load_model(tmp_path)


@pytest.mark.parametrize("name", ["/no/such", "not a name", ""])
def test_no_folder_and_no_repository(name):
    with pytest.raises(ValueError, match=f"model: '{name}' is no folder here, and no repository"):
        load_model(name)


def test_cut_weights(generator, tmp_path):
    generator.save_pretrained(tmp_path)
    os.truncate(tmp_path / "model.safetensors", 1000)
    with pytest.raises(ValueError, match=r"^model: .*model\.safetensors: not a file of named tensors \("):
        load_model(tmp_path)


def test_weights_of_another_configuration(generator, tmp_path):
    InpaintGenerator(cnum=4, attention=None).save_pretrained(tmp_path)
    config = (tmp_path / "config.json").read_text()
    generator.save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text(config)
    with pytest.raises(
        ValueError, match=r"model\.safetensors: .*: expected shape .* of another configuration"
    ):
        load_model(tmp_path)


def test_a_repository_of_any_system(generator, tmp_path, monkeypatch):
    generator.save_pretrained(tmp_path)
    monkeypatch.setattr(pretrained, "hf_hub_download", lambda name, file: str(tmp_path / file))
    monkeypatch.setattr(type(generator), "from_pretrained", classmethod(lambda cls, name: (cls, name)))
    assert pretrained._from_repository("owner/name") == (InpaintGenerator, "owner/name")


class TestSystem:
    def rewrite(self, folder, **changes):
        file = folder / "config.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | changes))

    def test_is_written_and_read(self, generator, tmp_path):
        generator.save_pretrained(tmp_path)
        assert json.loads((tmp_path / "config.json").read_text())["system"] == "deepfill"
        assert type(load_model(tmp_path)) is InpaintGenerator

    def test_folders_of_before_have_none(self, generator, tmp_path):
        generator.save_pretrained(tmp_path)
        (tmp_path / "config.json").write_text(json.dumps(vars(generator.config)))
        assert load_model(tmp_path).config == generator.config

    def test_unknown(self, generator, tmp_path):
        generator.save_pretrained(tmp_path)
        self.rewrite(tmp_path, system="lama")
        with pytest.raises(ValueError, match=r"config\.json: system: expected one of deepfill.*, got 'lama'"):
            load_model(tmp_path)

    def test_of_another_class(self, generator, tmp_path):
        generator.save_pretrained(tmp_path)
        self.rewrite(tmp_path, system="lama")
        with pytest.raises(ValueError, match=r"its system is 'lama', expected 'deepfill'"):
            InpaintGenerator.from_pretrained(tmp_path)

    @pytest.mark.parametrize("text", ["", "{", "[" * 100_000])
    def test_no_configuration(self, generator, tmp_path, text):
        generator.save_pretrained(tmp_path)
        (tmp_path / "config.json").write_text(text)
        with pytest.raises(ValueError, match=r"model: .*config\.json: not the configuration of a network"):
            load_model(tmp_path)

    def test_each_has_a_name_of_its_own(self):
        assert all(network.system == name for name, network in SYSTEMS.items())


def test_the_device_is_as_asked(generator, tmp_path):
    generator.save_pretrained(tmp_path)
    assert next(load_model(tmp_path, "meta").parameters()).device.type == "meta"


def test_is_exported_with_every_network():
    assert models.load_model is load_model
    assert all(getattr(models, network.__name__) is network for network in SYSTEMS.values())
