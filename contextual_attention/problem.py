"""What the kernels compute of a sample: sizes and options, as plans and bindings take them.

Shape legend: C feature and K value channels of a cell; foreground h x w, background hb x wb positions.
"""

from __future__ import annotations

from dataclasses import dataclass

from .interface import Masking, Operands, Propagation, Scoring
from .options import Options


def scoring(options: Options) -> Scoring:
    """The options that scores depend on, as the operators' schemas have them."""
    masking = Masking.EXCLUDE if options.masking == "exclude" else Masking.MULTIPLY
    return Scoring(
        float(options.softmax_scale),
        options.ksize,
        options.stride,
        options.fuse_k,
        _propagation(options).value,
        masking.value,
    )


def _propagation(options: Options) -> Propagation:
    if not options.fuse:
        return Propagation.NONE
    if options.propagation == "before":
        if not options.propagates:
            return Propagation.NONE
        return Propagation.BEFORE_WRAP if options.boundary == "wrap" else Propagation.BEFORE_ZERO
    # One tap mixes nothing, but rows that "multiply" left short of sum 1 are rescaled all the same.
    if not options.propagates and options.masking == "exclude":
        return Propagation.NONE
    return Propagation.AFTER_ZERO


@dataclass(frozen=True)
class Problem:
    """Sizes, and the fields of `Scoring`; csrc/common/problem.h has a struct of the same fields."""

    channels: int
    value_channels: int
    h: int
    w: int
    hb: int
    wb: int
    softmax_scale: float
    ksize: int
    stride: int
    fuse_k: int
    propagation: int
    masking: int
    batch: int = 1

    @classmethod
    def of(cls, operands: Operands, scores: Scoring) -> Problem:
        """That of an operator's call."""
        batch, h, w, channels = operands.foreground.shape
        _, hb, wb, _ = operands.background.shape
        return cls(channels, operands.value.shape[3], h, w, hb, wb, *scores, batch)

    @property
    def before(self) -> bool:
        return self.propagation in (Propagation.BEFORE_ZERO, Propagation.BEFORE_WRAP)

    @property
    def after(self) -> bool:
        return self.propagation == Propagation.AFTER_ZERO

    @property
    def wraps(self) -> bool:
        return self.propagation == Propagation.BEFORE_WRAP

    @property
    def multiplies(self) -> bool:
        return self.masking == Masking.MULTIPLY

    @property
    def patch_reach(self) -> int:
        return self.ksize // 2

    @property
    def tap_reach(self) -> int:
        """How far a tap of the propagation lies from its position; 0 where there is none."""
        return 0 if self.propagation == Propagation.NONE else self.fuse_k // 2 * self.stride
