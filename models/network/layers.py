"""The convolution of the networks: padded by reflection, as TensorFlow does or with zeros, activated, gated.

Shape legend: B samples; C, Co channels in and out; (H, W) a map, (Ho, Wo) the map that comes out.
"""

from __future__ import annotations

from typing import Literal, NamedTuple, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Padding = Literal["mirror", "same", "zero"]
Activation = Literal["elu", "relu"]

PADDINGS: tuple[str, ...] = get_args(Padding)
ACTIVATIONS: tuple[str, ...] = get_args(Activation)

_FUNCTIONS = {"elu": F.elu, "relu": F.relu}


class Conv(NamedTuple):
    """One convolution of a network, as a row of its table.

    Args:
        channels: That come out.
        kernel: Side of the kernel, odd.
        stride, dilation: Of the convolution.
        upsample: Whether the map is doubled, nearest neighbour, before the convolution.
        activation: After it; None: the result is left as it is.
        gated: Whether the convolution gives twice the channels, of which the second half decides how much of
            the first, activated, comes out.
    """

    channels: int
    kernel: int = 3
    stride: int = 1
    dilation: int = 1
    upsample: bool = False
    activation: Activation | None = "elu"
    gated: bool = False


class ConvLayer(nn.Conv2d):
    """A convolution whose border is chosen by name, with what goes before and after it.

    The output is ceil(H / stride) x ceil(W / stride) for every padding. With
    reach = dilation * (kernel // 2):

    - ``"mirror"``: reach pixels on every side, reflected about the edge pixel as often as it takes
      (arXiv:1801.07892, section 3.1: mirror padding in all layers). mmagic pads likewise.
    - ``"same"``: TensorFlow's: zeros, of which an even map gets more on the far side under stride 2, (0, 1)
      for a kernel of 3 (the authors' published code differs from the paper in this).
    - ``"zero"``: reach zeros on every side (daa233).

    A gated layer (arXiv:1806.03589, section 3.1) gives activation(features) * sigmoid(gate), where features
    and gate are the first and the second half of what its one convolution gives.

    Weights start as in the published TensorFlow code: Glorot uniform, with biases of 0.

    Args:
        in_channels: C.
        spec: What the layer computes.
        padding: See above.
    """

    def __init__(self, in_channels: int, spec: Conv, padding: Padding) -> None:
        reach = spec.dilation * (spec.kernel // 2)
        # Zeros that are as many on both sides are built into the convolution and cost no copy of the map.
        is_built_in = padding == "zero" or (padding == "same" and spec.stride == 1)
        channels = 2 * spec.channels if spec.gated else spec.channels
        super().__init__(
            in_channels, channels, spec.kernel, spec.stride, reach if is_built_in else 0, spec.dilation
        )
        self.spec = spec
        self.border = padding
        self.reach = reach

    def reset_parameters(self) -> None:
        nn.init.xavier_uniform_(self.weight)
        nn.init.zeros_(self.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, Co, Ho, Wo)."""
        if self.spec.upsample:
            x = F.interpolate(x, scale_factor=2, mode="nearest")
        if self.border == "mirror":
            x = mirror_pad(x, self.reach)
        elif self.border == "same" and self.spec.stride > 1:
            x = same_pad(x, 2 * self.reach + 1, self.spec.stride)
        x = super().forward(x)
        if not self.spec.gated:
            # In place: a convolution does not need its own output for the backward, so the map is held once.
            return self._activated(x, inplace=True)
        features, gate = x.chunk(2, 1)
        return self._activated(features, inplace=False) * gate.sigmoid()

    def _activated(self, x: Tensor, inplace: bool) -> Tensor:
        return x if self.spec.activation is None else _FUNCTIONS[self.spec.activation](x, inplace=inplace)

    def extra_repr(self) -> str:
        gated = ", gated" if self.spec.gated else ""
        return f"{super().extra_repr()}, border={self.border!r}, activation={self.spec.activation!r}{gated}"


def stack(in_channels: int, specs: tuple[Conv, ...], padding: Padding) -> nn.Sequential:
    """The convolutions of a table, one after the other."""
    layers = []
    for spec in specs:
        layers.append(ConvLayer(in_channels, spec, padding))
        in_channels = spec.channels
    return nn.Sequential(*layers)


def mirror_pad(x: Tensor, reach: int) -> Tensor:
    """Reflect a map about its edge pixels, `reach` pixels far on every side, as often as it takes.

    Args:
        x: (B, C, H, W), any H, W >= 1.
        reach: >= 0; may exceed the map, as a dilation of 16 does on maps of fewer than 17 pixels.

    Returns:
        (B, C, H + 2 * reach, W + 2 * reach): what ``numpy.pad(mode="reflect")`` gives.
    """
    height, width = x.shape[-2:]
    if reach < min(height, width):
        return F.pad(x, (reach,) * 4, mode="reflect")
    rows, columns = (mirror_index(-reach, size + reach, size, x.device) for size in (height, width))
    return x[..., rows, :][..., columns]


def mirror_index(start: int, end: int, size: int, device: torch.device) -> Tensor:
    """The pixel that each position from ``start`` to before ``end`` shows: ``size`` pixels, reflected.

    Returns:
        (end - start,) int64: a zigzag of period 2 * (size - 1).
    """
    period = max(2 * (size - 1), 1)
    position = torch.arange(start, end, device=device) % period
    return torch.minimum(position, period - position)


def same_pad(x: Tensor, span: int, stride: int) -> Tensor:
    """Zeros as TensorFlow's "SAME" puts them: of an odd number, the one more is at the bottom and right.

    Args:
        x: (B, C, H, W).
        span: Pixels that a kernel reaches over, dilation * (kernel - 1) + 1.
        stride: Of the convolution.

    Returns:
        A map over which the convolution gives ceil(H / stride) x ceil(W / stride).
    """
    (top, bottom), (left, right) = (_same_margins(size, span, stride) for size in x.shape[-2:])
    return F.pad(x, (left, right, top, bottom))


def _same_margins(size: int, span: int, stride: int) -> tuple[int, int]:
    outputs = -(-size // stride)
    total = max((outputs - 1) * stride + span - size, 0)
    return total // 2, total - total // 2
