"""The weights that come with the package: whole, small, loaded without a connection; and how they get in."""

import json
import shutil
import socket
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from contextual_attention.models import load_model
from contextual_attention.models.network import shipped
from contextual_attention.models.network.iizuka import CompletionNetwork
from contextual_attention.models.network.shipped import FILES, FOLDER, SUMS, load_shipped, shipped_structure
from contextual_attention.models.network.structure import StructureNetwork
from contextual_attention.models.network.weight_files import WeightsError
from contextual_attention.models.patches.pyramid import smooth_fill
from tools.structure import ship as command
from tools.structure.ship import MOST_BYTES, ship


def weights_of(folder):
    with safe_open(folder / "model.safetensors", "pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (it is no dict)


@pytest.fixture
def network():
    """Tiny, and no part of it without an effect."""
    torch.manual_seed(0)
    made = StructureNetwork(cnum=2, dilations=(1, 2)).eval()
    with torch.no_grad():
        for weight in made.parameters():
            weight.add_(torch.randn_like(weight), alpha=0.1)
    return made


@pytest.fixture
def copied(tmp_path):
    """The folder of the package, to be damaged."""
    return shutil.copytree(FOLDER, tmp_path / "structure")


class TestWhatComesWithThePackage:
    def test_files(self):
        assert {file.name for file in FOLDER.iterdir()} == {*FILES, SUMS}
        assert sum(file.stat().st_size for file in FOLDER.iterdir()) <= MOST_BYTES
        assert {each.dtype for each in weights_of(FOLDER).values()} == {torch.float16}

    def test_is_loaded_once_ready_for_use_and_without_a_connection(self, monkeypatch):
        def connect(*_):
            raise AssertionError("nothing is asked of any host")

        monkeypatch.setattr(socket.socket, "connect", connect)
        shipped._on.cache_clear()
        network = shipped_structure()
        assert type(network) is StructureNetwork
        assert shipped_structure() is network
        assert shipped_structure("cpu") is shipped_structure(torch.device("cpu")) is network
        assert not network.training
        assert all(each.dtype == torch.float32 for each in network.parameters())
        kept = weights_of(FOLDER)
        assert all(torch.equal(each, kept[name].float()) for name, each in network.state_dict().items())

    def test_on_a_device(self):
        assert next(shipped_structure("meta").parameters()).device.type == "meta"
        assert next(shipped_structure().parameters()).device.type == "cpu"

    def test_has_learnt_something(self):
        """In the holes of scenes it is nearer than a smooth filling, and knows where it is far off."""
        sample = command.scenes()
        with torch.no_grad():
            found = shipped_structure()(sample.image, sample.mask, sample.drafts)
        hole = sample.mask[:, 0]

        def wrong(colours):
            return (colours - sample.image).abs().mean(1)[hole]

        own = wrong(found.refined)
        assert own.mean() < 0.9 * wrong(smooth_fill(sample.image, sample.mask)).mean()
        expected = found.error[:, 0][hole]
        assert torch.corrcoef(torch.stack((own.log1p(), expected.log1p())))[0, 1] > 0.3

    def test_is_a_name_of_load_model(self, tmp_path, monkeypatch, network):
        monkeypatch.chdir(tmp_path)
        loaded = load_model("structure")
        assert load_model(Path("structure")).config == loaded.config
        assert loaded is not shipped_structure()
        assert all(
            torch.equal(a, b)
            for a, b in zip(loaded.parameters(), shipped_structure().parameters(), strict=True)
        )
        network.save_pretrained("structure")  # a folder of that name comes first
        assert load_model("structure").config == network.config


class TestDamage:
    @pytest.mark.parametrize("name", FILES)
    def test_another_byte(self, copied, name):
        file = copied / name
        data = bytearray(file.read_bytes())
        data[-2] ^= 1
        file.write_bytes(data)
        with pytest.raises(WeightsError, match=rf"{file}: not the file .* install the package again"):
            load_shipped(copied)

    @pytest.mark.parametrize("name", [*FILES, SUMS])
    def test_a_file_that_is_gone(self, copied, name):
        (copied / name).unlink()
        with pytest.raises(
            WeightsError, match=rf"{copied / name}: No such file .*; install the package again"
        ):
            load_shipped(copied)

    def test_sums_that_are_none(self, copied):
        (copied / SUMS).write_bytes(b"\xff\n")
        with pytest.raises(WeightsError, match=rf"{copied / FILES[0]}: not the file"):
            load_shipped(copied)

    def test_load_model_says_so(self, copied, monkeypatch, tmp_path):
        (copied / SUMS).unlink()
        monkeypatch.chdir(tmp_path / "structure" / "..")
        monkeypatch.setattr(shipped, "load_shipped", lambda: load_shipped(copied))
        monkeypatch.chdir("/")
        with pytest.raises(ValueError, match=r"^model: .*SHA256SUMS: No such file"):
            load_model("structure")


class TestShipping:
    def test_what_is_written(self, network, tmp_path):
        folder = tmp_path / "structure"
        change = ship(network, folder)
        assert {file.name for file in folder.iterdir()} == {*FILES, SUMS}
        assert all(file.stat().st_mode & 0o444 == 0o444 for file in folder.iterdir())
        kept, own = weights_of(folder), network.state_dict()
        assert kept.keys() == own.keys()
        assert all(torch.equal(kept[name], own[name].half()) for name in own)
        assert load_shipped(folder).config == network.config
        # float16 has 11 bits: it changes something, and little.
        assert 0 < change.colour < 0.01
        assert 0 < change.error < 0.01

    def test_an_older_one_is_replaced(self, network, tmp_path):
        shutil.copytree(FOLDER, tmp_path / "structure")
        ship(network, tmp_path / "structure")
        assert load_shipped(tmp_path / "structure").config == network.config

    @pytest.mark.parametrize("weight", [7e4, 1e-7])
    def test_what_float16_cannot_hold(self, network, tmp_path, weight):
        """Beyond its range, and a colour that is made of weights below its steps."""
        with torch.no_grad():
            if weight > 1:
                network.enter.features.bias[0] = weight
            else:
                network.leave.features.weight.mul_(weight)
                network.leave.features.bias.mul_(weight)
                network.last.weight.mul_(0.2 / weight)
        with pytest.raises(
            ValueError, match=r"float16 changes its colours by up to .*; expected at most 0\.00784"
        ):
            ship(network, tmp_path / "structure")
        assert list(tmp_path.iterdir()) == []

    def test_what_is_too_large(self, network, tmp_path, monkeypatch):
        monkeypatch.setattr(command, "MOST_BYTES", 100)
        with pytest.raises(ValueError, match=r"its weights have [\d,]+ bytes, expected at most 100"):
            ship(network, tmp_path / "structure")
        assert list(tmp_path.iterdir()) == []

    def test_the_command(self, network, tmp_path, monkeypatch, capsys):
        folder = tmp_path / "structure"
        monkeypatch.setattr(command, "ship", lambda made: ship(made, folder))
        network.save_pretrained(tmp_path / "run/model")
        command.main([str(tmp_path / "run")])
        assert load_shipped(folder).config == network.config
        assert "float16 changes colours by up to" in capsys.readouterr().out

    def test_what_the_command_refuses(self, tmp_path):
        CompletionNetwork(cnum=2).save_pretrained(tmp_path / "other")
        with pytest.raises(SystemExit, match="expected a structure network, got one of iizuka"):
            command.main([str(tmp_path / "other")])
        (tmp_path / "empty").mkdir()
        with pytest.raises(SystemExit, match="neither a training run"):
            command.main([str(tmp_path / "empty")])


def test_the_folder_s_configuration_is_that_of_the_default():
    """What the package's own documentation says of it: 1.79 million parameters."""
    values = json.loads((FOLDER / "config.json").read_text())
    assert (
        StructureNetwork.Config(**{name: values[name] for name in values if name != "system"})
        == StructureNetwork.Config()
    )
