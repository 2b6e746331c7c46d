"""The generator as an ONNX file. Needs onnx and onnxscript: pip install "contextual_attention[onnx]"."""

from __future__ import annotations

import copy
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.export import Dim

from ...files import replace_file
from .generator import GRID, InpaintGenerator

# Below this a quarter of the image is not larger than the reach of dilation 16, and mirror padding reflects
# more than once: a different graph.
LEAST_SIZE = 72
_OUTPUTS = ("coarse", "refined", "completed")


def export_onnx(generator: InpaintGenerator, path: str | Path) -> None:
    """Write a generator as an ONNX file, for images of any number and of any size in multiples of 8.

    The attention is exported as the dense formula of ``backend="reference"``: matrix products, a softmax and
    a Col2Im, in ONNX's own operators alone; no convolution has weights that are computed. It therefore holds
    several copies of the score matrix when it runs, (H * W / 64)**2 numbers a sample each.

    Inputs: ``image``, (B, 3, H, W) float32, RGB in [-1, 1], and ``mask``, (B, 1, H, W) float32, non-zero =
    missing; H, W in multiples of 8, at least 72. Of a guided network ``sketch`` too, (B, 1, H, W) float32, 1
    on lines. Outputs: ``coarse``, ``refined`` and ``completed``, as of `Inpainted`.

    Args:
        generator: Not changed. Exported as it is, in float32.
        path: Of the file, which is replaced if it exists, whole or not at all.

    Raises:
        OSError: The file cannot be written.
        torch.onnx.OnnxExporterError: This torch cannot trace the network: 2.11 cannot, with mirror padding of
            sizes that are not fixed; 2.13 can.

    Cost: some 10 s.
    """
    traced = _Outputs(copy.deepcopy(generator).cpu().float()).eval()
    sizes = {0: Dim("batch"), 2: GRID * _grid_side("rows"), 3: GRID * _grid_side("columns")}
    channels = {"image": 3, "mask": 1} | ({"sketch": 1} if generator.config.sketch else {})
    program = torch.onnx.export(
        traced,
        # Sizes that differ, so that none is taken for another; a batch of 1 would be taken for a constant.
        tuple(torch.ones(2, each, 160, 144) for each in channels.values()),
        dynamo=True,
        input_names=list(channels),
        output_names=list(_OUTPUTS),
        dynamic_shapes=dict.fromkeys(channels, sizes),
        verbose=False,
    )
    replace_file(Path(path), lambda file: file.write(program.model_proto.SerializeToString()))


def _grid_side(name: str) -> Dim:
    return Dim(name, min=LEAST_SIZE // GRID, max=2**16)


class _Outputs(nn.Module):
    """The generator's images as a plain tuple: ONNX knows neither None nor named tuples."""

    def __init__(self, generator: InpaintGenerator) -> None:
        super().__init__()
        self.generator = generator
        if generator.refinement.attention is not None:
            generator.refinement.attention.layer.backend = "reference"

    def forward(self, image: Tensor, mask: Tensor, sketch: Tensor | None = None) -> tuple[Tensor, ...]:
        result = self.generator(image, mask, sketch=sketch)
        return tuple(getattr(result, name) for name in _OUTPUTS)
