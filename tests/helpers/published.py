"""The published generators once more, in plain functions, and synthetic checkpoints of their formats.

Written from what the publishers' code does, with the keys of their files, and sharing nothing with
`contextual_attention.models` but the layer, which is held to the published layers' outputs elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from contextual_attention import ContextualAttention

CNUM = 4
Weights = dict[str, Tensor]

# What each layer does, in the order in which data runs through it.
DOWN = ["", "down", "", "down", "", ""]
DILATED = ["d2", "d4", "d8", "d16"]
UP = ["", "", "up", "", "up", "", "out"]

_HEAD = ["conv1", "conv2_downsample", "conv3", "conv4_downsample", "conv5", "conv6"]
_ATROUS = ["conv7_atrous", "conv8_atrous", "conv9_atrous", "conv10_atrous"]
_TF_TAIL = "conv11 conv12 conv13_upsample/{0}conv13_upsample_conv conv14 "
_TF_TAIL += "conv15_upsample/{0}conv15_upsample_conv conv16 conv17"
_TAIL = ["conv11", "conv12", "conv13", "conv14", "conv15", "conv16", "conv17"]


def names(kind: str) -> tuple[list[str], list[str], list[str], list[str]]:
    """Layers of the coarse network, the dilated branch, the attention branch and the last decoder."""
    if kind == "yu2018":
        coarse = [f"inpaint_net/{x}" for x in (*_HEAD, *_ATROUS, *_TF_TAIL.format("").split())]
        dilated = [f"inpaint_net/x{x}" for x in (*_HEAD, *_ATROUS)]
        attention = [f"inpaint_net/pm{x}" for x in (*_HEAD, "conv9", "conv10")]
        decoder = [f"inpaint_net/all{x}" for x in _TF_TAIL.format("all").split()]
    elif kind == "daa233":
        coarse = [f"coarse_generator.{x}" for x in (*_HEAD, *_ATROUS, *_TAIL)]
        dilated = [f"fine_generator.{x}" for x in (*_HEAD, *_ATROUS)]
        attention = [f"fine_generator.pm{x}" for x in (*_HEAD, "conv9", "conv10")]
        decoder = [f"fine_generator.all{x}" for x in _TAIL]
    else:
        neck, one, two = "dilation_neck.dilation_convs", "generator.stage1", "generator.stage2"
        coarse = [f"{one}.encoder.enc{i}" for i in range(1, 7)]
        coarse += [f"{one}.{neck}.{i}" for i in range(4)] + [f"{one}.decoder.dec{i}" for i in range(1, 8)]
        dilated = [f"{two}.encoder_conv.enc{i}" for i in range(1, 7)]
        dilated += [f"{two}.{neck}.{i}" for i in range(4)]
        attention = [f"{two}.encoder_attention.enc{i}" for i in range(1, 7)]
        attention += [f"{two}.contextual_attention_neck.conv{i}" for i in (1, 2)]
        decoder = [f"{two}.decoder.dec{i}" for i in range(1, 8)]
    return coarse, dilated, attention, decoder


def key(kind: str, layer: str, part: str) -> str:
    if kind == "yu2018":
        return f"{layer}/{'kernel' if part == 'weight' else 'bias'}"
    return f"{layer}.conv.{part}"


def checkpoint(kind: str, seed: int = 0) -> Weights:
    """Random weights under the published keys, in no particular order and with what else such files hold."""
    generator = torch.Generator().manual_seed(seed)
    c = CNUM
    widths = (
        [5, c, 2 * c, 2 * c, *[4 * c] * 9, 2 * c, 2 * c, c, c // 2, 3],
        [5, c, c, 2 * c, 2 * c, *[4 * c] * 6],
        [5, c, c, 2 * c, *[4 * c] * 5],
        [8 * c, 4 * c, 4 * c, 2 * c, 2 * c, c, c // 2, 3],
    )
    weights: Weights = {}
    for layers, channels in zip(names(kind), widths, strict=True):
        for layer, before, after in zip(layers, channels[:-1], channels[1:], strict=True):
            size = 5 if before == 5 else 3
            weight = torch.randn(after, before, size, size, generator=generator)
            weight *= (2 / (before * size**2)) ** 0.5
            if kind == "yu2018":
                weight = weight.permute(2, 3, 1, 0).contiguous()
            weights[key(kind, layer, "weight")] = weight
            weights[key(kind, layer, "bias")] = 0.2 * torch.randn(after, generator=generator)
    others = {"disc.local_disc.conv1.weight": torch.zeros(64, 3, 5, 5)}
    if kind == "yu2018":
        others |= {f"{name}/Adam": torch.zeros_like(x) for name, x in weights.items()}
    return dict(reversed(weights.items())) | others


Layer = Callable[[Tensor, str, str], Tensor]


def convolution(kind: str, weights: Weights) -> Layer:
    """One layer of a publisher: x, its name, what it does -> the next x."""

    def layer(x: Tensor, name: str, what: str, before_attention: bool = False) -> Tensor:
        weight, bias = (weights[key(kind, name, part)] for part in ("weight", "bias"))
        if kind == "yu2018":
            weight = weight.permute(3, 2, 0, 1)
        stride = 2 if what == "down" else 1
        dilation = int(what[1:]) if what in DILATED else 1
        if what == "up":
            x = x.repeat_interleave(2, 2).repeat_interleave(2, 3)
        reach = dilation * (weight.shape[2] // 2)
        if kind == "yu2018":  # TensorFlow's SAME, on even sizes
            first = reach if stride == 1 else reach - 1
            x = F.pad(x, (first, reach, first, reach))
        else:
            x = F.pad(x, (reach,) * 4, mode="reflect" if kind == "mmagic" else "constant")
        x = F.conv2d(x, weight, bias, stride, dilation=dilation)
        if what == "out":
            return x.clamp(-1, 1)
        return F.relu(x) if before_attention and kind != "mmagic" else F.elu(x)

    return layer


def forward(kind: str, weights: Weights, image: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """The coarse and the refined image, in the publisher's own order of colours."""
    layer = convolution(kind, weights)
    coarse_names, dilated_names, attention_names, decoder_names = names(kind)

    def run(x: Tensor, layers: list[str], kinds: list[str]) -> Tensor:
        for name, what in zip(layers, kinds, strict=True):
            x = layer(x, name, what)
        return x

    masked = image * (1 - mask)
    ones = torch.ones_like(mask)
    coarse = run(torch.cat((masked, ones, mask), 1), coarse_names, [*DOWN, *DILATED, *UP])
    x = torch.cat((coarse * mask + masked * (1 - mask), ones, mask), 1)
    dilated = run(x, dilated_names, [*DOWN, *DILATED])
    features = run(x, attention_names[:5], DOWN[:5])
    features = layer(features, attention_names[5], "", before_attention=True)
    # mmagic brings the mask to the size of the features before its layer sees it.
    hole = F.interpolate(mask, size=features.shape[2:]) if kind == "mmagic" else mask
    attended = ContextualAttention.from_preset(kind, backend="reference")(features, features, hole)
    attended = run(attended, attention_names[6:], ["", ""])
    return coarse, run(torch.cat((dilated, attended), 1), decoder_names, UP)
