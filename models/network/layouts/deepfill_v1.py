"""How the published implementations of Yu et al. 2018 name and store the generator's layers.

Facts, read from their code: github.com/JiahuiYu/generative_inpainting (branch v1.0.0, inpaint_model.py and
inpaint_ops.py), github.com/daa233/generative-inpainting-pytorch (model/networks.py) and
github.com/open-mmlab/mmagic (models/editors/deepfillv1, deepfillv2/two_stage_encoder_decoder.py and
configs/_base_/models/base_deepfillv1.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import torch

from ..generator import GeneratorConfig, InpaintGenerator
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
        first = self.layers[0] + self.weight
        return next((each for each in self.prefixes if first in weights.under(each)), None)

    def build(self, weights: Weights, given: Mapping[str, Any]) -> InpaintGenerator:
        config = self._config(weights, given)
        with torch.device("meta"):
            named = InpaintGenerator(config).named_modules()
            layers = [name for name, module in named if isinstance(module, ConvLayer)]
        tensors = {}
        for name, published in zip(layers, self.layers, strict=True):
            for own, ending in (("weight", self.weight), ("bias", self.bias)):
                tensor = weights.tensor(published + ending)
                if self.is_hwio and tensor.dim() == 4:
                    tensor = tensor.permute(3, 2, 0, 1)
                tensors[f"{name}.{own}"] = (weights.prefix + published + ending, tensor)
        generator = assemble(lambda: InpaintGenerator(config), tensors, weights.path)
        if given.get("is_bgr", self.is_bgr):
            _reverse_colours(generator)
        return generator

    def _config(self, weights: Weights, given: Mapping[str, Any]) -> GeneratorConfig:
        shape = weights.shape(self.layers[0] + self.weight) or (0,)
        options = {name: given[name] for name in ("padding", "attention") if name in given}
        return GeneratorConfig(cnum=shape[-1 if self.is_hwio else 0], **self.options | options)


def _reverse_colours(generator: InpaintGenerator) -> None:
    """Make a network of blue, green, red into the same network of red, green, blue."""
    refinement = generator.refinement
    firsts = [generator.coarse[0], refinement.convolutions[0]]
    if refinement.attention is not None:
        firsts.append(refinement.attention.encoder[0])
    for first in firsts:
        reverse_colours(first.weight, 1)
    for last in (generator.coarse[-1], refinement.decoder[-1]):
        reverse_colours(last.weight, 0)
        reverse_colours(last.bias, 0)


_ENCODER = ("conv1", "conv2_downsample", "conv3", "conv4_downsample", "conv5", "conv6")
_DILATED = ("conv7_atrous", "conv8_atrous", "conv9_atrous", "conv10_atrous")
_AFTER_ATTENTION = ("conv9", "conv10")


def _yu_layers() -> tuple[str, ...]:
    """In TensorFlow an upsampling layer is a scope of its own, with a convolution in it."""
    decoder = ("conv11", "conv12", "conv13_upsample", "conv14", "conv15_upsample", "conv16", "conv17")
    names = (
        *_ENCODER, *_DILATED, *decoder,
        *(f"x{name}" for name in (*_ENCODER, *_DILATED)),
        *(f"pm{name}" for name in (*_ENCODER, *_AFTER_ATTENTION)),
        *(f"all{name}" for name in decoder),
    )  # fmt: skip
    return tuple(f"{name}/{name}_conv" if name.endswith("upsample") else name for name in names)


def _daa233_layers() -> tuple[str, ...]:
    decoder = tuple(f"conv{number}" for number in range(11, 18))
    coarse = (*_ENCODER, *_DILATED, *decoder)
    fine = (
        *_ENCODER, *_DILATED,
        *(f"pm{name}" for name in (*_ENCODER, *_AFTER_ATTENTION)),
        *(f"all{name}" for name in decoder),
    )  # fmt: skip
    return (
        *(f"coarse_generator.{name}" for name in coarse),
        *(f"fine_generator.{name}" for name in fine),
    )


def _mmagic_layers() -> tuple[str, ...]:
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


LAYOUTS: tuple[Layout, ...] = (
    GeneratorLayout(
        name="yu2018",
        example="inpaint_net/conv1/kernel",
        licence="CC BY-NC 4.0: not for commercial use",
        origin="github.com/JiahuiYu/generative_inpainting, version 1",
        prefixes=("inpaint_net/",),
        layers=_yu_layers(),
        weight="/kernel",
        bias="/bias",
        is_hwio=True,
        is_bgr=True,  # its images come from cv2.imread
        options=MappingProxyType({"padding": "same", "attention": "yu2018"}),
    ),
    GeneratorLayout(
        name="daa233",
        example="coarse_generator.conv1.conv.weight",
        licence="of the project MIT; weights converted from the authors' are CC BY-NC 4.0",
        origin="github.com/daa233/generative-inpainting-pytorch",
        prefixes=("", "netG."),
        layers=_daa233_layers(),
        weight=".conv.weight",
        bias=".conv.bias",
        is_hwio=False,
        is_bgr=False,
        options=MappingProxyType({"padding": "zero", "attention": "daa233"}),
    ),
    GeneratorLayout(
        name="mmagic",
        example="generator.stage1.encoder.enc1.conv.weight",
        licence="Apache-2.0",
        origin="github.com/open-mmlab/mmagic, DeepFillv1",
        prefixes=("generator.", ""),
        layers=_mmagic_layers(),
        weight=".conv.weight",
        bias=".conv.bias",
        is_hwio=False,
        is_bgr=True,
        options=MappingProxyType({"padding": "mirror", "attention": "mmagic", "attention_activation": "elu"}),
    ),
)
