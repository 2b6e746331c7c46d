"""Converted checkpoints compute what the published networks do, and other files are refused in words."""

import json
import pickle
import sys
import types

import numpy as np
import pytest
import torch
from helpers import published
from safetensors.torch import save_file

from contextual_attention.cli import main
from contextual_attention.models.network.convert import convert
from contextual_attention.models.network.generator import InpaintGenerator
from contextual_attention.models.network.weight_files import WeightsError

CONFIGS = {
    "yu2018": {"padding": "same", "attention": "yu2018", "attention_activation": "relu"},
    "daa233": {"padding": "zero", "attention": "daa233", "attention_activation": "relu"},
    "mmagic": {"padding": "mirror", "attention": "mmagic", "attention_activation": "elu"},
}


def write(kind, path, weights=None):
    """A synthetic checkpoint as its publisher writes it."""
    weights = published.checkpoint(kind) if weights is None else weights
    if kind == "yu2018":
        np.savez(path, **{f"{name}:0": x.numpy() for name, x in weights.items()}, global_step=np.int64(7))
    elif kind == "mmagic":
        torch.save({"meta": {"iter": 7, "env": "some text"}, "state_dict": weights}, path)
    else:
        torch.save(weights, path)
    return path


@pytest.fixture(params=CONFIGS)
def kind(request):
    return request.param


@pytest.fixture
def source(kind, tmp_path):
    return write(kind, tmp_path / ("model.npz" if kind == "yu2018" else "model.pth"))


def problem():
    # Features of 18 and 20: the published mirror padding of dilation 16 takes no less than 17.
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(1, 3, 72, 80, generator=generator) * 2 - 1
    mask = torch.zeros(1, 1, 72, 80)
    mask[..., 16:50, 21:60] = 1
    return image, mask


def assert_computes_the_published(generator, kind, weights, is_bgr):
    image, mask = problem()
    colours = [2, 1, 0] if is_bgr else [0, 1, 2]
    with torch.no_grad():
        expected = published.forward(kind, weights, image[:, colours], mask)
        found = generator(image, mask)
    for x, y in zip(found[:2], expected, strict=True):
        # Float32 through up to 35 layers, and exponentials of logits of up to about 100.
        assert torch.allclose(x, y[:, colours], atol=2e-4)
    # Else colours could be exchanged unseen.
    assert (found.refined - found.refined[:, [2, 1, 0]]).abs().mean() > 0.05


def test_computes_what_the_published_network_does(kind, source):
    generator, layout, _ = convert(source)
    assert layout.name == kind
    assert vars(generator.config).items() >= (CONFIGS[kind] | {"cnum": published.CNUM}).items()
    assert_computes_the_published(generator, kind, published.checkpoint(kind), kind != "daa233")


def test_every_weight_is_taken(kind, source, tmp_path):
    """Each key of the generator decides something: a change of any one reaches the result."""
    weights = published.checkpoint(kind)
    before = convert(source).network.state_dict()
    changed = {name: x + 1 for name, x in weights.items()}
    after = convert(write(kind, tmp_path / f"changed{source.suffix}", changed)).network.state_dict()
    assert all(torch.allclose(after[name], before[name] + 1) for name in before)
    assert len(before) == 84


@pytest.mark.parametrize("prefix", ["netG.", ""])
def test_daa233_of_the_trainer(tmp_path, prefix):
    weights = published.checkpoint("daa233")
    named = {prefix + name: x for name, x in weights.items()} | {"localD.linear.bias": torch.zeros(1)}
    torch.save(named, tmp_path / "model.p")
    generator, _, _ = convert(tmp_path / "model.p")
    assert_computes_the_published(generator, "daa233", weights, False)


def test_mmagic_of_the_generator_alone(tmp_path):
    weights = published.checkpoint("mmagic")
    save_file({name.removeprefix("generator."): x for name, x in weights.items()}, tmp_path / "m.safetensors")
    generator, layout, _ = convert(tmp_path / "m.safetensors")
    assert layout.name == "mmagic"
    assert_computes_the_published(generator, "mmagic", weights, True)


def test_what_the_publisher_does_can_be_overridden(tmp_path):
    """TensorFlow's weights in daa233's file format, as that project offers them."""
    weights = published.checkpoint("daa233")
    path = write("daa233", tmp_path / "model.pt", weights)
    generator = convert(path, padding="same", attention="yu2018", is_bgr=True).network
    assert (generator.config.padding, generator.config.attention) == ("same", "yu2018")
    moved = {}
    for theirs, ours in zip(published.names("yu2018"), published.names("daa233"), strict=True):
        for name, other in zip(theirs, ours, strict=True):
            moved[f"{name}/kernel"] = weights[f"{other}.conv.weight"].permute(2, 3, 1, 0)
            moved[f"{name}/bias"] = weights[f"{other}.conv.bias"]
    assert_computes_the_published(generator, "yu2018", moved, True)


class OpError(Exception):
    """As tensorflow.errors.OpError, of which all of TensorFlow's are kinds: no kind of RuntimeError."""


class TestTensorFlowFiles:
    @pytest.fixture
    def prefix(self, tmp_path):
        for name in ("checkpoint", "snap-10000.index", "snap-10000.meta", "snap-10000.data-00000-of-00001"):
            (tmp_path / name).write_bytes(b"")
        return tmp_path / "snap-10000"

    @pytest.fixture
    def tensorflow(self, monkeypatch):
        """A stand-in with the two methods of TensorFlow's reader that are called."""
        weights = {name: x.numpy() for name, x in published.checkpoint("yu2018").items()}
        opened = []

        class Reader:
            def __init__(self, path):
                opened.append(path)

            def get_variable_to_shape_map(self):
                return {name: x.shape for name, x in weights.items()}

            def get_tensor(self, name):
                return weights[name]

        module = types.ModuleType("tensorflow")
        module.train = types.SimpleNamespace(load_checkpoint=Reader)
        module.errors = types.SimpleNamespace(OpError=OpError)
        monkeypatch.setitem(sys.modules, "tensorflow", module)
        return opened

    @pytest.mark.parametrize("ending", ["", ".index", ".meta", ".data-00000-of-00001"])
    def test_are_found_by_any_of_their_names(self, prefix, tensorflow, ending):
        generator, layout, _ = convert(f"{prefix}{ending}")
        assert layout.name == "yu2018"
        assert tensorflow == [str(prefix)]
        assert_computes_the_published(generator, "yu2018", published.checkpoint("yu2018"), True)

    def test_are_found_by_their_folder(self, prefix, tensorflow):
        assert convert(prefix.parent).layout.name == "yu2018"
        assert tensorflow == [str(prefix.parent)]

    def test_are_found_without_the_file_that_names_them(self, prefix, tensorflow):
        (prefix.parent / "checkpoint").rename(prefix.parent / "checkpoint.txt")
        assert convert(prefix.parent).layout.name == "yu2018"
        assert tensorflow == [str(prefix)]

    @pytest.mark.parametrize("kind", [OpError, RuntimeError, ValueError])
    def test_damage_is_named(self, prefix, tensorflow, monkeypatch, kind):
        def fail(path):
            raise kind("bad record\nat byte 7")

        monkeypatch.setattr(sys.modules["tensorflow"].train, "load_checkpoint", fail)
        with pytest.raises(WeightsError, match=r"snap-10000: TensorFlow cannot read it \(bad record\)$"):
            convert(prefix)

    def test_say_what_they_need(self, prefix, monkeypatch):
        monkeypatch.setitem(sys.modules, "tensorflow", None)
        with pytest.raises(WeightsError, match=r"contextual_attention\[tensorflow\].*np\.savez"):
            convert(prefix)


class Evil:
    """What a pickle may hold: a call of anything, made on loading."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (type(self.path).touch, (self.path,))


class TestErrors:
    def test_unknown_keys(self, tmp_path):
        torch.save({"layer1.weight": torch.zeros(1)}, tmp_path / "resnet.pth")
        with pytest.raises(WeightsError, match=r"its keys are layer1\.weight") as caught:
            convert(tmp_path / "resnet.pth")
        for accepted in (
            "inpaint_net/conv1/kernel",
            "coarse_generator.conv1.conv.weight",
            "generator.stage1.encoder.enc1.conv.weight",
        ):
            assert accepted in str(caught.value)

    def test_a_missing_layer(self, kind, tmp_path):
        weights = published.checkpoint(kind)
        gone = published.key(kind, published.names(kind)[2][3], "bias")
        del weights[gone]
        path = write(kind, tmp_path / ("model.npz" if kind == "yu2018" else "model.pth"), weights)
        with pytest.raises(WeightsError, match=f"{gone} is missing"):
            convert(path)

    def test_gated_convolutions(self, tmp_path):
        """Half as many channels come out of a gated layer as go into the next one."""
        weights = published.checkpoint("yu2018")
        name = "inpaint_net/conv3/kernel"
        weights[name] = weights[name][:, :, :4]
        with pytest.raises(WeightsError, match=r"conv3/kernel: .*\(8, 8, 3, 3\).*\(8, 4, 3, 3\): weights"):
            convert(write("yu2018", tmp_path / "model.npz", weights))

    def test_an_odd_number_of_channels(self, kind, tmp_path):
        weights = published.checkpoint(kind)
        first = published.key(kind, published.names(kind)[0][0], "weight")
        weights[first] = weights[first][..., :3] if kind == "yu2018" else weights[first][:3]
        path = write(kind, tmp_path / ("model.npz" if kind == "yu2018" else "model.pth"), weights)
        with pytest.raises(WeightsError, match=r"model\..*: no network .*: cnum: expected an even .* got 3"):
            convert(path)

    def test_an_option_that_the_format_does_not_have(self, kind, source):
        with pytest.raises(WeightsError, match=rf"mean: no option of the format {kind}; its options: atten"):
            convert(source, mean=(0.5, 0.5, 0.5))

    def test_a_variant_that_the_format_does_not_have(self, kind, source):
        with pytest.raises(WeightsError, match=rf"variant: expected none, the format {kind} .*; got 'other'"):
            convert(source, variant="other")

    def test_code_is_not_run(self, tmp_path):
        path, touched = tmp_path / "model.pth", tmp_path / "touched"
        path.write_bytes(pickle.dumps({"coarse_generator.conv1.conv.weight": Evil(touched)}, protocol=2))
        with pytest.raises(WeightsError, match="not a file of named tensors"):
            convert(path)
        assert not touched.exists()

    @pytest.mark.parametrize("name", ["notes.txt", "model.npz", "model.safetensors", "empty"])
    def test_other_files(self, tmp_path, name):
        (tmp_path / name).write_bytes(b"" if name == "empty" else b"no tensors, but text of some length")
        with pytest.raises(WeightsError, match=r"not a file of named tensors(.|\n)*Accepted"):
            convert(tmp_path / name)

    def test_other_contents(self, tmp_path):
        torch.save([torch.zeros(1)], tmp_path / "list.pt")
        with pytest.raises(WeightsError, match="it holds a list"):
            convert(tmp_path / "list.pt")
        with pytest.raises(WeightsError, match="a folder without a TensorFlow checkpoint"):
            convert(tmp_path)
        with pytest.raises(FileNotFoundError):
            convert(tmp_path / "nothing.pth")


class TestCommand:
    def test_end_to_end(self, kind, source, tmp_path, capsys):
        output = tmp_path / "converted"
        assert main(["convert", str(source), str(output)]) == 0
        printed = capsys.readouterr().out
        assert f"{kind}, github.com/" in printed
        layout = convert(source).layout
        assert f"licence of the weights: {layout.licence}" in printed
        origin = json.loads((output / "origin.json").read_text())
        assert origin == {
            "file": source.name, "format": kind, "variant": None, "published": layout.origin,
            "licence": layout.licence,
        }  # fmt: skip
        config = json.loads((output / "config.json").read_text())
        assert config.items() >= CONFIGS[kind].items()
        generator = InpaintGenerator.from_pretrained(output)
        assert_computes_the_published(generator, kind, published.checkpoint(kind), kind != "daa233")

    def test_options(self, tmp_path):
        source, output = write("daa233", tmp_path / "model.pt"), tmp_path / "converted"
        options = ["--padding", "same", "--attention", "yu2018", "--channels", "bgr"]
        assert main(["convert", str(source), str(output), *options]) == 0
        found = InpaintGenerator.from_pretrained(output)
        expected = convert(source, padding="same", attention="yu2018", is_bgr=True).network
        assert found.config == expected.config
        assert torch.equal(found.coarse[0].weight, expected.coarse[0].weight)

    @pytest.mark.parametrize("text", ["0.5", "0.5,0.5,2", "red,green,blue", "-1,0,0", "nan,0,0"])
    def test_a_colour_that_is_none(self, source, text, capsys):
        with pytest.raises(SystemExit):
            main(["convert", str(source), "out", f"--mean={text}"])
        assert "expected three numbers from 0 to 1" in capsys.readouterr().err

    def test_errors_leave_nothing_behind(self, tmp_path, capsys):
        source = write("daa233", tmp_path / "model.pt")
        for arguments, message in (
            ((tmp_path / "no.pt", tmp_path / "out"), "No such file"),
            ((source, tmp_path / "no" / "out"), "there is no folder"),
            ((source, source), "exists; remove it"),
            ((".", tmp_path / "out"), "a folder without a TensorFlow checkpoint"),
        ):
            assert main(["convert", *map(str, arguments)]) == 2
            assert message in capsys.readouterr().err
        assert [each.name for each in tmp_path.iterdir()] == ["model.pt"]

    def test_a_failed_write_leaves_nothing_behind(self, tmp_path, monkeypatch):
        source = write("daa233", tmp_path / "model.pt")

        def full(self, folder, **_):
            folder.mkdir()
            (folder / "config.json").touch()
            raise OSError("no space left")

        monkeypatch.setattr(InpaintGenerator, "save_pretrained", full)
        assert main(["convert", str(source), str(tmp_path / "out")]) == 2
        assert [each.name for each in tmp_path.iterdir()] == ["model.pt"]
