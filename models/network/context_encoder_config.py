"""Which network a `ContextEncoder` is: the authors' for the middle, theirs for any region, or the paper's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypedDict

from .checks import check_choice, check_flag, checked_count

BottleneckKind = Literal["conv", "channelwise"]
Output = Literal["centre", "whole"]

# Sides of the pictures that the network takes, and of their middle.
VIEW, CENTRE = 128, 64
_MOST_CHANNELS, _MOST_BOTTLENECK = 1024, 65536


@dataclass(frozen=True)
class ContextEncoderConfig:
    """All that decides what a `ContextEncoder` computes, up to its weights; travels with them.

    Args:
        cnum: Channels of the first layer, 1 to 1024; every other layer's are a multiple. Default 64, the
            authors'.
        bottleneck: Channels of the bottleneck, 1 to 65536. Default 4000, the authors': 71,130,531 parameters,
            71,124,544 without ``bias``. A channel-wise bottleneck does not read it.
        bottleneck_kind: ``"conv"`` (default: the authors' released code), two full convolutions, of 4 x 4
            pixels to one and back, or ``"channelwise"`` (the paper, section 3.1), a matrix for each channel
            of the 4 x 4 map and a convolution of 1 x 1 across them: 5,983,939 parameters at cnum 64.
        output: ``"centre"`` (default), the middle 64 x 64 pixels of what it sees, or ``"whole"``, all of
            them: the authors' model for regions of any shape, with one more layer.
        bias: Whether the convolutions have biases. Default True; BoyuanJiang: False.
        overlap: Pixels by which the predicted centre reaches into what is known, 0 to 31. Default 4, the
            authors': of 64 x 64 predicted pixels the middle 56 x 56 are missing.

    Raises:
        TypeError, ValueError: A field of the wrong type or out of its range.
    """

    cnum: int = 64
    bottleneck: int = 4000
    bottleneck_kind: BottleneckKind = "conv"
    output: Output = "centre"
    bias: bool = True
    overlap: int = 4

    def __post_init__(self) -> None:
        for name, least, most in (
            ("cnum", 1, _MOST_CHANNELS),
            ("bottleneck", 1, _MOST_BOTTLENECK),
            ("overlap", 0, CENTRE // 2 - 1),
        ):
            object.__setattr__(self, name, checked_count(name, getattr(self, name), least, most))
        check_choice("bottleneck_kind", self.bottleneck_kind, ("conv", "channelwise"))
        check_choice("output", self.output, ("centre", "whole"))
        check_flag("bias", self.bias)

    @property
    def hole(self) -> int:
        """Side of what is missing in the centre model's view, in its middle."""
        return CENTRE - 2 * self.overlap


class ContextEncoderKeywords(TypedDict, total=False):
    """The fields of `ContextEncoderConfig` as keywords of which any may be left out, for annotations."""

    cnum: int
    bottleneck: int
    bottleneck_kind: BottleneckKind
    output: Output
    bias: bool
    overlap: int
