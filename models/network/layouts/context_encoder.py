"""How the published implementations of Context Encoders name and store the network's layers.

Facts, read from their code: github.com/pathak22/context-encoder (train.lua, train_random.lua, util.lua) and
github.com/BoyuanJiang/context_encoder_pytorch (model.py, train.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..context_encoder import ContextEncoder
from ..context_encoder_config import ContextEncoderConfig
from ..folders import FolderOfWeights
from .layout import Layout, Weights
from .normalised import build_normalised

# Places in BoyuanJiang's one list of modules: of the centre model, and of one with a stage more.
_CONVS = (0, 2, 5, 8, 11, 14, 17, 20, 23, 26, 29, 32)
_NORMS = (3, 6, 9, 12, 15, 18, 21, 24, 27, 30)
_BOTTLENECK = 14


@dataclass(frozen=True, kw_only=True)
class EncoderLayout(Layout):
    """A published checkpoint format of the context encoder.

    Args:
        prefixes: Under which its keys may stand, the likeliest first.
        is_nested: Whether the modules up to the first of the bottleneck are a list of their own, which is the
            first of the outer one.
    """

    prefixes: tuple[str, ...]
    is_nested: bool

    def prefix_in(self, weights: Weights) -> str | None:
        decisive = [f"{self._name(place)}.weight" for place in (0, _BOTTLENECK, 17)]
        return next((each for each in self.prefixes if all(x in weights.under(each) for x in decisive)), None)

    def build(self, weights: Weights, given: Mapping[str, Any]) -> FolderOfWeights:
        first, squeeze, extra = (self._name(place) for place in (0, _BOTTLENECK, _CONVS[-1]))
        is_whole = f"{extra}.weight" in weights
        config = ContextEncoderConfig(
            cnum=(weights.shape(f"{first}.weight") or (0,))[0],
            bottleneck=(weights.shape(f"{squeeze}.weight") or (0,))[0],
            output="whole" if is_whole else "centre",
            bias=f"{first}.bias" in weights,
        )
        convs, norms = (
            [self._name(place) for place in (places if is_whole else places[:-1])]
            for places in (_CONVS, _NORMS)
        )
        return build_normalised(lambda: ContextEncoder(config), convs, norms, weights)

    def _name(self, place: int) -> str:
        if not self.is_nested:
            return f"{place}"
        return f"0.{place}" if place <= _BOTTLENECK else f"{place - _BOTTLENECK}"


LAYOUTS: tuple[Layout, ...] = (
    EncoderLayout(
        name="pathak22",
        example="of a .t7 0.0.weight with 0.14.weight",
        licence="of the University of California, Berkeley: research and education, not for commercial use",
        origin="github.com/pathak22/context-encoder",
        prefixes=("",),
        is_nested=True,
    ),
    EncoderLayout(
        name="boyuanjiang",
        example="main.0.weight with main.14.weight",
        licence="MIT",
        origin="github.com/BoyuanJiang/context_encoder_pytorch",
        prefixes=("main.",),
        is_nested=False,
    ),
)
