"""The options of the layer, checked once, and the presets: the paper's and every published layer's."""

from __future__ import annotations

import math
import operator
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, TypedDict, get_args

import numpy as np

if TYPE_CHECKING:
    from typing_extensions import Unpack

Normalize = Literal["both", "background"]
EpsMode = Literal["max", "sum"]
Downscale = Literal["strided", "aligned"]
MaskDownscale = Literal["any", "sampled"]
PropagationOrder = Literal["after", "before"]
Boundary = Literal["zero", "wrap"]
Masking = Literal["exclude", "multiply"]
Overlap = Literal["mean", "fixed"]

_CHOICES: dict[str, tuple[str, ...]] = {
    "normalize": get_args(Normalize),
    "eps_mode": get_args(EpsMode),
    "downscale": get_args(Downscale),
    "mask_downscale": get_args(MaskDownscale),
    "propagation": get_args(PropagationOrder),
    "boundary": get_args(Boundary),
    "masking": get_args(Masking),
    "overlap": get_args(Overlap),
}
_ODD = ("ksize", "fuse_k")
_POSITIVE = ("stride", "rate")
# Time and memory grow with the squares of counts, on the smallest map too: this is far beyond any use, and
# keeps what a small map takes below a few hundred megabytes.
_MOST_COUNT = 256
# Rows around each block of scores that a propagation reads, in both maps: what has to be held grows with its
# square.
_MOST_REACH = 64
# The derivative of a reciprocal norm is its cube, at most eps**-3: below this it leaves float32's range.
_LEAST_EPS = 1e-12
# Squares of eps, and logits of features as large, stay in float32's range. A softmax of logits that far apart
# has picked one patch long before.
_MOST_REAL = 1e12


@dataclass(frozen=True)
class Options:
    """What the layer computes, as opposed to where (backend) and in how much memory (workspace).

    Immutable and hashable; NumPy's numbers become Python's. The defaults are the preset ``"paper"``: the
    equations of Yu et al. 2018 (arXiv:1801.07892). Where the published code differs from the paper, the other
    value of an option is what that code does.

    Args:
        ksize: Side of the patches that are compared, in downscaled pixels; odd, 1 to 255.
        stride: Step of the grid on which background patches are taken, and of the propagation; 1 to 256.
        rate: Factor by which both maps are downscaled before they are compared; 1 to 256.
        fuse: Whether to propagate attention along equal displacements, which makes it coherent.
        fuse_k: Taps of the propagation in each direction; odd, >= 1, (fuse_k - 1) * stride at most 64.
        softmax_scale: Factor on the similarities before the softmax; 0 to 1e12.
        normalize: ``"both"`` divides ``<F_p, B_q>`` by |F_p| |B_q| (the paper), ``"background"`` by |B_q|
            alone (all published code).
        eps: Guards the norms against 0; 1e-12 to 1e12.
        eps_mode: The guarded norm is max(||x||, eps) for ``"max"``, sqrt(sum(x_i**2 + eps)) for ``"sum"``.
        downscale: Which pixel stands for position i: i * rate for ``"strided"``, or, for ``"aligned"``,
            floor(i * (H - 1) / (h - 1) + 1/2), which needs sizes that are multiples of ``rate``.
        mask_downscale: A downscaled position is missing if any pixel of its block is (``"any"``), or if the
            pixel that ``downscale`` picks for it is (``"sampled"``).
        propagation: Applied to the weights, ``"after"`` the softmax, or to the similarities, ``"before"`` it.
        boundary: Past the edge of a map the propagation reads ``"zero"``, or runs on into the next row or
            column (``"wrap"``, as all published code does).
        masking: Background patches that touch a missing pixel are left out of the softmax (``"exclude"``) or
            have their logit and then their weight multiplied by 0 (``"multiply"``).
        overlap: A sum of overlapping patches is divided by their number (``"mean"``) or by 4 (``"fixed"``).

    Raises:
        TypeError: An option of the wrong type.
        ValueError: An option out of its range, or a pair that contradict each other: with ``fuse`` and
            ``fuse_k`` > 1, ``boundary="wrap"`` goes with neither ``stride`` > 1 nor ``propagation="after"``.

    Examples:
        >>> Options.from_preset("mmagic", softmax_scale=5.0).boundary
        'wrap'
    """

    ksize: int = 3
    stride: int = 1
    rate: int = 2
    fuse: bool = True
    fuse_k: int = 3
    softmax_scale: float = 10.0
    normalize: Normalize = "both"
    eps: float = 1e-4
    eps_mode: EpsMode = "max"
    downscale: Downscale = "strided"
    mask_downscale: MaskDownscale = "any"
    propagation: PropagationOrder = "after"
    boundary: Boundary = "zero"
    masking: Masking = "exclude"
    overlap: Overlap = "mean"

    def __post_init__(self) -> None:
        for name in (*_ODD, *_POSITIVE):
            self._keep(name, _checked_count(name, getattr(self, name), odd=name in _ODD))
        if not isinstance(self.fuse, bool | np.bool_):
            raise TypeError(f"fuse: expected a bool, got {self.fuse!r}")
        self._keep("fuse", bool(self.fuse))
        self._keep("softmax_scale", _checked_real("softmax_scale", self.softmax_scale, least=0.0))
        self._keep("eps", _checked_real("eps", self.eps, least=_LEAST_EPS))
        for name, choices in _CHOICES.items():
            _check_choice(name, getattr(self, name), choices)
        if self.propagates:
            self._check_reach()
        if self.propagates and self.boundary == "wrap":
            self._check_wrap()

    def _keep(self, name: str, checked: float) -> None:
        if checked is not getattr(self, name):
            object.__setattr__(self, name, checked)

    @property
    def propagates(self) -> bool:
        """Whether the propagation mixes anything at all: one tap reads only the entry itself."""
        return self.fuse and self.fuse_k > 1

    @classmethod
    def from_preset(cls, name: str, **overrides: Unpack[OptionKeywords]) -> Options:
        """The options of a preset, some of them replaced.

        Args:
            name: ``"paper"``, ``"yu2018"`` (the TensorFlow original), ``"daa233"``, ``"nipponjo"`` or
                ``"mmagic"``.
            **overrides: Any options, in place of the preset's.

        Raises:
            ValueError: An unknown preset, or options that ``Options`` refuses.
            TypeError: An unknown option, or one of the wrong type.

        Examples:
            >>> Options.from_preset("daa233", rate=4).eps_mode
            'sum'
        """
        if name not in PRESETS:
            raise ValueError(f"name: expected a preset, one of {', '.join(PRESETS)}; got {name!r}")
        unknown = [key for key in overrides if key not in _DEFAULTS]
        if unknown:
            raise TypeError(f"{unknown[0]}: no such option; expected one of {', '.join(_DEFAULTS)}")
        return replace(PRESETS[name], **overrides)

    def changed(self) -> dict[str, Any]:
        """The options that differ from the defaults, which is all it takes to write these down."""
        return {name: x for name, x in vars(self).items() if x != _DEFAULTS[name]}

    def _check_reach(self) -> None:
        reach = (self.fuse_k - 1) * self.stride
        if reach > _MOST_REACH:
            raise ValueError(
                f"fuse_k: expected (fuse_k - 1) * stride <= {_MOST_REACH}, got {reach}: memory grows "
                "with its square, on any map; use a smaller fuse_k or stride, or fuse=False"
            )

    def _check_wrap(self) -> None:
        if self.stride > 1:
            raise ValueError(
                f'boundary: "wrap" shifts flattened indices, which is defined for stride 1 only, got stride='
                f'{self.stride}; use boundary="zero", stride=1 or fuse=False'
            )
        if self.propagation == "after":
            raise ValueError(
                'boundary: "wrap" goes with propagation="before" only, got propagation="after"; '
                'use boundary="zero", propagation="before" or fuse=False'
            )


class OptionKeywords(TypedDict, total=False):
    """The fields of `Options` as keywords of which any may be left out, for annotations."""

    ksize: int
    stride: int
    rate: int
    fuse: bool
    fuse_k: int
    softmax_scale: float
    normalize: Normalize
    eps: float
    eps_mode: EpsMode
    downscale: Downscale
    mask_downscale: MaskDownscale
    propagation: PropagationOrder
    boundary: Boundary
    masking: Masking
    overlap: Overlap


def checked_integer(count: Any, expected: str) -> int:
    """A Python int of whatever counts as an integer, NumPy's too; else, and for a bool, a TypeError."""
    if isinstance(count, int) and not isinstance(count, bool):
        return count
    try:
        if isinstance(count, bool):
            raise TypeError
        return operator.index(count)
    except TypeError:
        raise TypeError(f"{expected}, got {count!r}") from None


def _checked_count(name: str, count: Any, *, odd: bool) -> int:
    kind = f"{name}: expected an {'odd ' if odd else ''}integer"
    count = checked_integer(count, f"{kind} >= 1")
    if count < 1 or (odd and count % 2 == 0):
        raise ValueError(f"{kind} >= 1, got {count}")
    if count > _MOST_COUNT:
        raise ValueError(
            f"{kind} <= {_MOST_COUNT}, got {count}: time and memory grow with its square, on any map"
        )
    return count


def _checked_real(name: str, number: Any, *, least: float) -> float:
    # Here a compiled graph may hold symbols, of which it takes comparisons but no math.isfinite and no text.
    if not isinstance(number, int | float | np.integer | np.floating) or isinstance(number, bool):
        raise TypeError(f"{name}: expected a finite number >= {least:g}, got {number!r}")
    if not least <= number < math.inf:  # NaN is neither
        raise ValueError(f"{name}: expected a finite number >= {least:g}, got {number}")
    if number > _MOST_REAL:
        raise ValueError(f"{name}: expected a number <= {_MOST_REAL:g}, got {number}: float32 would overflow")
    return number if type(number) in (int, float) else float(number)


def _check_choice(name: str, choice: Any, choices: tuple[str, ...]) -> None:
    expected = f"{name}: expected one of {', '.join(map(repr, choices))}"
    if not isinstance(choice, str):
        raise TypeError(f"{expected}, got {choice!r}")
    if choice not in choices:
        raise ValueError(f"{expected}, got {choice!r}")


_DEFAULTS: dict[str, Any] = {field.name: field.default for field in fields(Options)}

# What every published implementation shares.
_PUBLISHED = Options(normalize="background", mask_downscale="sampled", propagation="before", boundary="wrap")

PRESETS: Mapping[str, Options] = MappingProxyType(
    {
        "paper": Options(),
        # github.com/JiahuiYu/generative_inpainting (TensorFlow, v1 and v2)
        "yu2018": replace(_PUBLISHED, downscale="aligned", masking="multiply", overlap="fixed"),
        # github.com/daa233/generative-inpainting-pytorch
        "daa233": replace(_PUBLISHED, eps_mode="sum", masking="multiply", overlap="fixed"),
        # github.com/nipponjo/deepfillv2-pytorch, networks.py
        "nipponjo": replace(_PUBLISHED, masking="multiply", overlap="fixed"),
        # github.com/open-mmlab/mmagic
        "mmagic": _PUBLISHED,
    }
)
"""The options of each preset, by its name: the paper's, and those of every published layer."""
