"""How the published implementations of the generator name and store its layers.

Facts, read from their code: github.com/JiahuiYu/generative_inpainting (branch v1.0.0, inpaint_model.py and
inpaint_ops.py), github.com/daa233/generative-inpainting-pytorch (model/networks.py) and
github.com/open-mmlab/mmagic (models/editors/deepfillv1, deepfillv2/two_stage_encoder_decoder.py and
configs/_base_/models/base_deepfillv1.py).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any


@dataclass(frozen=True)
class Layout:
    """A published checkpoint format.

    Args:
        name: What it is called here.
        origin: Where the format and its behaviour are published.
        prefixes: Under which its keys may stand, the likeliest first.
        layers: Names of its 42 convolutions, in the order of ours: coarse network, refinement by
            convolutions, attention branch, decoder.
        weight, bias: What follows the name of a layer in a key.
        is_hwio: Whether weights are stored as (height, width, in, out), and not (out, in, height, width).
        is_bgr: Whether the network was trained on images with channels blue, green, red.
        options: Fields of `GeneratorConfig` that differ from its defaults.
    """

    name: str
    origin: str
    prefixes: tuple[str, ...]
    layers: tuple[str, ...]
    weight: str
    bias: str
    is_hwio: bool
    is_bgr: bool
    options: Mapping[str, Any]

    def prefix_in(self, keys: Collection[str]) -> str | None:
        """The prefix under which keys hold this layout's first layer; None: they do not."""
        return next((each for each in self.prefixes if each + self.example in keys), None)

    @property
    def example(self) -> str:
        """The key of the first layer's weights."""
        return self.layers[0] + self.weight


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


LAYOUTS = (
    Layout(
        name="yu2018",
        origin="github.com/JiahuiYu/generative_inpainting, version 1",
        prefixes=("inpaint_net/",),
        layers=_yu_layers(),
        weight="/kernel",
        bias="/bias",
        is_hwio=True,
        is_bgr=True,  # its images come from cv2.imread
        options=MappingProxyType({"padding": "same", "attention": "yu2018"}),
    ),
    Layout(
        name="daa233",
        origin="github.com/daa233/generative-inpainting-pytorch",
        prefixes=("", "netG."),
        layers=_daa233_layers(),
        weight=".conv.weight",
        bias=".conv.bias",
        is_hwio=False,
        is_bgr=False,
        options=MappingProxyType({"padding": "zero", "attention": "daa233"}),
    ),
    Layout(
        name="mmagic",
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
