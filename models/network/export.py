"""A network as an ONNX file. Needs onnx and onnxscript: pip install "contextual_attention[onnx]"."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim

from ...files import replace_file
from . import generator, iizuka
from .context_encoder import ContextEncoder
from .context_encoder_config import VIEW
from .folders import FolderOfWeights
from .generator import InpaintGenerator
from .iizuka import CompletionNetwork
from .structure import StructureNetwork

# Below this a quarter of the image is not larger than the reach of dilation 16, and mirror padding reflects
# more than once: a different graph.
_LEAST_MIRRORED = 72
# What the sides of images are multiples of, and the least of them. Others have one size.
_SIDES: Mapping[type, tuple[int, int]] = {
    InpaintGenerator: (generator.GRID, _LEAST_MIRRORED),
    CompletionNetwork: (iizuka.GRID, 2 * iizuka.GRID),
}
# Sides that differ, so that none is taken for another; a batch of 1 would be taken for a constant.
_EXAMPLE = (2, 160, 144)


def export_onnx(network: FolderOfWeights, path: str | Path) -> None:
    """Write a network as an ONNX file, for any number of images.

    Inputs: ``image``, (B, 3, H, W) float32, RGB in [-1, 1], and ``mask``, (B, 1, H, W) float32, non-zero =
    missing. Of a guided network ``sketch`` too, (B, 1, H, W) float32, 1 on lines. Outputs: ``coarse``, where
    there is one, ``refined`` and ``completed``, as of `Inpainted`. Sizes:

    - `InpaintGenerator`: H, W in multiples of 8, at least 72.
    - `CompletionNetwork`: H, W in multiples of 4, at least 8.
    - `ContextEncoder`: 128 x 128, its own view: what it does to see others depends on where the holes are,
      which no graph can (``are_views``).
    - `StructureNetwork`: none. It starts from fillings that are searched for.

    An attention is exported as the dense formula of ``backend="reference"``: matrix products, a softmax and
    a Col2Im, in ONNX's own operators alone; no convolution has weights that are computed. It therefore holds
    several copies of the score matrix when it runs, (H * W / 64)**2 numbers a sample each.

    Args:
        network: Not changed. Exported as it is in evaluation, in float32.
        path: Of the file, which is replaced if it exists, whole or not at all.

    Raises:
        ValueError: A `StructureNetwork`.
        OSError: The file cannot be written.
        torch.onnx.OnnxExporterError: This torch cannot trace the network: 2.11 cannot, with mirror padding of
            sizes that are not fixed; 2.13 can.

    Cost: some 10 s.
    """
    if isinstance(network, StructureNetwork):
        raise ValueError(
            "network: a StructureNetwork starts from fillings by search, which no graph can have"
        )
    traced = _Outputs(copy.deepcopy(network).cpu().float()).eval()
    channels = {"image": 3, "mask": 1}
    if isinstance(network, InpaintGenerator) and network.config.sketch:
        channels["sketch"] = 1
    batch, height, width = _EXAMPLE
    sizes: dict[int, Any] = {0: Dim("batch")}
    if type(network) in _SIDES:
        sizes |= {2: _side("rows", type(network)), 3: _side("columns", type(network))}
    else:
        height = width = VIEW
    program = torch.onnx.export(
        traced,
        tuple(torch.ones(batch, each, height, width) for each in channels.values()),
        dynamo=True,
        input_names=list(channels),
        output_names=traced.names,
        dynamic_shapes=dict.fromkeys(channels, sizes),
        verbose=False,
    )
    replace_file(Path(path), lambda file: file.write(program.model_proto.SerializeToString()))


def _side(name: str, kind: type) -> Any:
    grid, least = _SIDES[kind]
    return grid * Dim(name, min=least // grid, max=2**16)


class _Outputs(nn.Module):
    """A network's images as a plain tuple: ONNX knows neither None nor named tuples."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network
        self.names = ["refined", "completed"]
        if isinstance(network, InpaintGenerator):
            self.names.insert(0, "coarse")
            if network.refinement.attention is not None:
                network.refinement.attention.layer.backend = "reference"
        self._given = {"are_views": True} if isinstance(network, ContextEncoder) else {}

    def forward(self, image: Tensor, mask: Tensor, sketch: Tensor | None = None) -> tuple[Tensor, ...]:
        guide = {} if sketch is None else {"sketch": sketch}
        result = self.network(image, mask, **self._given, **guide)
        return tuple(getattr(result, name) for name in self.names)
