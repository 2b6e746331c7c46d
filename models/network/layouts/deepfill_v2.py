"""How the published implementations of Yu et al. 2019 name and store the generator's layers.

Facts, read from their code: github.com/JiahuiYu/generative_inpainting (branch master, inpaint_model.py and
inpaint_ops.py), github.com/nipponjo/deepfillv2-pytorch (model/networks.py and networks_tf.py),
github.com/open-mmlab/mmagic (models/editors/deepfillv2, models/archs/gated_conv_module.py) and
github.com/csqiangwen/DeepFillv2_Pytorch (network.py and network_module.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..weight_files import WeightsError
from .deepfill import GeneratorLayout, mmagic_layers, yu_layers
from .layout import Layout, Weights

_COLOURS = 3
_GUIDED_CHANNELS = 6  # colours, the sketch, ones and the mask
_DECODER = -7  # the first of the last seven layers
# Of csqiangwen: the two convolutions of a layer, the layers that see an image, the guard of a norm.
_HALVES = ("conv2d", "mask_conv2d")
_SEE_COLOURS = ("coarse.0", "refine_conv.0", "refine_atten_1.0")
_EPS = 1e-12


@dataclass(frozen=True, kw_only=True)
class GatedLayout(GeneratorLayout):
    """A format whose convolutions hold features and gates at once."""

    def recognises(self, weights: Weights) -> bool:
        # Version 1 has the same names in the authors' files.
        halves = self.channels(weights, 1)[0]
        return super().recognises(weights) and 2 * halves == self.channels(weights, 0)[1]

    def sizes(self, weights: Weights) -> Mapping[str, Any]:
        channels, twice = self.channels(weights, 0)
        cnum, decoder_cnum = twice // 2, self.channels(weights, _DECODER)[1] // 8
        return {
            "cnum": cnum,
            "decoder_cnum": None if decoder_cnum == cnum else decoder_cnum,
            "sketch": channels == _GUIDED_CHANNELS,
        }


@dataclass(frozen=True, kw_only=True)
class TwofoldLayout(GeneratorLayout):
    """csqiangwen's format: features and gate by two convolutions, upsampling ones spectrally normalised.

    Its networks see colours y in [0, 1] and no map of ones. With colours x = 2 y - 1 they are the same if
    weights of colours are halved, and half their sum is that of ones: y = x / 2 + 1 / 2, in the padding too,
    where all of them are 0.
    """

    def recognises(self, weights: Weights) -> bool:
        return all(f"{self.layers[0]}.{part}.weight" in weights for part in _HALVES)

    def layer(self, weights: Weights, name: str) -> dict[str, tuple[str, Tensor]]:
        features, gate = (_convolution(weights, f"{name}.{half}") for half in _HALVES)
        found = {part: _joined(weights, features[part], gate[part]) for part in features}
        key, weight = found["weight"]
        if name in _SEE_COLOURS and weight.shape[1:2] == (_COLOURS + 1,):
            colours, mask = weight[:, :_COLOURS] / 2, weight[:, _COLOURS:]
            found["weight"] = key, torch.cat((colours, colours.sum(1, keepdim=True), mask), 1)
        return found


def _convolution(weights: Weights, name: str) -> dict[str, tuple[str, Tensor]]:
    """Weights and biases of a convolution, plain or spectrally normalised, each with its name."""
    inner = f"{name}.module"
    if f"{inner}.weight_bar" in weights:
        return {
            "weight": (f"{inner}.weight_bar", _normalised(weights, inner)),
            "bias": (f"{inner}.bias", weights.tensor(f"{inner}.bias")),
        }
    return {part: (f"{name}.{part}", weights.tensor(f"{name}.{part}")) for part in ("weight", "bias")}


def _normalised(weights: Weights, name: str) -> Tensor:
    """W / sigma as csqiangwen's first call after loading has it: after one power iteration, from weight_u."""
    weight, u = weights.tensor(f"{name}.weight_bar"), weights.tensor(f"{name}.weight_u")
    if weight.dim() != 4 or u.shape != weight.shape[:1]:
        raise WeightsError(
            f"{weights.path}: {weights.prefix}{name}: expected weight_bar of four dimensions and a number in "
            f"weight_u for each of its channels, got {tuple(weight.shape)} and {tuple(u.shape)}"
        )
    matrix = weight.flatten(1)
    v = F.normalize(matrix.T @ u, dim=0, eps=_EPS)
    product = matrix @ v
    return weight / (F.normalize(product, dim=0, eps=_EPS) @ product)


def _joined(weights: Weights, features: tuple[str, Tensor], gate: tuple[str, Tensor]) -> tuple[str, Tensor]:
    """What one gated convolution has of two, first the features."""
    (key, first), (other, second) = features, gate
    if first.shape != second.shape or not first.dim():
        raise WeightsError(
            f"{weights.path}: {weights.prefix}{other}: expected the shape of {key}, {tuple(first.shape)}, "
            f"got {tuple(second.shape)}"
        )
    return weights.prefix + key, torch.cat((first, second))


def _nipponjo_layers() -> tuple[str, ...]:
    def down(prefix: str) -> tuple[str, ...]:
        return tuple(
            f"{prefix}down_block{block}.{layer}"
            for block in (1, 2)
            for layer in ("conv1_downsample", "conv2")
        )

    up = tuple(f"up_block{block}.{layer}" for block in (1, 2) for layer in ("conv1_upsample.conv", "conv2"))
    coarse = ("conv1", *down(""), *(f"conv_bn{number}" for number in range(1, 8)), *up, "conv_to_rgb")
    refinement = (
        "conv_conv1", *down("conv_"), *(f"conv_conv_bn{number}" for number in range(1, 6)),
        "ca_conv1", *down("ca_"), "ca_conv_bn1", "ca_conv_bn4", "ca_conv_bn5",
        "conv_bn6", "conv_bn7", *up, "conv_to_rgb",
    )  # fmt: skip
    return (*(f"stage1.{name}" for name in coarse), *(f"stage2.{name}" for name in refinement))


def _csqiangwen_layers() -> tuple[str, ...]:
    groups = {"coarse": 17, "refine_conv": 10, "refine_atten_1": 6, "refine_atten_2": 2, "refine_combine": 7}
    names = (f"{group}.{number}" for group, count in groups.items() for number in range(count))
    upsampling = ("coarse.12", "coarse.14", "refine_combine.2", "refine_combine.4")
    return tuple(f"{name}.gated_conv2d" if name in upsampling else name for name in names)


_GATED = {"gated": True, "squash": "tanh", "refinement_input": "image"}
_ORIGINAL = {**_GATED, "padding": "same", "attention": "yu2018"}

LAYOUTS: tuple[Layout, ...] = (
    GatedLayout(
        name="yu2019",
        example="inpaint_net/conv1/kernel",
        licence="CC BY-NC 4.0: not for commercial use",
        origin="github.com/JiahuiYu/generative_inpainting, version 2",
        prefixes=("inpaint_net/",),
        layers=yu_layers(scope="{0}/{0}_conv"),
        weight="/kernel",
        bias="/bias",
        is_hwio=True,
        is_bgr=True,  # its images come from cv2.imread
        options=MappingProxyType(_ORIGINAL),
    ),
    GatedLayout(
        name="nipponjo-tf",
        example="conv1.conv.weight",
        licence="CC BY-NC 4.0, not for commercial use, as of the authors' weights that it holds",
        origin="github.com/nipponjo/deepfillv2-pytorch, networks_tf.py",
        prefixes=("",),
        layers=yu_layers(scope="{0}.conv"),
        weight=".conv.weight",
        bias=".conv.bias",
        is_hwio=False,
        # Not stated, and the weights are those of a network of blue, green, red; but its test.py feeds red,
        # green, blue.
        is_bgr=False,
        options=MappingProxyType(_ORIGINAL),
        variants=MappingProxyType(
            {"original": {}, "networks_tf": {"propagation": False, "mask_sampling": "one-step"}}
        ),
    ),
    GatedLayout(
        name="nipponjo",
        example="stage1.conv1.conv.weight",
        licence="none is given: all rights reserved",
        origin="github.com/nipponjo/deepfillv2-pytorch, networks.py",
        prefixes=("",),
        layers=_nipponjo_layers(),
        weight=".conv.weight",
        bias=".conv.bias",
        is_hwio=False,
        is_bgr=False,
        options=MappingProxyType({**_GATED, "padding": "zero", "attention": "nipponjo"}),
    ),
    GatedLayout(
        name="mmagic-v2",
        example="generator.stage1.encoder.enc1.conv.conv.weight",
        licence="Apache-2.0",
        origin="github.com/open-mmlab/mmagic, DeepFillv2",
        prefixes=("generator.", ""),
        layers=mmagic_layers(),
        weight=".conv.conv.weight",
        bias=".conv.conv.bias",
        is_hwio=False,
        is_bgr=True,
        options=MappingProxyType(
            {
                "gated": True,
                "gated_rgb": True,
                "squash": "tanh",
                "padding": "mirror",
                "attention": "mmagic",
                "attention_activation": "elu",
            }
        ),
    ),
    TwofoldLayout(
        name="csqiangwen",
        example="coarse.0.mask_conv2d.weight",
        licence="MIT",
        origin="github.com/csqiangwen/DeepFillv2_Pytorch",
        prefixes=("",),
        layers=_csqiangwen_layers(),
        weight=".conv2d.weight",
        bias=".conv2d.bias",
        is_hwio=False,
        is_bgr=False,
        options=MappingProxyType(
            {
                "gated": True,
                "gated_rgb": True,
                "squash": "tanh-unit",
                "fill": "white",
                "padding": "zero",
                "attention": "daa233",
            }
        ),
    ),
)
