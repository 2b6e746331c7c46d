"""The completion network: its layers as the paper lists them, what its results promise, how it is kept."""

import json

import numpy as np
import pytest
import torch
from helpers.networks import problem
from torch import nn

from contextual_attention.models.network.iizuka import PLACES2_MEAN, CompletionNetwork, IizukaConfig
from contextual_attention.models.network.pretrained import load_model

# Kernel, stride (s), dilation (d), transposed (t) : channels. Table 1 of the paper, and the authors' file.
LAYERS = (
    "5:64 3,s2:128 3:128 3,s2:256 3:256 3:256 3,d2:256 3,d4:256 3,d8:256 3,d16:256 3:256 3:256 "
    "4,s2,t:128 3:128 4,s2,t:64 3:32 3:3"
)


def make(**options):
    """A small network whose layers all matter: neither biases nor statistics are those of the start."""
    torch.manual_seed(0)
    network = CompletionNetwork(**{"cnum": 4} | options)
    with torch.no_grad():
        for each in network.modules():
            if isinstance(each, nn.BatchNorm2d):
                each.running_mean.normal_(0, 0.1)
                each.running_var.uniform_(0.5, 2)
                each.bias.normal_(0, 0.1)
    return network.eval()


def listed(network):
    words = []
    for conv in (each for each in network.modules() if isinstance(each, (nn.Conv2d, nn.ConvTranspose2d))):
        (kernel, _), (stride, _), (dilation, _) = conv.kernel_size, conv.stride, conv.dilation
        is_transposed = isinstance(conv, nn.ConvTranspose2d)
        assert conv.padding == ((1, 1) if is_transposed else (dilation * (kernel // 2),) * 2)
        shape = (
            f"{kernel}{f',s{stride}' * (stride > 1)}{f',d{dilation}' * (dilation > 1)}{',t' * is_transposed}"
        )
        words.append(f"{shape}:{conv.out_channels}")
    return " ".join(words)


class TestTheNetwork:
    def test_layers_are_the_papers(self):
        with torch.device("meta"):
            network = CompletionNetwork()
        assert listed(network) == LAYERS
        assert network.layers[0].conv.in_channels == 4

    @pytest.mark.parametrize(("options", "count"), [({}, 6_072_131), ({"bias": False}, 6_069_155)])
    def test_parameters(self, options, count):
        with torch.device("meta"):
            assert sum(each.numel() for each in CompletionNetwork(**options).parameters()) == count

    @pytest.mark.parametrize("order", ["norm-first", "relu-first"])
    def test_norm_and_relu(self, order):
        layer, x = make(order=order).layers[1], torch.randn(1, 4, 9, 9)
        relu = nn.functional.relu
        expected = (
            relu(layer.norm(layer.conv(x))) if order == "norm-first" else layer.norm(relu(layer.conv(x)))
        )
        assert torch.equal(layer(x), expected)

    @pytest.mark.parametrize(
        ("options", "known", "in_hole"),
        [
            ({}, lambda x: (x + 1) / 2 - torch.tensor(PLACES2_MEAN)[:, None, None], (0, 0, 0)),
            (
                {"mean": (0.25, 0.5, 0.75), "mean_role": "fills-hole"},
                lambda x: (x + 1) / 2,
                (0.25, 0.5, 0.75),
            ),
            ({"mean": None}, lambda x: x, (0, 0, 0)),
        ],
    )
    def test_what_it_sees(self, options, known, in_hole):
        network, (image, mask), seen = make(**options), problem(), []
        network.layers[0].register_forward_pre_hook(lambda _, given: seen.append(given[0]))
        network(image, mask)
        expected = torch.where(mask != 0, torch.tensor(in_hole)[:, None, None].float(), known(image))
        assert torch.equal(seen[0], torch.cat((expected, mask), 1))

    @pytest.mark.parametrize("squash", ["sigmoid", "clip"])
    def test_what_bounds_the_output(self, squash):
        network, (image, mask), raw = make(squash=squash), problem(), []
        with torch.no_grad():
            network.last.weight *= 100
        network.last.register_forward_hook(lambda _, given, output: raw.append(output))
        refined = network(image, mask).refined
        expected = raw[0].clamp(-1, 1) if squash == "clip" else (raw[0] / 2).tanh()  # = 2 sigmoid - 1
        assert torch.allclose(refined, expected, atol=1e-6)
        assert raw[0].abs().max() > 1

    def test_statistics_are_of_training_only(self):
        network, (image, mask) = make(), problem()
        before = {name: x.clone() for name, x in network.state_dict().items()}
        network(image, mask)
        assert all(torch.equal(x, before[name]) for name, x in network.state_dict().items())
        network.train()(image, mask)
        changed = {name for name, x in network.state_dict().items() if not torch.equal(x, before[name])}
        assert {name.rpartition(".")[2] for name in changed} == {
            "running_mean",
            "running_var",
            "num_batches_tracked",
        }
        assert len(changed) == 48


class TestResults:
    def test_completed(self):
        network, (image, mask) = make(), problem()
        result = network(image, mask)
        missing = (mask != 0).expand_as(image)
        assert torch.equal(result.completed[~missing], image[~missing])
        assert torch.equal(result.completed[missing], result.refined[missing])
        assert (result.coarse, result.offsets) == (None, None)

    @pytest.mark.parametrize("garbage", [float("nan"), 1e30])
    @pytest.mark.parametrize("options", [{}, {"mean_role": "fills-hole"}, {"mean": None}])
    def test_what_is_in_the_hole_is_not_read(self, options, garbage):
        network, (image, mask) = make(**options), problem()
        found = network(image.masked_fill(mask != 0, garbage), mask)
        assert torch.equal(found.refined, network(image, mask).refined)

    def test_samples_do_not_know_each_other(self):
        network, (image, mask) = make(), problem(3)
        together = network(image, mask).refined
        for each in range(3):
            alone = network(image[each : each + 1], mask[each : each + 1]).refined
            # Batches of other sizes are added up in another order.
            assert torch.allclose(together[each : each + 1], alone, atol=1e-5)

    def test_one_mask_for_all(self):
        network, (image, mask) = make(), problem()
        each = torch.stack([mask[0], mask[0]])
        assert torch.equal(network(image, mask[:1]).refined, network(image, each).refined)
        assert torch.equal(network(image, mask[:1] != 0).refined, network(image, each * -0.5).refined)

    @pytest.mark.parametrize("size", [(4, 4), (5, 7), (23, 30), (26, 33)])
    def test_other_sizes_are_reflected(self, size):
        """As numpy's reflection of image and mask up to multiples of 4 has it, cut off again."""
        network, (image, mask) = make(), problem(2, *size)
        to_grid = [(0, 0), (0, 0), *((0, -side % 4) for side in size)]
        padded = [torch.from_numpy(np.pad(x.numpy(), to_grid, mode="reflect")) for x in (image, mask)]
        expected = network(*padded).refined[..., : size[0], : size[1]]
        assert torch.allclose(network(image, mask).refined, expected, atol=1e-6)

    def test_gradients(self):
        network, (image, mask) = make().double(), problem(dtype=torch.float64)
        image.requires_grad_()
        network(image, mask).refined.square().sum().backward()
        assert all(each.grad.abs().sum() > 0 for each in network.parameters())
        missing = (mask != 0).expand_as(image)
        assert (image.grad[missing] == 0).all()
        assert (image.grad[~missing] != 0).any()

    @pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
    def test_other_precisions(self, dtype):
        network, (image, mask) = make(), problem()
        expected = network(image, mask).refined
        found = network.to(dtype)(image.to(dtype), mask).refined
        assert found.dtype == dtype
        # bfloat16 has 8 bits; rounding of 2**-9 a layer adds up over the 17 of them.
        assert torch.allclose(found.float(), expected, atol=1e-5 if dtype == torch.float64 else 0.1)

    def test_autocast(self):
        network, (image, mask) = make(), problem()
        with torch.autocast("cpu", torch.bfloat16):
            found = network(image, mask)
        assert found.refined.dtype == torch.float32
        assert 0 < (found.refined - network(image, mask).refined).abs().max() < 0.1

    def test_compile_makes_one_graph(self):
        network, (image, mask) = make(), problem()
        found = torch.compile(network, fullgraph=True, backend="aot_eager")(image, mask)
        assert torch.allclose(found.refined, network(image, mask).refined, atol=1e-5)

    def test_export_of_any_batch(self):
        network, (image, mask) = make(), problem(3)
        batch = torch.export.Dim("batch")
        program = torch.export.export(network, (image, mask), dynamic_shapes=({0: batch}, {0: batch}))
        found = program.module()(image[:2], mask[:2]).refined
        assert torch.allclose(found, network(image[:2], mask[:2]).refined, atol=1e-5)


class TestKeeping:
    @pytest.mark.parametrize("mean", [(0.25, 0.5, 0.125), None])
    def test_a_folder_has_everything(self, tmp_path, mean):
        options = {
            "cnum": 6,
            "order": "relu-first",
            "bias": False,
            "squash": "clip",
            "mean": mean,
            "mean_role": "fills-hole",
        }
        network, (image, mask) = make(**options), problem()
        network.train()(image, mask)
        network.eval().save_pretrained(tmp_path)
        config = json.loads((tmp_path / "config.json").read_text())
        assert config == options | {"system": "iizuka", "mean": None if mean is None else list(mean)}
        again = load_model(tmp_path)
        assert again.config == network.config
        assert not again.training
        assert torch.equal(again(image, mask).refined, network(image, mask).refined)
        assert again.layers[0].norm.num_batches_tracked == 1

    def test_options_may_be_changed_on_loading(self, tmp_path):
        make().save_pretrained(tmp_path)
        assert CompletionNetwork.from_pretrained(tmp_path, squash="clip").config.squash == "clip"


class TestErrors:
    @pytest.mark.parametrize(
        ("options", "error", "message"),
        [
            ({"cnum": 5}, ValueError, "cnum: expected an even integer from 2 to 1024, got 5"),
            ({"cnum": 0}, ValueError, "cnum: expected an even integer from 2 to 1024, got 0"),
            ({"cnum": 4.0}, TypeError, r"cnum: expected an even integer from 2 to 1024, got 4\.0"),
            ({"order": "bn"}, ValueError, "order: expected one of 'norm-first', 'relu-first'; got 'bn'"),
            ({"bias": 1}, TypeError, "bias: expected True or False, got 1"),
            ({"squash": "tanh"}, ValueError, "squash: expected one of 'sigmoid', 'clip'; got 'tanh'"),
            (
                {"mean_role": None},
                ValueError,
                "mean_role: expected one of 'subtracted', 'fills-hole'; got None",
            ),
            ({"mean": (0.5, 0.5)}, ValueError, r"mean: expected red, .* 0 to 1, or None; got \(0\.5, 0\.5\)"),
            ({"mean": (0, 0, 1.5)}, ValueError, r"mean: expected red, .* got \(0, 0, 1\.5\)"),
            ({"mean": (0, 0, float("nan"))}, ValueError, r"mean: expected red, .* got \(0, 0, nan\)"),
            ({"mean": 0.5}, TypeError, r"mean: expected red, .* got 0\.5"),
            ({"mean": "red"}, TypeError, r"mean: expected red, .* got 'red'"),
            ({"width": 3}, TypeError, "width"),
        ],
    )
    def test_options(self, options, error, message):
        with pytest.raises(error, match=message):
            CompletionNetwork(**options)

    @pytest.mark.parametrize("mean", [[0, 0.5, 1], np.array([0, 0.5, 1]), (np.float32(0), 0.5, True)])
    def test_a_mean_of_any_sequence(self, mean):
        assert IizukaConfig(mean=mean).mean == (0.0, 0.5, 1.0)

    def test_arguments(self):
        network = make()
        with pytest.raises(ValueError, match=r"image: .* at least 4 x 4 pixels, got \(1, 3, 3, 9\)"):
            network(torch.zeros(1, 3, 3, 9), torch.zeros(1, 1, 3, 9))
        with pytest.raises(ValueError, match=r"mask: expected shape \(1, 1, 8, 8\)"):
            network(torch.zeros(1, 3, 8, 8), torch.zeros(1, 1, 8, 9))
