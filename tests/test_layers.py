"""Borders against numpy.pad and hand-worked margins; the layer against a convolution in plain loops."""

import math

import numpy as np
import pytest
import torch

from contextual_attention.models.network.layers import PADDINGS, Conv, ConvLayer, mirror_pad, same_pad, stack


def random(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)), dtype=torch.float64)


# Reaches below and above the map, which take different roads; 16 is that of the largest dilation.
@pytest.mark.parametrize("size", [(1, 1), (1, 5), (2, 3), (5, 5), (4, 17), (17, 18)])
@pytest.mark.parametrize("reach", [0, 1, 2, 4, 16])
def test_mirror_pad_is_numpys_reflect(size, reach):
    x = random(2, 3, *size)
    margins = ((0, 0), (0, 0), (reach, reach), (reach, reach))
    assert np.array_equal(mirror_pad(x, reach).numpy(), np.pad(x.numpy(), margins, mode="reflect"))


@pytest.mark.parametrize("reach", [1, 7])
def test_mirror_pad_has_gradients(reach):
    x = random(1, 1, 3, 4).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: mirror_pad(x, reach), x)


# TensorFlow's rule, worked out by hand: (ceil(n / stride) - 1) * stride + span - n zeros, the odd one behind.
@pytest.mark.parametrize(
    ("size", "span", "stride", "before", "after"),
    [(8, 3, 2, 0, 1), (7, 3, 2, 1, 1), (8, 5, 2, 1, 2), (7, 5, 2, 2, 2), (6, 3, 1, 1, 1), (4, 33, 1, 16, 16)],
)
def test_same_pad_puts_the_odd_zero_behind(size, span, stride, before, after):
    padded = same_pad(torch.ones(1, 1, size, size), span, stride)[0, 0, before]
    assert padded.tolist() == [0] * before + [1] * size + [0] * after


def looped(x: np.ndarray, layer: ConvLayer, margins: tuple[int, int], mode: str) -> np.ndarray:
    """The convolution of one sample, a product at a time, over a border made by numpy."""
    weight, bias = (p.detach().numpy() for p in (layer.weight, layer.bias))
    spec, (_, height, width) = layer.spec, x.shape
    x = np.pad(x, ((0, 0), margins, margins), mode=mode)
    output = np.empty((len(weight), math.ceil(height / spec.stride), math.ceil(width / spec.stride)))
    for o, i, j in np.ndindex(output.shape):
        rows, columns = (spec.stride * n + spec.dilation * np.arange(spec.kernel) for n in (i, j))
        output[o, i, j] = (x[:, rows][:, :, columns] * weight[o]).sum() + bias[o]
    return output


@pytest.mark.parametrize(
    ("padding", "mode", "spec", "margins"),
    [
        ("mirror", "reflect", Conv(2, 5), (2, 2)),
        ("mirror", "reflect", Conv(2, 3, stride=2), (1, 1)),
        ("mirror", "reflect", Conv(2, 3, dilation=16), (16, 16)),
        ("zero", "constant", Conv(2, 5), (2, 2)),
        ("zero", "constant", Conv(2, 3, stride=2), (1, 1)),
        ("zero", "constant", Conv(2, 3, dilation=4), (4, 4)),
        ("same", "constant", Conv(2, 5), (2, 2)),
        ("same", "constant", Conv(2, 3, stride=2), (0, 1)),
        ("same", "constant", Conv(2, 5, stride=2), (1, 2)),
        ("same", "constant", Conv(2, 3, dilation=4), (4, 4)),
    ],
)
def test_layer_is_the_looped_convolution(padding, mode, spec, margins):
    torch.manual_seed(0)
    layer = ConvLayer(3, spec._replace(activation=None), padding).double()
    torch.nn.init.normal_(layer.bias)
    x = random(1, 3, 6, 8)
    expected = looped(x[0].numpy(), layer, margins, mode)
    assert torch.allclose(layer(x)[0], torch.from_numpy(expected), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("size", [(1, 1), (2, 2), (7, 10)])
def test_sizes_of_the_output(padding, size):
    for spec in (Conv(1), Conv(1, 5), Conv(1, stride=2), Conv(1, dilation=16), Conv(1, upsample=True)):
        expected = [math.ceil(n * (2 if spec.upsample else 1) / spec.stride) for n in size]
        assert list(ConvLayer(1, spec, padding)(torch.ones(1, 1, *size)).shape[2:]) == expected


@pytest.mark.parametrize(
    ("activation", "expected"), [("elu", math.expm1(-2)), ("relu", 0.0), (None, -2.0)], ids=str
)
def test_activation_comes_last(activation, expected):
    layer = ConvLayer(1, Conv(1, 1, activation=activation), "zero")
    torch.nn.init.constant_(layer.weight, 1.0)
    output = layer(torch.tensor([[[[-2.0, 3.0]]]]))
    assert output.flatten().tolist() == pytest.approx([expected, 3.0])


@pytest.mark.parametrize("activation", ["elu", "relu", None], ids=str)
def test_a_gate_weighs_the_activated_features(activation):
    torch.manual_seed(0)
    layer = ConvLayer(3, Conv(2, activation=activation, gated=True), "mirror").double()
    torch.nn.init.normal_(layer.bias)
    x = random(1, 3, 6, 8)
    features, gate = np.split(looped(x[0].numpy(), layer, (1, 1), "reflect"), 2)
    negative = {"elu": np.expm1(features), "relu": 0.0, None: features}[activation]
    expected = np.where(features > 0, features, negative) / (1 + np.exp(-gate))
    found = layer(x)
    assert found.shape == (1, 2, 6, 8)
    assert np.allclose(found[0].detach().numpy(), expected, rtol=1e-12, atol=1e-12)


def test_gates_have_gradients():
    layer = ConvLayer(1, Conv(2, gated=True), "zero").double()
    x = random(1, 1, 3, 4).requires_grad_()
    assert torch.autograd.gradcheck(lambda x, *_: layer(x), (x, layer.weight, layer.bias))


def test_upsampling_comes_first():
    layer = ConvLayer(1, Conv(1, upsample=True, activation=None), "zero")
    torch.nn.init.constant_(layer.weight, 1.0)
    # [[1, 2]] doubled is [[1, 1, 2, 2], [1, 1, 2, 2]]; the kernel of ones sums what is around a pixel.
    assert layer(torch.tensor([[[[1.0, 2.0]]]]))[0, 0].tolist() == [[4.0, 8.0, 10.0, 8.0]] * 2


# A gated layer of n channels starts as the convolution to 2 n that it is.
@pytest.mark.parametrize("spec", [Conv(48, 5), Conv(24, 5, gated=True)], ids=["plain", "gated"])
def test_weights_start_glorot_uniform(spec):
    torch.manual_seed(0)
    layer = ConvLayer(16, spec, "mirror")
    bound = math.sqrt(6 / (16 * 25 + 48 * 25))
    assert 0.99 * bound < layer.weight.abs().max() <= bound
    assert layer.weight.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.02)
    assert (layer.bias == 0).all()


def test_stack_hands_its_channels_on():
    layers = stack(5, (Conv(4), Conv(7, gated=True), Conv(3)), "zero")
    assert [(layer.in_channels, layer.out_channels) for layer in layers] == [(5, 4), (4, 14), (7, 3)]
    assert layers(torch.ones(1, 5, 6, 6)).shape == (1, 3, 6, 6)
