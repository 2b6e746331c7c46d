"""What the published formats of both versions of the generator of Yu et al. have in common."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..generator import InpaintGenerator
from ..generator_config import GeneratorConfig
from ..layers import ConvLayer
from .layout import Layout, Weights, assemble, reverse_colours


@dataclass(frozen=True, kw_only=True)
class GeneratorLayout(Layout):
    """A published checkpoint format of the generator.

    Args:
        prefixes: Under which its keys may stand, the likeliest first.
        layers: Names of its 42 convolutions, in the order of ours: coarse network, refinement by
            convolutions, attention branch, decoder.
        weight, bias: What follows the name of a layer in a key.
        is_hwio: Whether weights are stored as (height, width, in, out), and not (out, in, height, width).
        is_bgr: Whether the network was trained on images with channels blue, green, red.
        options: Fields of `GeneratorConfig` that differ from its defaults.
    """

    prefixes: tuple[str, ...]
    layers: tuple[str, ...]
    weight: str
    bias: str
    is_hwio: bool
    is_bgr: bool
    options: Mapping[str, Any]
    choices: frozenset[str] = frozenset({"padding", "attention", "is_bgr"})

    def prefix_in(self, weights: Weights) -> str | None:
        return next((each for each in self.prefixes if self.recognises(weights.under(each))), None)

    def recognises(self, weights: Weights) -> bool:
        """Whether tensors, their prefix known, are of this format."""
        return self.layers[0] + self.weight in weights

    def build(self, weights: Weights, given: Mapping[str, Any]) -> InpaintGenerator:
        options = {name: given[name] for name in ("padding", "attention") if name in given}
        config = GeneratorConfig(
            **{**self.sizes(weights), **self.options, **given.get("variant", {}), **options}
        )
        with torch.device("meta"):
            named = InpaintGenerator(config).named_modules()
            own = [name for name, module in named if isinstance(module, ConvLayer)]
        tensors: dict[str, tuple[str, Tensor]] = {}
        for name, published in zip(own, self.layers, strict=True):
            tensors |= {f"{name}.{part}": each for part, each in self.layer(weights, published).items()}
        generator = assemble(lambda: InpaintGenerator(config), tensors, weights.path)
        if given.get("is_bgr", self.is_bgr):
            _reverse_colours(generator)
        return generator

    def sizes(self, weights: Weights) -> Mapping[str, Any]:
        """The fields of `GeneratorConfig` that the shapes of a file tell."""
        return {"cnum": self.channels(weights, 0)[1]}

    def layer(self, weights: Weights, name: str) -> dict[str, tuple[str, Tensor]]:
        """``weight``, (out, in, height, width), and ``bias`` of one convolution, each with its key."""
        parts = {"weight": name + self.weight, "bias": name + self.bias}
        found = {part: (weights.prefix + key, weights.tensor(key)) for part, key in parts.items()}
        key, weight = found["weight"]
        if self.is_hwio and weight.dim() == 4:
            found["weight"] = key, weight.permute(3, 2, 0, 1)
        return found

    def channels(self, weights: Weights, index: int) -> tuple[int, int]:
        """In and out, of one of the layers; (0, 0), which no network has, if it is no convolution."""
        shape = weights.shape(self.layers[index] + self.weight)
        if len(shape) != 4:
            return 0, 0
        return (shape[2], shape[3]) if self.is_hwio else (shape[1], shape[0])


def _reverse_colours(generator: InpaintGenerator) -> None:
    """Make a network of blue, green, red into the same network of red, green, blue."""
    refinement = generator.refinement
    firsts = [generator.coarse[0], refinement.convolutions[0]]
    if refinement.attention is not None:
        firsts.append(refinement.attention.encoder[0])
    for first in firsts:
        reverse_colours(first.weight, 1)
    for last in (generator.coarse[-1], refinement.decoder[-1]):
        for parameter in (last.weight, last.bias):
            for half in parameter.chunk(2 if last.spec.gated else 1):  # colours, and gates of colours
                reverse_colours(half, 0)


ENCODER = ("conv1", "conv2_downsample", "conv3", "conv4_downsample", "conv5", "conv6")
DILATED = ("conv7_atrous", "conv8_atrous", "conv9_atrous", "conv10_atrous")
AFTER_ATTENTION = ("conv9", "conv10")


def yu_layers(scope: str) -> tuple[str, ...]:
    """Names in the authors' code.

    Args:
        scope: Of the convolution in an upsampling layer, which is a scope of its own, {0} being its name.
    """
    decoder = ("conv11", "conv12", "conv13_upsample", "conv14", "conv15_upsample", "conv16", "conv17")
    names = (
        *ENCODER, *DILATED, *decoder,
        *(f"x{name}" for name in (*ENCODER, *DILATED)),
        *(f"pm{name}" for name in (*ENCODER, *AFTER_ATTENTION)),
        *(f"all{name}" for name in decoder),
    )  # fmt: skip
    return tuple(scope.format(name) if name.endswith("upsample") else name for name in names)


def mmagic_layers() -> tuple[str, ...]:
    """Names in mmagic."""
    encoder = tuple(f"enc{number}" for number in range(1, 7))
    dilated = tuple(f"dilation_neck.dilation_convs.{number}" for number in range(4))
    decoder = tuple(f"decoder.dec{number}" for number in range(1, 8))
    return (
        *(f"stage1.encoder.{name}" for name in encoder),
        *(f"stage1.{name}" for name in (*dilated, *decoder)),
        *(f"stage2.encoder_conv.{name}" for name in encoder),
        *(f"stage2.{name}" for name in dilated),
        *(f"stage2.encoder_attention.{name}" for name in encoder),
        *(f"stage2.contextual_attention_neck.conv{number}" for number in (1, 2)),
        *(f"stage2.{name}" for name in decoder),
    )
