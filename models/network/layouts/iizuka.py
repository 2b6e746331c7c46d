"""How the published implementations of Iizuka et al. 2017 name and store the completion network's layers.

Facts, read from their code: github.com/satoshiiizuka/siggraph2017_inpainting (inpaint.lua, and two converters
of its files, of which that of github.com/chien-lung/inpaint_project lists the layers),
github.com/otenim/GLCIC-PyTorch (models.py, train.py, predict.py) and github.com/open-mmlab/mmagic
(models/editors/global_local).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ..folders import FolderOfWeights
from ..iizuka import CompletionNetwork, IizukaConfig
from ..weight_files import WeightsError
from .layout import Layout, Weights, reverse_colours
from .normalised import build_normalised

_NORMS = 16


@dataclass(frozen=True, kw_only=True)
class CompletionLayout(Layout):
    """A published checkpoint format of the completion network.

    Args:
        prefixes: Under which its keys may stand, the likeliest first.
        convs, norms: Names of its 17 convolutions and 16 norms, in the order in which data runs through them.
        is_bgr: Whether the network was trained on images with channels blue, green, red.
        options: Fields of `IizukaConfig` that differ from its defaults.
    """

    prefixes: tuple[str, ...]
    convs: tuple[str, ...]
    norms: tuple[str, ...]
    is_bgr: bool = False
    options: Mapping[str, Any]

    def prefix_in(self, weights: Weights) -> str | None:
        decisive = {f"{self.convs[0]}.weight", f"{self.norms[0]}.running_mean", f"{self.convs[-1]}.weight"}
        return next((each for each in self.prefixes if all(x in weights.under(each) for x in decisive)), None)

    def build(self, weights: Weights, given: Mapping[str, Any]) -> FolderOfWeights:
        cnum, *_ = weights.shape(f"{self.convs[0]}.weight") or (0,)
        config = IizukaConfig(cnum=cnum, **self.options | self._mean(weights, given))
        network = build_normalised(lambda: CompletionNetwork(config), self.convs, self.norms, weights)
        if self.is_bgr:
            reverse_colours(network.layers[0].conv.weight, 1)
            reverse_colours(network.last.weight, 0)
            reverse_colours(network.last.bias, 0)
        return network

    def _mean(self, weights: Weights, given: Mapping[str, Any]) -> dict[str, Any]:
        """The mean as an option; none where the configuration's own default holds, or there is no mean."""
        return {"mean": given["mean"]} if "mean" in given else {}


class IizukaLayout(CompletionLayout):
    """The authors' own: their Torch7 file has the mean in it; what is converted from it has not."""

    def _mean(self, weights: Weights, given: Mapping[str, Any]) -> dict[str, Any]:
        held = weights.under("")
        if "mean" in given or "mean" not in held:
            return super()._mean(weights, given)
        mean = held.tensor("mean").flatten().tolist()
        try:
            return {"mean": IizukaConfig(mean=mean).mean}
        except ValueError as error:
            raise WeightsError(f"{weights.path}: {error}") from error


class OtenimLayout(CompletionLayout):
    """Its trainer writes the mean, as ``"mpv"``, to the config.json of the run."""

    def _mean(self, weights: Weights, given: Mapping[str, Any]) -> dict[str, Any]:
        return super()._mean(weights, given) or {"mean": _mean_beside(Path(weights.path))}


def _mean_beside(path: Path) -> Any:
    config = path.with_name("config.json")
    try:
        return IizukaConfig(mean=list(json.loads(config.read_text(encoding="utf-8"))["mpv"])).mean
    except (FileNotFoundError, KeyError) as error:
        raise WeightsError(
            f"{path}: the mean colour of the pictures that it was trained on is not in the file: put the "
            'config.json of its run of training beside it, which has it as "mpv", or give it: --mean R,G,B, '
            "each 0 to 1"
        ) from error
    # ValueError: no JSON, or no colour. TypeError: other JSON.
    except (ValueError, TypeError, RecursionError) as error:
        raise WeightsError(f"{config}: no mean colour as mpv ({error})") from error


def _mmagic_layers() -> tuple[str, ...]:
    return (
        *(f"encoder.enc{number}" for number in range(1, 7)),
        *(f"dilation_neck.dilation_convs.{number}" for number in range(4)),
        *(f"decoder.dec{number}" for number in range(1, 8)),
    )


LAYOUTS: tuple[Layout, ...] = (
    IizukaLayout(
        name="iizuka",
        example="0.weight with 48.weight; in a .t7 as model.0.weight",
        licence="CC BY-NC-SA 4.0: not for commercial use",
        origin="github.com/satoshiiizuka/siggraph2017_inpainting",
        choices=frozenset({"mean"}),
        prefixes=("model.", ""),
        convs=tuple(f"{3 * number}" for number in range(_NORMS + 1)),
        norms=tuple(f"{3 * number + 1}" for number in range(_NORMS)),
        options=MappingProxyType({}),
    ),
    OtenimLayout(
        name="otenim",
        example="conv1.weight with deconv13.weight",
        licence="MIT",
        origin="github.com/otenim/GLCIC-PyTorch",
        choices=frozenset({"mean"}),
        prefixes=("",),
        convs=tuple(
            f"{'deconv' if number in (13, 15) else 'conv'}{number}" for number in range(1, _NORMS + 2)
        ),
        norms=tuple(f"bn{number}" for number in range(1, _NORMS + 1)),
        options=MappingProxyType({"order": "relu-first", "mean_role": "fills-hole"}),
    ),
    CompletionLayout(
        name="mmagic-glcic",
        example="generator.encoder.enc1.conv.weight",
        licence="Apache-2.0",
        origin="github.com/open-mmlab/mmagic, Global&Local",
        prefixes=("generator.", ""),
        convs=tuple(f"{layer}.conv" for layer in _mmagic_layers()),
        norms=tuple(f"{layer}.bn" for layer in _mmagic_layers()[:-1]),
        is_bgr=True,
        options=MappingProxyType({"bias": False, "squash": "clip", "mean": None}),
    ),
)
