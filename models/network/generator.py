"""The inpainting generator of Yu et al. 2018: a coarse network, and one that refines by attention.

arXiv:1801.07892, sections 3.1 and 4; layers and channels are those of the authors' code,
github.com/JiahuiYu/generative_inpainting, branch v1.0.0.

Shape legend: B samples; (H, W) the image; (H8, W8) the same rounded up to multiples of 8; (h, w) =
(H8, W8) / 8 the grid of the attention.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, TypedDict

import torch
from torch import Tensor, nn

from contextual_attention import ContextualAttention
from contextual_attention.options import PRESETS, checked_integer

from .faces import Inpainted, check_image, missing_of, pad_to_multiple
from .folders import FolderOfWeights
from .layers import ACTIVATIONS, PADDINGS, Activation, Conv, Padding, stack

if TYPE_CHECKING:
    from typing_extensions import Unpack

Fill = Literal["grey", "white"]
Attend = Literal["everywhere", "hole"]

# Two strides of 2 in the network and the attention's rate of 2.
GRID = 8
_FILLS = {"grey": 0.0, "white": 1.0}
# 59 thousand million parameters: what asks for more is a mistake, or a damaged file.
_MOST_CHANNELS = 4096
_INPUT_CHANNELS = 5  # the image, a map of ones and the mask


@dataclass(frozen=True)
class GeneratorConfig:
    """All that decides what an `InpaintGenerator` computes, up to its weights; travels with them.

    Args:
        cnum: Channels of the first layer, even, 2 to 4096; every other layer's are a multiple of its half.
            Default 32, the paper's: 3,601,542 parameters.
        padding: Of every convolution: ``"mirror"`` (default: the paper, mmagic), ``"same"`` (TensorFlow's,
            which the authors' code uses) or ``"zero"`` (daa233).
        attention: A preset of `ContextualAttention`: ``"paper"`` (default), ``"yu2018"``, ``"daa233"``,
            ``"nipponjo"`` or ``"mmagic"``; None: the paper's baseline, which refines by convolutions alone.
        attend: Patches that the attention rebuilds: ``"everywhere"`` (default; all published code), or
            those centred in the ``"hole"``.
        attention_activation: Of the layer before the attention: ``"relu"`` (default: the authors' code and
            daa233) or ``"elu"`` (mmagic). All others have ELU.
        fill: What the network sees in the hole: ``"grey"``, 0 (default), or ``"white"``, 1.

    Raises:
        TypeError, ValueError: A field of the wrong type or out of its range.
    """

    cnum: int = 32
    padding: Padding = "mirror"
    attention: str | None = "paper"
    attend: Attend = "everywhere"
    attention_activation: Activation = "relu"
    fill: Fill = "grey"

    def __post_init__(self) -> None:
        expected = f"cnum: expected an even integer from 2 to {_MOST_CHANNELS}"
        object.__setattr__(self, "cnum", checked_integer(self.cnum, expected))
        if not 2 <= self.cnum <= _MOST_CHANNELS or self.cnum % 2:
            raise ValueError(f"{expected}, got {self.cnum}")
        _check_choice("padding", self.padding, PADDINGS)
        _check_choice("attention", self.attention, (*PRESETS, None))
        _check_choice("attend", self.attend, ("everywhere", "hole"))
        _check_choice("attention_activation", self.attention_activation, ACTIVATIONS)
        _check_choice("fill", self.fill, tuple(_FILLS))


class GeneratorKeywords(TypedDict, total=False):
    """The fields of `GeneratorConfig` as keywords of which any may be left out, for annotations."""

    cnum: int
    padding: Padding
    attention: str | None
    attend: Attend
    attention_activation: Activation
    fill: Fill


def _check_choice(name: str, choice: object, choices: tuple[object, ...]) -> None:
    if choice not in choices:
        raise ValueError(f"{name}: expected one of {', '.join(map(repr, choices))}; got {choice!r}")


class InpaintGenerator(
    nn.Module,
    FolderOfWeights,
    library_name="contextual_attention",
    paper_url="https://arxiv.org/abs/1801.07892",
    pipeline_tag="image-to-image",
    tags=["inpainting"],
):
    """The two-stage inpainting network of Yu et al. 2018 (arXiv:1801.07892, section 3).

        coarse  = clip(G1(x, 1, m)),  x = the image, with the fill colour in the holes; m = 1 in the holes
        refined = clip(G2(x', 1, m)), x' = the image, with `coarse` in the holes
        completed = the image, with `refined` in the holes

    G2 has a branch of dilated convolutions and one of contextual attention, which one decoder merges.
    Gradients of the refined image flow into G1 through x'. The published code differs from the
    paper in its padding and its attention; every published variant is a `GeneratorConfig`.

    Args:
        base: The configuration to start from. Default: the paper's.
        **options: Fields of `GeneratorConfig`, in place of the base's.

    Attributes:
        config: The `GeneratorConfig`, immutable.

    Raises:
        TypeError, ValueError: An unknown option, or one that `GeneratorConfig` refuses.

    `save_pretrained`, `from_pretrained` and `push_to_hub` are those of huggingface_hub, as `FolderOfWeights`
    changes them: a folder with config.json, which has the whole configuration, and model.safetensors.

    Examples:
        >>> generator = InpaintGenerator(cnum=8)
        >>> image = torch.rand(2, 3, 50, 70) * 2 - 1
        >>> mask = torch.zeros(2, 1, 50, 70)
        >>> mask[0, :, 10:30, 20:40] = 1  # every sample has its own
        >>> result = generator(image, mask, return_offsets=True)
        >>> result.completed.shape, torch.equal(result.completed[1], image[1])
        (torch.Size([2, 3, 50, 70]), True)
        >>> result.offsets.shape
        torch.Size([2, 2, 7, 9])
    """

    Config = GeneratorConfig
    system = "deepfill"

    def __init__(self, base: GeneratorConfig | None = None, /, **options: Unpack[GeneratorKeywords]) -> None:
        super().__init__()
        self.config = replace(GeneratorConfig() if base is None else base, **options)
        # What the mixin writes to config.json: it sees only the arguments that were given.
        self._hub_mixin_config = self.config
        c, padding = self.config.cnum, self.config.padding
        encoder = _encoder(c, 2 * c, 2 * c, 4 * c, 4 * c, 4 * c)
        self.coarse = stack(_INPUT_CHANNELS, (*encoder, *_dilated(c), *_decoder(c)), padding)
        self.refinement = Refinement(self.config)

    @property
    def has_offsets(self) -> bool:
        return self.config.attention is not None

    def forward(self, image: Tensor, mask: Tensor, return_offsets: bool = False) -> Inpainted:
        """Fill the holes of images.

        Args:
            image: (B, 3, H, W), H, W >= 8, floating, RGB in [-1, 1]; what it holds in the holes is not read.
            mask: (B or 1, 1, H, W), bool or floating, non-zero = missing. Any number of holes of any shape.
            return_offsets: Whether to return the attention's offsets too. Default False.

        Returns:
            `Inpainted`, in the dtype of the image, under autocast too.

        Raises:
            TypeError, ValueError: An argument of the wrong type, shape or device, or offsets of a network
                that has no attention.

        Cost: 0.68 MFLOP a pixel in convolutions at cnum 32, and the attention's, which grows with the
        square of the area. Sizes that are not multiples of 8 are reflected up to the next one.
        """
        check_image(image, GRID)
        missing = missing_of(mask, image)
        if return_offsets and not self.has_offsets:
            raise ValueError("return_offsets: this network has no attention (attention=None), so no offsets")
        known, hole = (pad_to_multiple(x, GRID) for x in (image, missing.to(image.dtype)))
        coarse = self._coarse(known, hole)
        refined, offsets = self.refinement(_network_input(known, coarse, hole), hole, return_offsets)
        height, width = image.shape[-2:]
        coarse, refined = (x[..., :height, :width].to(image.dtype) for x in (coarse, refined))
        return Inpainted(coarse, refined, torch.where(missing, refined, image), offsets)

    if TYPE_CHECKING:  # what nn.Module declares says nothing of arguments and result
        __call__ = forward

    def _coarse(self, image: Tensor, hole: Tensor) -> Tensor:
        fill = image.new_full((), _FILLS[self.config.fill])
        return self.coarse(_network_input(image, fill, hole)).clamp(-1, 1)


class Refinement(nn.Module):
    """The second network: two branches over one input, dilated convolutions and attention, and their decoder.

    Args:
        config: Of the generator; without attention the decoder reads the convolutions alone.
    """

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__()
        c = config.cnum
        encoder = _encoder(c, c, 2 * c, 2 * c, 4 * c, 4 * c)
        self.convolutions = stack(_INPUT_CHANNELS, (*encoder, *_dilated(c)), config.padding)
        self.attention = None if config.attention is None else AttentionBranch(config)
        branches = 1 if config.attention is None else 2
        self.decoder = stack(branches * 4 * c, _decoder(c), config.padding)

    def forward(self, x: Tensor, hole: Tensor, return_offsets: bool) -> tuple[Tensor, Tensor | None]:
        """(B, 5, H8, W8), (B, 1, H8, W8) -> (B, 3, H8, W8) in [-1, 1], offsets (B, 2, h, w)."""
        features, offsets = self.convolutions(x), None
        if self.attention is not None:
            attended, offsets = self.attention(x, hole, return_offsets)
            features = torch.cat((features, attended), 1)
        return self.decoder(features).clamp(-1, 1), offsets


class AttentionBranch(nn.Module):
    """The branch of the refinement network that borrows from the known region.

    Args:
        config: Of the generator; its attention is a preset.

    Attributes:
        layer: The `ContextualAttention`; its ``backend`` and ``workspace`` may be set.
    """

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__()
        c = config.cnum
        *first, last = _encoder(c, c, 2 * c, 4 * c, 4 * c, 4 * c)
        last = last._replace(activation=config.attention_activation)
        self.encoder = stack(_INPUT_CHANNELS, (*first, last), config.padding)
        self.layer = ContextualAttention.from_preset(config.attention)
        self.decoder = stack(4 * c, (Conv(4 * c), Conv(4 * c)), config.padding)
        self._in_hole_only = config.attend == "hole"

    def forward(self, x: Tensor, hole: Tensor, return_offsets: bool) -> tuple[Tensor, Tensor | None]:
        """(B, 5, H8, W8), (B, 1, H8, W8) -> (B, 4 * cnum, H8 / 4, W8 / 4), offsets (B, 2, h, w)."""
        features = self.encoder(x)
        selected = hole if self._in_hole_only else None
        result = self.layer(features, features, hole, foreground_mask=selected, return_offsets=return_offsets)
        attended, offsets = result if return_offsets else (result, None)
        return self.decoder(attended), offsets


# The tables of the networks: arXiv:1801.07892, section 4, with the channels of the authors' code


def _encoder(*channels: int) -> tuple[Conv, ...]:
    """Six convolutions, down to a quarter of the size."""
    shapes = ((5, 1), (3, 2), (3, 1), (3, 2), (3, 1), (3, 1))
    return tuple(Conv(n, kernel, stride) for n, (kernel, stride) in zip(channels, shapes, strict=True))


def _dilated(cnum: int) -> tuple[Conv, ...]:
    return tuple(Conv(4 * cnum, dilation=dilation) for dilation in (2, 4, 8, 16))


def _decoder(cnum: int) -> tuple[Conv, ...]:
    """Seven convolutions, back to the image's size and channels."""
    return (
        Conv(4 * cnum),
        Conv(4 * cnum),
        Conv(2 * cnum, upsample=True),
        Conv(2 * cnum),
        Conv(cnum, upsample=True),
        Conv(cnum // 2),
        Conv(3, activation=None),
    )


def _network_input(image: Tensor, filling: Tensor, hole: Tensor) -> Tensor:
    """The image with a filling in its holes, a map of ones, which tells where padding begins, the mask."""
    filled = torch.where(hole != 0, filling, image)
    return torch.cat((filled, torch.ones_like(hole), hole), 1)
