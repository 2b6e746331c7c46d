"""The context encoder against outputs of the published one.

Its weights come as each publisher writes them, through `convert`. tests/data: context_encoder from
BoyuanJiang/context_encoder_pytorch, narrow. Numbers only, of a network with random weights.
"""

import numpy as np
import pytest
import torch
from helpers.goldens import away, golden
from helpers.torch7 import Module, modules, t7

from contextual_attention.cli import main
from contextual_attention.models.network.context_encoder import ContextEncoder
from contextual_attention.models.network.convert import convert
from contextual_attention.models.network.pretrained import load_model
from contextual_attention.models.network.weight_files import WeightsError

# Float32 on both sides, added up in different orders.
CLOSE = 5e-6
# What an option that is wrong moves the output by, at least: two thousand times as much.
FAR = 0.01


def published_encoder(arrays):
    """BoyuanJiang's state dict."""
    return {name[2:]: torch.from_numpy(x) for name, x in arrays.items() if name.startswith("G.")}


def nested_encoder(state, has_std=False):
    """The same weights as pathak22's Torch7 file has them, with biases of 0 beside them."""
    weights = {name.removeprefix("main."): x.numpy() for name, x in state.items()}
    for name, x in list(weights.items()):
        if x.ndim == 4:
            is_transposed = int(name.partition(".")[0]) > 14
            weights[name.replace("weight", "bias")] = np.zeros(x.shape[1 if is_transposed else 0], np.float32)
        if has_std and name.endswith("running_var"):
            del weights[name]
            weights[name.replace("var", "std")] = ((x.astype(np.float64) + 1e-5) ** -0.5).astype(np.float32)
    inner = {name: x for name, x in weights.items() if int(name.partition(".")[0]) <= 14}
    outer = {}
    for name in weights.keys() - inner:
        place, _, part = name.partition(".")
        outer[f"{int(place) - 14}.{part}"] = weights[name]
    encoder = Module("nn.Sequential", {"modules": modules(inner, 15, lambda _: "nn.SpatialConvolution")})
    last = 1 + max(int(name.partition(".")[0]) for name in outer)
    rest = modules(outer, last, lambda _: "nn.SpatialFullConvolution")
    return Module("nn.Sequential", {"modules": [encoder, *rest[1:], Module("nn.Tanh", {})]})


class TestContextEncoder:
    @pytest.fixture
    def arrays(self):
        return golden("context_encoder")

    @pytest.fixture(params=["boyuanjiang", "pathak22", "pathak22 of before running_var"])
    def source(self, arrays, tmp_path, request):
        state = published_encoder(arrays)
        if request.param == "boyuanjiang":
            torch.save({"epoch": 7, "state_dict": state}, tmp_path / "net")
        else:
            encoder = nested_encoder(state, has_std="before" in request.param)
            (tmp_path / "net").write_bytes(t7(encoder))
        return tmp_path / "net"

    @pytest.fixture
    def problem(self, arrays):
        """The published hole: the middle of the predicted centre."""
        mask = torch.zeros(1, 1, 128, 128)
        mask[..., 36:92, 36:92] = 1
        return torch.from_numpy(arrays["image"]).float() / 127.5 - 1, mask

    @staticmethod
    def centre(refined):
        return refined[..., 32:96, 32:96]

    def test_computes_the_published(self, source, arrays, problem):
        with torch.no_grad():
            network = convert(source).network
            assert away(self.centre(network(*problem).refined), arrays["y"]) < CLOSE

    def test_in_training(self, source, arrays, problem):
        network = convert(source).network.train()
        assert away(self.centre(network(*problem).refined), arrays["y_train"]) < CLOSE
        for part in ("running_mean", "running_var"):
            found = getattr(network.encoder[1].norm, part)
            assert away(found, arrays[f"after.G.main.3.{part}"]) < CLOSE

    @torch.no_grad()
    def test_a_wrong_option_shows(self, source, arrays, problem):
        network, (image, mask) = convert(source).network, problem

        def distance():
            return away(self.centre(network(image, mask).refined), arrays["y"])

        other = ContextEncoder(network.config, overlap=0).eval()
        other.load_state_dict(network.state_dict())
        whole = torch.zeros(1, 1, 128, 128)
        whole[..., 32:96, 32:96] = 1
        assert away(self.centre(other(image, whole).refined), arrays["y"]) > FAR
        network._fill[:] = network._fill.flip(0)
        assert distance() > FAR / 10  # 2 grey values of 255, in a third of the picture
        network._fill[:] = network._fill.flip(0)
        image = image.flip(1)
        assert distance() > FAR

    def test_what_a_file_tells(self, source):
        network, layout, _ = convert(source)
        assert source.read_bytes()[:1] == (b"\x04" if layout.name == "pathak22" else b"P")
        config = network.config
        assert (config.cnum, config.bottleneck, config.output) == (8, 60, "centre")
        assert config.bias == (layout.name == "pathak22")

    def test_the_command_and_the_folder(self, source, arrays, problem, tmp_path, capsys):
        assert main(["convert", str(source), str(tmp_path / "out")]) == 0
        licence = "MIT" if convert(source).layout.name == "boyuanjiang" else "of the University of California"
        assert f"licence of the weights: {licence}" in capsys.readouterr().out
        network = load_model(tmp_path / "out")
        assert isinstance(network, ContextEncoder)
        with torch.no_grad():
            assert away(self.centre(network(*problem).refined), arrays["y"]) < CLOSE

    def test_regions_of_any_shape(self, tmp_path):
        """The authors' model for them has one stage more, and no file of it is published."""
        expected = ContextEncoder(cnum=3, bottleneck=10, bias=True, output="whole").eval()
        places = (
            iter([0, 2, 5, 8, 11, 14, 17, 20, 23, 26, 29, 32]),
            iter([3, 6, 9, 12, 15, 18, 21, 24, 27, 30]),
        )
        state = {}
        for module in expected.modules():
            is_norm = isinstance(module, torch.nn.BatchNorm2d)
            if is_norm or isinstance(module, (torch.nn.Conv2d, torch.nn.ConvTranspose2d)):
                place = next(places[is_norm])
                state |= {f"main.{place}.{name}": x for name, x in module.state_dict().items() if x.dim()}
        (tmp_path / "net.t7").write_bytes(t7(nested_encoder(state)))
        network = convert(tmp_path / "net.t7").network
        assert network.config == expected.config
        for name, x in expected.state_dict().items():
            assert torch.equal(network.state_dict()[name], x), name

    def test_a_network_of_other_stages(self, arrays, tmp_path):
        """Of pictures of 64 x 64: one stage of the encoder less, and so all that follows elsewhere."""
        state = published_encoder(arrays)
        state["main.14.weight"] = state["main.14.weight"][:, :32]
        torch.save(state, tmp_path / "net.pth")
        with pytest.raises(
            WeightsError, match=r"main\.14\.weight: expected shape .*: weights of another network"
        ):
            convert(tmp_path / "net.pth")
