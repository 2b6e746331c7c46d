"""Which network an `InpaintGenerator` is: the paper's, or any published one of its two versions.

Shape legend: as in generator.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypedDict, get_args

from contextual_attention.options import PRESETS

from .checks import check_choice, check_flag, checked_count
from .layers import ACTIVATIONS, PADDINGS, Activation, Padding

Fill = Literal["grey", "white"]
Attend = Literal["everywhere", "hole"]
Squash = Literal["clip", "tanh", "tanh-unit"]
RefinementInput = Literal["image", "full"]
MaskSampling = Literal["layer", "one-step"]

# 59 thousand million parameters: what asks for more is a mistake, or a damaged file.
_MOST_CHANNELS = 4096

_CHOICES: dict[str, tuple[object, ...]] = {
    "padding": PADDINGS,
    "attention": (*PRESETS, None),
    "attend": get_args(Attend),
    "attention_activation": ACTIVATIONS,
    "fill": get_args(Fill),
    "squash": get_args(Squash),
    "refinement_input": get_args(RefinementInput),
    "mask_sampling": get_args(MaskSampling),
}
_FLAGS = ("gated", "gated_rgb", "sketch", "propagation")


@dataclass(frozen=True)
class GeneratorConfig:
    """All that decides what an `InpaintGenerator` computes, up to its weights; travels with them.

    The defaults are the network of Yu et al. 2018 (arXiv:1801.07892). That of Yu et al. 2019
    (arXiv:1806.03589), "version 2", is ``GeneratorConfig(cnum=24, padding="same", attention="yu2018",
    gated=True, squash="tanh", refinement_input="image")`` as its authors published it.

    Args:
        cnum: Channels of the first layer, even, 2 to 4096; every other layer's are a multiple of its half.
            Default 32, the paper's: 3,601,542 parameters. Counted after the gates: version 2, whose code
            says 48, has 24.
        padding: Of every convolution: ``"mirror"`` (default: the paper, mmagic), ``"same"`` (TensorFlow's,
            which the authors' code uses) or ``"zero"`` (daa233, nipponjo, csqiangwen).
        attention: A preset of `ContextualAttention`: ``"paper"`` (default), ``"yu2018"``, ``"daa233"``,
            ``"nipponjo"`` or ``"mmagic"``; None: the paper's baseline, which refines by convolutions alone.
        attend: Patches that the attention rebuilds: ``"everywhere"`` (default; all published code), or
            those centred in the ``"hole"``.
        attention_activation: Of the layer before the attention: ``"relu"`` (default: the authors' code and
            most others) or ``"elu"`` (mmagic). All others have ELU.
        fill: What the network sees in the hole: ``"grey"``, 0 (default), or ``"white"``, 1 (csqiangwen).
        gated: Whether every layer but those that give colours is a gated convolution, as in version 2.
            Default False.
        gated_rgb: Whether those are gated too, without an activation (mmagic, csqiangwen); needs ``gated``.
            Default False.
        squash: What brings colours into their range: ``"clip"`` (default), ``"tanh"`` (version 2), or
            ``"tanh-unit"``, 2 tanh - 1 (csqiangwen, whose tanh gives colours in [0, 1]): that reaches down
            to -3, which neither the refinement network nor ``coarse`` and ``refined`` are spared.
        refinement_input: What the second network sees: the ``"image"`` with the coarse one in its holes
            (version 2), or ``"full"``, with ones and the mask behind it (default; mmagic and csqiangwen).
        sketch: Whether the first network is guided by lines that are drawn in the hole (version 2).
            Default False.
        decoder_cnum: As ``cnum``, of the refinement network's decoder. Default None: the same. mmagic's
            version 2 has 32 beside 24.
        propagation: Whether the attention is propagated along equal displacements (``fuse`` of the layer).
            Default True; False in nipponjo's networks_tf.py.
        mask_sampling: How the mask comes to the attention's grid: as the ``"layer"`` does it (default), in
            two steps if it samples, or by ``"one-step"``, TensorFlow's nearest resize to an eighth of the
            size (nipponjo's networks_tf.py).

    Raises:
        TypeError, ValueError: A field of the wrong type or out of its range, or ``gated_rgb`` alone.
    """

    cnum: int = 32
    padding: Padding = "mirror"
    attention: str | None = "paper"
    attend: Attend = "everywhere"
    attention_activation: Activation = "relu"
    fill: Fill = "grey"
    gated: bool = False
    gated_rgb: bool = False
    squash: Squash = "clip"
    refinement_input: RefinementInput = "full"
    sketch: bool = False
    decoder_cnum: int | None = None
    propagation: bool = True
    mask_sampling: MaskSampling = "layer"

    def __post_init__(self) -> None:
        for name in ("cnum", "decoder_cnum"):
            width = getattr(self, name)
            if width is not None or name == "cnum":
                object.__setattr__(self, name, checked_count(name, width, 2, _MOST_CHANNELS, even=True))
        for name, choices in _CHOICES.items():
            check_choice(name, getattr(self, name), choices)
        for name in _FLAGS:
            check_flag(name, getattr(self, name))
        if self.gated_rgb and not self.gated:
            raise ValueError("gated_rgb: expected gated=True with it: the other layers have no gates")


class GeneratorKeywords(TypedDict, total=False):
    """The fields of `GeneratorConfig` as keywords of which any may be left out, for annotations."""

    cnum: int
    padding: Padding
    attention: str | None
    attend: Attend
    attention_activation: Activation
    fill: Fill
    gated: bool
    gated_rgb: bool
    squash: Squash
    refinement_input: RefinementInput
    sketch: bool
    decoder_cnum: int | None
    propagation: bool
    mask_sampling: MaskSampling
