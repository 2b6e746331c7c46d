"""A light network that restores structure: edges, gradients and large shapes, at a low resolution.

This package's own. It starts from quick fillings with patches of the picture, and says how far off it may
be: where the photograph's own patches are further off than that, others are taken (filling/structure.py).

Shape legend: B samples; (H, W) the image, (h, w) an eighth of it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypedDict

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from contextual_attention import ContextualAttention

from ..patches.pyramid import smooth_fill
from .checks import checked_count
from .drafts import DRAFTS, draw_drafts
from .faces import Inpainted, check_image, missing_of, pad_to_multiple
from .folders import FolderOfWeights

if TYPE_CHECKING:
    from typing_extensions import Unpack

# Pixels go in by 2 x 2, and two strides of 2 follow.
GRID = 8
_MOST_CHANNELS = 512
_MOST_DILATION = 64
# What the gate of a layer begins with is a half.
_GATE_GAIN = 2.0
# Which filling to choose is learnt faster than colours.
_CHOICE_GAIN = 4.0
# Channels that come out: the choice among drafts and the smooth filling, what to add to it, log error.
_OUTPUTS = (DRAFTS + 1, 3, 1)
# Errors of colours in [-1, 1] that are told from each other, as logarithms.
_LEAST_LOG_ERROR, _MOST_LOG_ERROR = math.log(1 / 255), math.log(2.0)


@dataclass(frozen=True)
class StructureConfig:
    """All that decides what a `StructureNetwork` computes, up to its weights; travels with them.

    Args:
        cnum: Channels of the first layer, 1 to 512; twice and four times as many follow. Default 32.
        dilations: Of the blocks at an eighth of the size, each 1 to 64. Default 1, 2, 4, 8 twice.

    Raises:
        TypeError, ValueError: A field of the wrong type or out of its range.
    """

    cnum: int = 32
    dilations: tuple[int, ...] = (1, 2, 4, 8, 1, 2, 4, 8)

    def __post_init__(self) -> None:
        object.__setattr__(self, "cnum", checked_count("cnum", self.cnum, 1, _MOST_CHANNELS))
        object.__setattr__(self, "dilations", _checked_dilations(self.dilations))


class StructureKeywords(TypedDict, total=False):
    """The fields of `StructureConfig` as keywords of which any may be left out, for annotations."""

    cnum: int
    dilations: tuple[int, ...]


def _checked_dilations(dilations: Any) -> tuple[int, ...]:
    if isinstance(dilations, str) or not isinstance(dilations, Sequence) or not dilations:
        raise TypeError(f"dilations: expected some integers, got {dilations!r}")
    return tuple(checked_count("dilations", each, 1, _MOST_DILATION) for each in dilations)


class StructureNetwork(
    nn.Module,
    FolderOfWeights,
    library_name="contextual_attention",
    pipeline_tag="image-to-image",
    tags=["inpainting"],
):
    """A gated, dilated network that restores structure, and says how sure it is.

        d_1, d_2  = the image, its holes filled with patches in two ways
        s         = the image, its holes filled smoothly (`smooth_fill`)
        c, r, e   = S(d_1, d_2, s, m), m = 1 in the holes
        refined   = w_1 d_1 + w_2 d_2 + w_3 s + r, w = softmax(4 c)
        error     = exp(e), within 1/255 and 2
        completed = the image, with `refined` in the holes, clamped to [-1, 1]

    S sees the image by 2 x 2 pixels, goes down to an eighth of its size in two strides, through residual
    blocks of dilated convolutions with contextual attention (arXiv:1801.07892, section 3.2) in their middle,
    and up again beside what came down. Each convolution is gated pointwise: silu(convolution) * 2
    sigmoid(gate), after arXiv:1806.03589, section 3.1. It begins with r = 0 and w
    near (0.47, 0.47, 0.06).

    Patches know what repeats, and where edges go on; where and how far they are wrong is what the network
    learns.

    Made for windows in which a hole spans at most some 70 pixels.

    Args:
        base: The configuration to start from. Default: ``StructureConfig()``, 1.79 million parameters.
        **options: Fields of `StructureConfig`, in place of the base's.

    Attributes:
        config: The `StructureConfig`, immutable.
        least: Sides of the smallest image.

    Raises:
        TypeError, ValueError: An unknown option, or one that `StructureConfig` refuses.

    `save_pretrained`, `from_pretrained` and `push_to_hub` are those of huggingface_hub, as `FolderOfWeights`
    changes them.

    Examples:
        >>> network = StructureNetwork(cnum=8).eval()
        >>> image = torch.rand(2, 3, 50, 70) * 2 - 1
        >>> mask = torch.zeros(2, 1, 50, 70)
        >>> mask[0, :, 10:30, 20:40] = 1  # every sample has its own
        >>> result = network(image, mask)
        >>> result.error.shape, torch.equal(result.completed[1], image[1])
        (torch.Size([2, 1, 50, 70]), True)
    """

    Config = StructureConfig
    system = "structure"
    least = GRID

    def __init__(self, base: StructureConfig | None = None, /, **options: Unpack[StructureKeywords]) -> None:
        super().__init__()
        self.config = replace(StructureConfig() if base is None else base, **options)
        c = self.config.cnum
        self.enter = Gated(4 * (3 * DRAFTS + 3 + 1), c)
        self.quarter = nn.Sequential(Gated(c, 2 * c, stride=2), Gated(2 * c, 2 * c))
        self.down = Gated(2 * c, 4 * c, stride=2)
        blocks = [DilatedBlock(4 * c, reach) for reach in self.config.dilations]
        self.before = nn.Sequential(*blocks[: len(blocks) // 2])
        self.attention = AttentionBlock(4 * c)
        self.after = nn.Sequential(*blocks[len(blocks) // 2 :])
        self.up = Gated(4 * c + 2 * c, 2 * c)
        self.leave = Gated(2 * c + c, c)
        self.last = nn.Conv2d(c, 4 * sum(_OUTPUTS), 3, padding=1)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)
        # Pixels come out by 2 x 2; the last choice, the smooth filling, is the least likely.
        self.last.bias.data[4 * (_OUTPUTS[0] - 1) : 4 * _OUTPUTS[0]] = -0.5

    def forward(self, image: Tensor, mask: Tensor, drafts: Tensor | None = None) -> Inpainted:
        """Restore the structure in the holes of images.

        Args:
            image: (B, 3, H, W), H, W >= 8, floating, RGB in [-1, 1]; what it holds in the holes is not read.
            mask: (B or 1, 1, H, W), bool or floating, non-zero = missing. Any number of holes of any shape.
            drafts: (B, 6, H, W): d_1, the first of `draw_drafts`, and d_2, better copies: the network is
                trained with those of `filling.structure.draw_copies`. Default: both of `draw_drafts`, with
                which it is less sure.

        Returns:
            `Inpainted` with ``error``, without ``coarse``, in the dtype of the image, under autocast too;
            ``refined`` may leave [-1, 1].

        Raises:
            TypeError, ValueError: An argument of the wrong type, shape or device.

        Cost: 97 kFLOP a pixel at cnum 32: 0.06 s for 256 x 256 on two cores, and 0.14 s for the drafts. Sizes
        that are not multiples of 8 are reflected up to the next one.
        """
        check_image(image, GRID)
        missing = missing_of(mask, image)
        drafts = draw_drafts(image, missing) if drafts is None else _checked_drafts(drafts, image)
        drafts = drafts.to(image)
        height, width = image.shape[-2:]
        fillings = torch.cat((drafts, smooth_fill(image, missing)), 1)
        seen = torch.cat((fillings, missing.to(image.dtype)), 1)
        output = self._restore(pad_to_multiple(seen, GRID))[..., :height, :width].to(image.dtype)
        choice, change, error = output.split(_OUTPUTS, 1)
        chosen = (_CHOICE_GAIN * choice).softmax(1)[:, :, None] * fillings.unflatten(1, (-1, 3))
        refined = chosen.sum(1) + change
        error = error.clamp(_LEAST_LOG_ERROR, _MOST_LOG_ERROR).exp()
        completed = torch.where(missing, refined.clamp(-1, 1), image)
        return Inpainted(None, refined, completed, error=error)

    if TYPE_CHECKING:  # what nn.Module declares says nothing of arguments and result
        __call__ = forward

    def _restore(self, seen: Tensor) -> Tensor:
        """(B, C, H, W), sides multiples of 8 -> (B, sum(_OUTPUTS), H, W)."""
        halved = self.enter(F.pixel_unshuffle(seen, 2).contiguous(memory_format=torch.channels_last))
        quartered = self.quarter(halved)
        # A position that sees anything missing is not borrowed from.
        x = self.attention(self.before(self.down(quartered)), F.max_pool2d(seen[:, -1:], GRID))
        x = self.after(x)
        x = self.up(torch.cat((_doubled(x), quartered), 1))
        x = self.leave(torch.cat((_doubled(x), halved), 1))
        return F.pixel_shuffle(self.last(x), 2)


def _checked_drafts(drafts: Any, image: Tensor) -> Tensor:
    """Refuse what is no two fillings of images (B, 3, H, W)."""
    expected = (image.shape[0], 3 * DRAFTS, *image.shape[2:])
    if not isinstance(drafts, Tensor) or not drafts.is_floating_point() or drafts.shape != expected:
        given = tuple(drafts.shape) if isinstance(drafts, Tensor) else type(drafts).__name__
        raise ValueError(f"drafts: expected a floating tensor of shape {expected}, got {given}")
    return drafts


class Gated(nn.Module):
    """silu(convolution) * 2 sigmoid(gate), the gate of each position alone.

    Args:
        channels, out: That come in and out.
        stride, dilation: Of the convolution, 3 x 3.
    """

    def __init__(self, channels: int, out: int, stride: int = 1, dilation: int = 1) -> None:
        super().__init__()
        self.features = nn.Conv2d(channels, out, 3, stride, dilation, dilation)
        self.gate = nn.Conv2d(channels, out, 1, stride)
        nn.init.kaiming_normal_(self.features.weight, nonlinearity="relu")
        nn.init.normal_(self.gate.weight, std=0.02)
        for layer in (self.features, self.gate):
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        return F.silu(self.features(x)) * (_GATE_GAIN * self.gate(x).sigmoid())


class DilatedBlock(nn.Module):
    """x + P(G(x)): G gated and dilated, P pointwise and 0 at first.

    Args:
        channels: Of the map.
        dilation: Of the convolution.
    """

    def __init__(self, channels: int, dilation: int) -> None:
        super().__init__()
        self.gated = Gated(channels, channels, dilation=dilation)
        self.mix = nn.Conv2d(channels, channels, 1)
        nn.init.zeros_(self.mix.weight)
        nn.init.zeros_(self.mix.bias)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.mix(self.gated(x))


class AttentionBlock(nn.Module):
    """x + P(A(x)): what is known elsewhere, by contextual attention; P pointwise and 0 at first.

    Args:
        channels: Of the map. Half as many are compared, by patches of 3 x 3 positions.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.compared = nn.Conv2d(channels, max(1, channels // 2), 1)
        self.attention = ContextualAttention(rate=1, fuse=False)
        self.mix = nn.Conv2d(channels, channels, 1)
        nn.init.zeros_(self.mix.weight)
        nn.init.zeros_(self.mix.bias)

    def forward(self, x: Tensor, missing: Tensor) -> Tensor:
        """(B, C, h, w) and 1 = missing, (B, 1, h, w) -> (B, C, h, w)."""
        compared = self.compared(x)
        return x + self.mix(self.attention(compared, compared, missing, value=x))


def _doubled(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode="nearest")
