"""The network of Iizuka et al. 2017 against outputs of the published ones.

Their weights come as each publisher writes them, through `convert`. tests/data: glcic_iizuka by the list of
layers of satoshiiizuka/siggraph2017_inpainting's file as chien-lung/inpaint_project converts it,
glcic_otenim from otenim/GLCIC-PyTorch, glcic_mmagic from open-mmlab/mmagic. Numbers only, of networks with
random weights.
"""

import json

import numpy as np
import pytest
import torch
from helpers.goldens import away, drawn, golden
from helpers.torch7 import Cuda, Module, modules, t7

from contextual_attention.cli import main
from contextual_attention.models.network.convert import convert
from contextual_attention.models.network.iizuka import PLACES2_MEAN, CompletionNetwork
from contextual_attention.models.network.layouts.layout import reverse_colours
from contextual_attention.models.network.pretrained import load_model
from contextual_attention.models.network.weight_files import WeightsError

# Float32 on both sides, added up in different orders.
CLOSE = 5e-6
# What an option that is wrong moves the output by, at least: two thousand times as much.
FAR = 0.01

# Of the authors' list of modules.
NORMS = {f"{3 * number + 1}" for number in range(16)}


def problem(arrays, case, is_bgr):
    image = torch.from_numpy(arrays[f"{case}.image"]).float() / 127.5 - 1
    return image.flip(1) if is_bgr else image, torch.from_numpy(arrays[f"{case}.mask"]).float()


@torch.no_grad()
def distance(network, kind, arrays, case="a"):
    """Of a network's output from the published one."""
    is_bgr = kind == "mmagic"
    refined = network(*problem(arrays, case, is_bgr)).refined
    return away(refined.flip(1) if is_bgr else (refined + 1) / 2, arrays[f"{case}.y"])


def authors_file(arrays):
    """The table that the authors' Torch7 file holds."""
    weights = {name: x.numpy() for name, x in drawn(arrays, NORMS).items()}

    def kind(place):
        return "nn.SpatialBatchNormalization" if f"{place}" in NORMS else "nn.SpatialConvolution"

    model = Module("nn.Sequential", {"modules": modules(weights, 50, kind), "train": False})
    return {"model": model, "mean": arrays["mean"].astype(np.float64)}


def write(kind, path, arrays):
    """A file as its publisher writes it."""
    if kind == "iizuka":
        torch.save(drawn(arrays, NORMS), path)
    elif kind == "otenim":
        torch.save(drawn(arrays) | {"bn1.num_batches_tracked": torch.tensor(7)}, path)
        config = {"data_dir": "images", "mpv": arrays["mpv"].tolist()}
        (path.parent / "config.json").write_text(json.dumps(config))
    else:
        torch.save({"meta": {"iter": 7}, "state_dict": drawn(arrays)}, path)
    return path


class TestCompletion:
    """Three formats of one architecture; the cases a and b have sizes of their own."""

    @pytest.fixture(params=["iizuka", "otenim", "mmagic"])
    def kind(self, request):
        return request.param

    @pytest.fixture
    def arrays(self, kind):
        return golden(f"glcic_{kind}")

    @pytest.fixture
    def source(self, kind, arrays, tmp_path):
        return write(kind, tmp_path / "weights.pth", arrays)

    def test_computes_the_published(self, kind, source, arrays):
        network, layout, variant = convert(source)
        assert (layout.name, variant) == ({"mmagic": "mmagic-glcic"}.get(kind, kind), None)
        for case in "ab":
            assert distance(network, kind, arrays, case) < CLOSE

    @torch.no_grad()
    def test_a_wrong_option_shows(self, kind, source, arrays):
        network = convert(source).network
        config = network.config
        others = {"norm-first": "relu-first", "relu-first": "norm-first"}
        wrong = [{"order": others[config.order]}]
        if kind == "mmagic":
            wrong += [{"squash": "sigmoid"}, {"mean": PLACES2_MEAN}]
        else:
            others = {"subtracted": "fills-hole", "fills-hole": "subtracted"}
            wrong += [{"mean_role": others[config.mean_role]}]
            wrong += [{"squash": "clip"}, {"mean": None}, {"mean": (0.9, 0.1, 0.5)}]
        for options in wrong:
            other = CompletionNetwork(config, **options).eval()
            other.load_state_dict(network.state_dict())
            assert distance(other, kind, arrays) > FAR, options
        for layer, dim in ((network.layers[0].conv, 1), (network.last, 0)):
            reverse_colours(layer.weight, dim)
            assert distance(network, kind, arrays) > FAR, dim
            reverse_colours(layer.weight, dim)

    def test_every_weight_is_taken(self, kind, source, arrays):
        """A change of any one reaches the network."""
        before = convert(source).network.state_dict()
        weights = torch.load(source)
        weights = weights.get("state_dict", weights)
        torch.save({name: x + 1 for name, x in weights.items()}, source)
        after = convert(source).network.state_dict()
        counted = {name for name in before if name.endswith("num_batches_tracked")}
        assert len(counted) == 16
        for name in before.keys() - counted:
            assert torch.allclose(after[name], before[name] + 1), name

    def test_the_command_and_the_folder(self, kind, source, arrays, tmp_path, capsys):
        assert main(["convert", str(source), str(tmp_path / "out")]) == 0
        licence = {"iizuka": "CC BY-NC-SA 4.0", "otenim": "MIT", "mmagic": "Apache-2.0"}[kind]
        assert f"licence of the weights: {licence}" in capsys.readouterr().out
        network = load_model(tmp_path / "out")
        assert isinstance(network, CompletionNetwork)
        assert distance(network, kind, arrays) < CLOSE


class TestTorch7:
    @pytest.fixture
    def arrays(self):
        return golden("glcic_iizuka")

    @pytest.mark.parametrize("wrap", [None, Cuda])
    def test_the_authors_file(self, arrays, tmp_path, wrap):
        """With a mean that is not the default, which the file alone can tell."""
        table = authors_file(arrays)
        table["mean"] = np.array([0.25, 0.5, 0.75])
        if wrap is not None:
            for module in table["model"].fields["modules"]:
                module.fields.update(
                    {k: wrap(x) for k, x in module.fields.items() if isinstance(x, np.ndarray)}
                )
        (tmp_path / "completionnet_places2.t7").write_bytes(t7(table))
        network, layout, _ = convert(tmp_path / "completionnet_places2.t7")
        assert layout.name == "iizuka"
        assert network.config.mean == (0.25, 0.5, 0.75)
        write("iizuka", tmp_path / "plain.pth", arrays)
        expected = convert(tmp_path / "plain.pth", mean=(0.25, 0.5, 0.75)).network
        assert network.config == expected.config
        for name, x in expected.state_dict().items():
            assert torch.equal(network.state_dict()[name], x), name

    def test_a_mean_that_is_given_counts_more(self, arrays, tmp_path):
        (tmp_path / "m.t7").write_bytes(t7(authors_file(arrays)))
        assert convert(tmp_path / "m.t7").network.config.mean == pytest.approx(PLACES2_MEAN, rel=1e-6)
        assert convert(tmp_path / "m.t7", mean=(0, 0, 1)).network.config.mean == (0, 0, 1)

    @pytest.mark.parametrize("mean", [np.array([0.5, 0.5]), np.array([100.0, 120.0, 130.0])])
    def test_a_mean_that_is_none(self, arrays, tmp_path, mean):
        (tmp_path / "m.t7").write_bytes(t7(authors_file(arrays) | {"mean": mean}))
        with pytest.raises(WeightsError, match=r"m\.t7: mean: expected red, green and blue, .* 0 to 1"):
            convert(tmp_path / "m.t7")


class TestMeanOfOtenim:
    """Its weights tell nothing of the mean that they were trained with."""

    @pytest.fixture
    def source(self, tmp_path):
        return write("otenim", tmp_path / "model_cn_step400000", golden("glcic_otenim"))

    def test_is_that_of_the_run(self, source):
        expected = golden("glcic_otenim")["mpv"].tolist()
        assert convert(source).network.config.mean == pytest.approx(expected)

    def test_may_be_given(self, source, tmp_path):
        (tmp_path / "config.json").unlink()
        assert main(["convert", str(source), str(tmp_path / "out"), "--mean", "0.5,0.25,0.125"]) == 0
        assert load_model(tmp_path / "out").config.mean == (0.5, 0.25, 0.125)

    @pytest.mark.parametrize("other", [None, {"cnum": 64}])
    def test_must_be_known(self, source, tmp_path, other):
        (tmp_path / "config.json").unlink()
        if other is not None:
            (tmp_path / "config.json").write_text(json.dumps(other))
        with pytest.raises(WeightsError, match=r"model_cn_step400000: the mean .* --mean R,G,B"):
            convert(source)

    @pytest.mark.parametrize(
        "text",
        ["", "[" * 100_000, "[]", '{"mpv": null}', '{"mpv": "abc"}', '{"mpv": [1, 2, 3]}', '{"mpv": [0, 0]}'],
    )
    def test_damage_is_named(self, source, tmp_path, text):
        (tmp_path / "config.json").write_text(text)
        with pytest.raises(WeightsError, match=r"config\.json: no mean colour as mpv \(") as caught:
            convert(source)
        assert "\n" not in str(caught.value)

    def test_other_formats_have_none(self, tmp_path):
        source = write("mmagic", tmp_path / "m.pth", golden("glcic_mmagic"))
        with pytest.raises(WeightsError, match=r"mean: not for the format mmagic-glcic, which takes none"):
            convert(source, mean=(0, 0, 0))
