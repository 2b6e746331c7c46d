"""The inpainting generator of Yu et al.: a coarse network, and one that refines by attention.

Version 1, arXiv:1801.07892, sections 3.1 and 4, and version 2, arXiv:1806.03589, the same with gated
convolutions; layers and channels are those of the authors' code, github.com/JiahuiYu/generative_inpainting,
branches v1.0.0 and master.

Shape legend: B samples; (H, W) the image; (H8, W8) the same rounded up to multiples of 8; (h, w) =
(H8, W8) / 8 the grid of the attention; C 3, or 5 (config.refinement_input), what the second network sees.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from contextual_attention import ContextualAttention
from contextual_attention.options import Options
from contextual_attention.reference import sampled_pixels

from .faces import Inpainted, check_beside, check_image, missing_of, pad_to_multiple
from .folders import FolderOfWeights
from .generator_config import GeneratorConfig, GeneratorKeywords
from .layers import Conv, stack

if TYPE_CHECKING:
    from typing_extensions import Unpack

# Two strides of 2 in the network and the attention's rate of 2.
GRID = 8
_FILLS = {"grey": 0.0, "white": 1.0}
_SQUASHES: dict[str, Callable[[Tensor], Tensor]] = {
    "clip": lambda x: x.clamp(-1, 1),
    "tanh": torch.tanh,
    "tanh-unit": lambda x: 2 * x.tanh() - 1,
}
_COLOURS = 3
_ONES_AND_MASK = 2
_ALIGNED = Options(downscale="aligned")


class InpaintGenerator(
    nn.Module,
    FolderOfWeights,
    library_name="contextual_attention",
    paper_url="https://arxiv.org/abs/1801.07892",
    pipeline_tag="image-to-image",
    tags=["inpainting"],
):
    """The two-stage inpainting network of Yu et al. 2018 and 2019.

    Version 1, arXiv:1801.07892, section 3, which is the default:

        coarse  = clip(G1(x, 1, m)),  x = the image, with the fill colour in the holes; m = 1 in the holes
        refined = clip(G2(x', 1, m)), x' = the image, with `coarse` in the holes
        completed = the image, with `refined` in the holes

    Version 2, arXiv:1806.03589, section 3, has gated convolutions, tanh in place of clip, G2(x'), and
    G1(x, s, 1, m) if it is guided by a sketch s.

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
        c = self.config.cnum
        encoder = _encoder(c, 2 * c, 2 * c, 4 * c, 4 * c, 4 * c)
        inputs = _COLOURS + self.config.sketch + _ONES_AND_MASK
        self.coarse = _network(self.config, inputs, (*encoder, *_dilated(c), *_decoder(c)))
        self.refinement = Refinement(self.config)

    @property
    def has_offsets(self) -> bool:
        return self.config.attention is not None

    def forward(
        self, image: Tensor, mask: Tensor, return_offsets: bool = False, sketch: Tensor | None = None
    ) -> Inpainted:
        """Fill the holes of images.

        Args:
            image: (B, 3, H, W), H, W >= 8, floating, RGB in [-1, 1]; what it holds in the holes is not read.
            mask: (B or 1, 1, H, W), bool or floating, non-zero = missing. Any number of holes of any shape.
            return_offsets: Whether to return the attention's offsets too. Default False.
            sketch: (B or 1, 1, H, W), bool or floating, 1 on the lines that the image shall have in its holes
                and 0 beside them; not read elsewhere. Of networks with ``config.sketch``, which need it.

        Returns:
            `Inpainted`, in the dtype of the image, under autocast too. With ``squash="tanh-unit"`` its
            ``coarse`` and ``refined`` may be below -1, to -3; ``completed`` is clamped.

        Raises:
            TypeError, ValueError: An argument of the wrong type, shape or device, offsets of a network
                that has no attention, or a sketch too many or too few.

        Cost: 0.68 MFLOP a pixel in convolutions at cnum 32, 0.77 gated at 24, and the attention's, which
        grows with the square of the area. Sizes that are not multiples of 8 are reflected up to the next one.
        """
        check_image(image, GRID)
        missing = missing_of(mask, image)
        if return_offsets and not self.has_offsets:
            raise ValueError("return_offsets: this network has no attention (attention=None), so no offsets")
        self._check_sketch(sketch, image)
        known, hole = (pad_to_multiple(x, GRID) for x in (image, missing.to(image.dtype)))
        coarse = self._coarse(known, hole, sketch)
        refined, offsets = self.refinement(self._refinement_input(known, coarse, hole), hole, return_offsets)
        height, width = image.shape[-2:]
        coarse, refined = (x[..., :height, :width].to(image.dtype) for x in (coarse, refined))
        return Inpainted(coarse, refined, torch.where(missing, refined.clamp(-1, 1), image), offsets)

    if TYPE_CHECKING:  # what nn.Module declares says nothing of arguments and result
        __call__ = forward

    def _check_sketch(self, sketch: Tensor | None, image: Tensor) -> None:
        if sketch is None and self.config.sketch:
            raise ValueError("sketch: expected the lines in the holes: this network is guided (sketch=True)")
        if sketch is not None and not self.config.sketch:
            raise ValueError("sketch: expected none: this network is not guided by one (sketch=False)")
        if sketch is not None:
            check_beside("sketch", "1 = line", sketch, image)

    def _coarse(self, image: Tensor, hole: Tensor, sketch: Tensor | None) -> Tensor:
        x = _filled(image, image.new_full((), _FILLS[self.config.fill]), hole)
        guides = []
        if sketch is not None:
            lines = pad_to_multiple(sketch.to(image.dtype), GRID)
            guides = [torch.where(hole != 0, lines, 0)]
        return _SQUASHES[self.config.squash](self.coarse(_with_mask(x, *guides, hole=hole)))

    def _refinement_input(self, image: Tensor, coarse: Tensor, hole: Tensor) -> Tensor:
        x = _filled(image, coarse, hole)
        return x if self.config.refinement_input == "image" else _with_mask(x, hole=hole)


class Refinement(nn.Module):
    """The second network: two branches over one input, dilated convolutions and attention, and their decoder.

    Args:
        config: Of the generator; without attention the decoder reads the convolutions alone.
    """

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__()
        c = config.cnum
        encoder = _encoder(c, c, 2 * c, 2 * c, 4 * c, 4 * c)
        self.convolutions = _network(config, _refinement_channels(config), (*encoder, *_dilated(c)))
        self.attention = None if config.attention is None else AttentionBranch(config)
        branches = 1 if config.attention is None else 2
        self.decoder = _network(config, branches * 4 * c, _decoder(config.decoder_cnum or c))
        self._squash = config.squash

    def forward(self, x: Tensor, hole: Tensor, return_offsets: bool) -> tuple[Tensor, Tensor | None]:
        """(B, C, H8, W8), (B, 1, H8, W8) -> the squashed (B, 3, H8, W8), offsets (B, 2, h, w)."""
        features, offsets = self.convolutions(x), None
        if self.attention is not None:
            attended, offsets = self.attention(x, hole, return_offsets)
            features = torch.cat((features, attended), 1)
        return _SQUASHES[self._squash](self.decoder(features)), offsets


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
        self.encoder = _network(config, _refinement_channels(config), (*first, last))
        self.layer = ContextualAttention.from_preset(config.attention, fuse=config.propagation)
        self.decoder = _network(config, 4 * c, (Conv(4 * c), Conv(4 * c)))
        self._in_hole_only = config.attend == "hole"
        self._in_one_step = config.mask_sampling == "one-step"

    def forward(self, x: Tensor, hole: Tensor, return_offsets: bool) -> tuple[Tensor, Tensor | None]:
        """(B, C, H8, W8), (B, 1, H8, W8) -> (B, 4 * cnum, H8 / 4, W8 / 4), offsets (B, 2, h, w)."""
        features = self.encoder(x)
        hole = _sampled_in_one_step(hole) if self._in_one_step else hole
        selected = hole if self._in_hole_only else None
        result = self.layer(features, features, hole, foreground_mask=selected, return_offsets=return_offsets)
        attended, offsets = result if return_offsets else (result, None)
        return self.decoder(attended), offsets


# The tables of the networks: arXiv:1801.07892, section 4, with the channels of the authors' code


def _network(config: GeneratorConfig, in_channels: int, specs: tuple[Conv, ...]) -> nn.Sequential:
    """The convolutions of a table, with the gates that the configuration wants."""
    gated = (config.gated and (config.gated_rgb or spec.activation is not None) for spec in specs)
    return stack(
        in_channels,
        tuple(spec._replace(gated=each) for spec, each in zip(specs, gated, strict=True)),
        config.padding,
    )


def _refinement_channels(config: GeneratorConfig) -> int:
    return _COLOURS if config.refinement_input == "image" else _COLOURS + _ONES_AND_MASK


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


# What the networks see


def _filled(image: Tensor, filling: Tensor, hole: Tensor) -> Tensor:
    return torch.where(hole != 0, filling, image)


def _with_mask(*maps: Tensor, hole: Tensor) -> Tensor:
    """The maps with a map of ones, which tells where padding begins, and the mask behind them."""
    return torch.cat((*maps, torch.ones_like(hole), hole), 1)


def _sampled_in_one_step(hole: Tensor) -> Tensor:
    """The mask of one step by 8, for a layer that downscales by 2: (B, 1, H8, W8) -> (B, 1, H8 / 4, W8 / 4).

    For its position i the layer reads 2 i or 2 i + 1, however it downscales: both hold the pixel of i.
    """
    rows, columns = (sampled_pixels(size, GRID, _ALIGNED, hole.device) for size in hole.shape[-2:])
    return F.interpolate(hole[..., rows, :][..., columns], scale_factor=2, mode="nearest")
