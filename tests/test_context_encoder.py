"""The context encoder: its layers as published, what it makes of images of any size, how it is kept."""

import json

import pytest
import torch
from torch import nn
from torch.nn.functional import interpolate

from contextual_attention.models.network.context_encoder import ChannelwiseLayer, ContextEncoder
from contextual_attention.models.network.pretrained import load_model
from contextual_attention.models.network.windows import Window, look, place, resize, shrink

# Kernel, stride, padding, transposed (t) : channels, of the authors' code.
ENCODER = "4,2,1:64 4,2,1:64 4,2,1:128 4,2,1:256 4,2,1:512"
CONV = "4,1,0:4000 4,1,0,t:512"
DECODER = "4,2,1,t:256 4,2,1,t:128 4,2,1,t:64"
FILL = torch.tensor([2 * grey / 255 - 1 for grey in (117, 104, 123)])[:, None, None]


def make(**options):
    """A small network whose layers all matter: neither biases nor statistics are those of the start."""
    torch.manual_seed(0)
    network = ContextEncoder(**{"cnum": 4, "bottleneck": 20} | options)
    with torch.no_grad():
        for each in network.modules():
            if getattr(each, "bias", None) is not None:
                each.bias.normal_(0, 0.1)
            if isinstance(each, nn.BatchNorm2d):
                each.running_mean.normal_(0, 0.1)
                each.running_var.uniform_(
                    0.01, 0.02
                )  # the first weights are small: else nothing gets through
    return network.eval()


def pictures(batch=2, height=128, width=128, dtype=torch.float32):
    generator = torch.Generator().manual_seed(height + width)
    return torch.rand(batch, 3, height, width, generator=generator, dtype=dtype) * 2 - 1


def boxes(height, width, *corners):
    """A sample for each box of top, left, height and width."""
    mask = torch.zeros(len(corners), 1, height, width)
    for sample, (top, left, rows, columns) in zip(mask, corners, strict=True):
        sample[:, top : top + rows, left : left + columns] = 1
    return mask


MIDDLE = boxes(128, 128, (36, 36, 56, 56))


def listed(network):
    words = []
    for conv in (each for each in network.modules() if isinstance(each, (nn.Conv2d, nn.ConvTranspose2d))):
        transposed = ",t" * isinstance(conv, nn.ConvTranspose2d)
        shape = f"{conv.kernel_size[0]},{conv.stride[0]},{conv.padding[0]}{transposed}"
        words.append(f"{shape}:{conv.out_channels}")
    return " ".join(words)


class TestTheNetwork:
    @pytest.mark.parametrize(
        ("options", "layers", "count"),
        [
            ({}, f"{ENCODER} {CONV} {DECODER} 4,2,1,t:3", 71_130_531),
            ({"bias": False}, f"{ENCODER} {CONV} {DECODER} 4,2,1,t:3", 71_124_544),
            ({"output": "whole"}, f"{ENCODER} {CONV} {DECODER} 4,2,1,t:64 4,2,1,t:3", 71_196_259),
            # Of the first, less 65,536,000 weights, 4,512 biases and 9,024 numbers of norms; and 512 * 4**4
            # weights and 512 * 4**2 biases of the matrices, 512 * 512 and 3 * 512 of what follows them.
            ({"bottleneck_kind": "channelwise"}, f"{ENCODER} 1,1,0:512 {DECODER} 4,2,1,t:3", 5_983_939),
        ],
    )
    def test_layers_are_the_authors(self, options, layers, count):
        with torch.device("meta"):
            network = ContextEncoder(**options)
        assert listed(network) == layers
        assert sum(each.numel() for each in network.parameters()) == count

    def test_where_norms_and_slopes_are(self):
        network = make()
        assert [layer.norm is not None for layer in network.encoder] == [False, True, True, True, True]
        assert all(layer.norm is not None for layer in (*network.bottleneck, *network.decoder))
        leaky = [layer.spec.activation for layer in (*network.encoder, *network.bottleneck, *network.decoder)]
        assert leaky == ["leaky"] * 6 + ["relu"] * 4
        assert torch.allclose(network.encoder[0]._activate(torch.tensor([-1.0, 1])), torch.tensor([-0.2, 1]))

    def test_first_weights(self):
        """N(0, 0.02) and N(1, 0.02): by their moments, within five deviations of these."""
        torch.manual_seed(0)
        network = ContextEncoder(cnum=16, bottleneck=64, bottleneck_kind="channelwise")
        for each in network.modules():
            if isinstance(each, (nn.Conv2d, nn.ConvTranspose2d, ChannelwiseLayer, nn.BatchNorm2d)):
                mean, count = float(isinstance(each, nn.BatchNorm2d)), each.weight.numel()
                assert (each.weight.mean() - mean).abs() < 5 * 0.02 / count**0.5
                assert (each.weight.std() - 0.02).abs() < 5 * 0.02 / (2 * count) ** 0.5
                assert each.bias is None or not each.bias.any()

    def test_the_channelwise_layer(self):
        """A matrix for each channel, on the places of its map row by row."""
        torch.manual_seed(0)
        layer = ChannelwiseLayer(3, 2, bias=True)
        nn.init.normal_(layer.weight)
        nn.init.normal_(layer.bias)
        x = torch.randn(2, 3, 2, 2)
        for sample in range(2):
            for channel in range(3):
                expected = layer.weight[channel] @ x[sample, channel].flatten() + layer.bias[channel]
                assert torch.allclose(layer(x)[sample, channel].flatten(), expected, atol=1e-6)
        assert layer.weight.numel() == 3 * 2**4

    @pytest.mark.parametrize("output", ["centre", "whole"])
    @pytest.mark.parametrize("kind", ["conv", "channelwise"])
    def test_every_kind_predicts(self, output, kind):
        network = make(output=output, bottleneck_kind=kind)
        side = 64 if output == "centre" else 128
        predicted = network.predict(pictures())
        assert predicted.shape == (2, 3, side, side)
        assert 0.01 < predicted.std() < 1


class TestCentre:
    def test_an_image_of_its_own_size_is_its_view(self):
        network, image = make(), pictures()
        view = torch.where(MIDDLE != 0, FILL, image)
        result = network(image, MIDDLE)
        assert torch.equal(result.refined[..., 32:96, 32:96], network.predict(view))
        around = torch.ones(128, 128, dtype=torch.bool)
        around[32:96, 32:96] = False
        assert torch.equal(result.refined[..., around], image[..., around])

    def test_all_of_the_middle_is_missing_to_it(self):
        """A hole that is smaller is filled as one of the size that the network is trained on."""
        network, image = make(), pictures(1)
        smaller = boxes(128, 128, (60, 60, 8, 8))
        assert torch.equal(network(image, smaller).refined, network(image, MIDDLE).refined)

    @pytest.mark.parametrize("overlap", [0, 7])
    def test_overlap(self, overlap):
        network, image = make(overlap=overlap), pictures(1)
        side = 64 - 2 * overlap
        hole = boxes(128, 128, (32 + overlap, 32 + overlap, side, side))
        view = torch.where(hole != 0, FILL, image)
        assert torch.equal(network(image, hole).refined[..., 32:96, 32:96], network.predict(view))

    def test_each_sample_has_its_window(self):
        """The road of a batch that is looked at at once, and that of samples one by one: the same numbers."""
        network, image = make(), pictures(3)
        mask = torch.cat((MIDDLE, boxes(128, 128, (0, 0, 0, 0), (70, 3, 20, 30))))
        result = network(image, mask)
        for each in range(3):
            alone = network(image[each : each + 1], mask[each : each + 1])
            # Batches of other sizes are added up in another order.
            assert torch.allclose(result.refined[each], alone.refined[0], atol=1e-6)
        assert torch.equal(result.refined[1], image[1])
        assert torch.equal(result.completed[1], image[1])

    @pytest.mark.parametrize(
        ("size", "box", "window"),
        [
            ((150, 170), (40, 50, 56, 40), Window(4, 6, 128)),
            ((150, 170), (0, 100, 100, 70), Window(-66, 19, 232)),
            ((300, 90), (130, 10, 60, 61), Window(88, -32, 144)),
            ((20, 30), (0, 0, 20, 30), Window(-54, -49, 128)),
        ],
    )
    def test_a_window_around_the_hole(self, size, box, window):
        network, image, mask = make(), pictures(1, *size), boxes(*size, box)
        seen, unknown = look(image[0], mask[0] != 0, window, 128)
        unknown[:, 36:92, 36:92] = True
        view = torch.where(unknown, FILL, seen)
        expected = place(network.predict(view[None])[0], window, image[0])
        result = network(image, mask)
        missing = (mask != 0).expand_as(image)
        # Where nothing is predicted it is the image; all that is missing is predicted.
        assert torch.allclose(result.refined[0], expected, atol=1e-6)
        assert not torch.isclose(result.refined, image)[missing].all()
        assert torch.equal(result.completed[~missing], image[~missing])
        assert torch.equal(result.completed[missing], result.refined[missing])

    def test_a_shift_of_the_picture_is_one_of_the_result(self):
        network, image = make(), pictures(1, 220, 240)
        one = network(image[..., :200, :200], boxes(200, 200, (80, 90, 30, 40)))
        other = network(image[..., 12:212, 7:207], boxes(200, 200, (68, 83, 30, 40)))
        assert torch.allclose(
            one.completed[..., 80:110, 90:130], other.completed[..., 68:98, 83:123], atol=1e-6
        )

    def test_nothing_missing(self):
        network, image = make().train(), pictures(2, 60, 70)
        result = network(image, torch.zeros(1, 1, 60, 70))
        assert torch.equal(result.refined, image)
        assert torch.equal(result.completed, image)


class TestWhole:
    def test_an_image_of_its_own_size_is_its_view(self):
        network, image = make(output="whole"), pictures()
        mask = boxes(128, 128, (3, 5, 20, 90), (0, 0, 128, 60))
        view = torch.where(mask != 0, FILL, image)
        assert torch.equal(network(image, mask).refined, network.predict(view))

    @pytest.mark.parametrize("size", [(200, 150), (90, 300), (40, 30)])
    def test_other_sizes_are_brought_to_it_and_back(self, size):
        network, image = make(output="whole"), pictures(2, *size)
        mask = boxes(*size, (3, 5, 20, 10), (0, 0, *size))
        seen, unknown = shrink(image.masked_fill(mask != 0, 0), mask != 0, (128, 128))
        predicted = network.predict(torch.where(unknown, FILL, seen))
        refined = network(image, mask).refined
        assert torch.allclose(refined, resize(predicted, size), atol=1e-6)
        if min(size) < 128:  # what shrinks is averaged
            assert not torch.allclose(refined, interpolate(predicted, size, mode="bilinear"), atol=1e-3)


@pytest.mark.parametrize("output", ["centre", "whole"])
class TestResults:
    @pytest.mark.parametrize("size", [(128, 128), (140, 40)])
    @pytest.mark.parametrize("garbage", [float("nan"), 1e30])
    def test_what_is_in_the_hole_is_not_read(self, output, size, garbage):
        network, image = make(output=output), pictures(2, *size)
        mask = boxes(*size, (36, 20, 56, 10), (3, 5, 60, 30))
        found = network(image.masked_fill(mask != 0, garbage), mask)
        assert torch.equal(found.refined, network(image, mask).refined)

    @pytest.mark.parametrize("size", [(128, 128), (150, 60)])
    def test_gradients(self, output, size):
        """Of every weight and of what is known; the network in training, as it is when they are needed."""
        network, image = make(output=output).double().train(), pictures(2, *size, dtype=torch.float64)
        image.requires_grad_()
        mask = boxes(*size, (36, 20, 56, 10), (3, 5, 60, 30))
        refined = network(image, mask).refined
        refined.square().sum().backward()
        assert all(each.grad.abs().sum() > 0 for each in network.parameters())
        missing = (mask != 0).expand_as(image)
        assert (image.grad[missing] == 0).all()
        assert (image.grad[~missing] != 0).any()

    def test_a_slope(self, output):
        """The gradient of an image in a window that is resized, against a difference."""
        network, image = make(output=output).double(), pictures(1, 150, 170, dtype=torch.float64)
        mask = boxes(150, 170, (20, 30, 90, 80))
        direction = pictures(1, 150, 170, dtype=torch.float64).flip(3)

        def loss(x):
            return network(x, mask).refined.square().sum()

        (gradient,) = torch.autograd.grad(loss(image.requires_grad_()), image)
        step = 1e-6
        with torch.no_grad():
            slope = (loss(image + step * direction) - loss(image - step * direction)) / (2 * step)
        assert (gradient * direction).sum().item() == pytest.approx(slope.item(), rel=1e-5)

    @pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
    def test_half_precision(self, output, dtype):
        network, image = make(output=output), pictures(1, 150, 170)
        mask = boxes(150, 170, (20, 30, 90, 80))
        expected = network(image, mask).refined
        found = network.to(dtype)(image.to(dtype), mask).refined
        assert found.dtype == dtype
        # As under autocast.
        assert (found.float() - expected).abs().max() < 0.15

    def test_autocast(self, output):
        network, image = make(output=output), pictures(1, 100, 100)
        mask = boxes(100, 100, (20, 30, 20, 20))
        with torch.autocast("cpu", torch.bfloat16):
            found = network(image, mask)
        assert found.refined.dtype == torch.float32
        # bfloat16 has 8 bits; rounding of 2**-9 a layer adds up over the 11 of them.
        assert 0 < (found.refined - network(image, mask).refined).abs().max() < 0.15

    def test_a_folder_has_everything(self, output, tmp_path):
        options = {
            "cnum": 3,
            "bottleneck": 7,
            "bottleneck_kind": "channelwise",
            "output": output,
            "bias": False,
            "overlap": 2,
        }
        network, image = make(**options), pictures()
        network.train()(image, MIDDLE)
        network.eval().save_pretrained(tmp_path)
        assert json.loads((tmp_path / "config.json").read_text()) == options | {"system": "context-encoder"}
        again = load_model(tmp_path)
        assert again.config == network.config
        assert torch.equal(again(image, MIDDLE).refined, network(image, MIDDLE).refined)


class TestErrors:
    @pytest.mark.parametrize(
        ("options", "error", "message"),
        [
            ({"cnum": 0}, ValueError, "cnum: expected an integer from 1 to 1024, got 0"),
            ({"bottleneck": 65537}, ValueError, "bottleneck: expected an integer from 1 to 65536, got 65537"),
            ({"bottleneck": None}, TypeError, "bottleneck: expected an integer from 1 to 65536, got None"),
            ({"overlap": 32}, ValueError, "overlap: expected an integer from 0 to 31, got 32"),
            ({"overlap": True}, TypeError, "overlap: expected an integer from 0 to 31, got True"),
            (
                {"bottleneck_kind": "full"},
                ValueError,
                "bottleneck_kind: .* 'conv', 'channelwise'; got 'full'",
            ),
            ({"output": "random"}, ValueError, "output: expected one of 'centre', 'whole'; got 'random'"),
            ({"bias": None}, TypeError, "bias: expected True or False, got None"),
            ({"padding": "zero"}, TypeError, "padding"),
        ],
    )
    def test_options(self, options, error, message):
        with pytest.raises(error, match=message):
            ContextEncoder(**options)

    def test_arguments(self):
        network = make()
        with pytest.raises(ValueError, match=r"image: .* at least 4 x 4 pixels, got \(1, 3, 3, 9\)"):
            network(torch.zeros(1, 3, 3, 9), torch.zeros(1, 1, 3, 9))
        with pytest.raises(ValueError, match=r"mask: expected shape \(1, 1, 8, 8\)"):
            network(torch.zeros(1, 3, 8, 8), torch.zeros(1, 1, 8, 9))
