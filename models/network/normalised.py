"""The convolution of the networks that came before attention: normalised over the batch, then activated.

Shape legend: B samples; C, Co channels in and out; (H, W) a map, (Ho, Wo) the map that comes out.
"""

from __future__ import annotations

from functools import partial
from typing import Literal, NamedTuple, get_args

import torch.nn.functional as F
from torch import Tensor, nn

Order = Literal["norm-first", "relu-first"]
Rectifier = Literal["relu", "leaky"]

ORDERS: tuple[str, ...] = get_args(Order)

_FUNCTIONS = {"relu": F.relu, "leaky": partial(F.leaky_relu, negative_slope=0.2)}


class Normalised(NamedTuple):
    """One convolution of a network, as a row of its table.

    Args:
        channels: That come out.
        kernel: Side of the kernel.
        stride, dilation: Of the convolution.
        padding: Zeros on every side.
        transposed: Whether it is the transposed convolution, which enlarges the map.
        norm: Whether its output is normalised: BatchNorm, eps 1e-5.
        activation: ReLU, or LeakyReLU of slope 0.2; None: the result is left as it is.
    """

    channels: int
    kernel: int = 3
    stride: int = 1
    padding: int = 1
    dilation: int = 1
    transposed: bool = False
    norm: bool = True
    activation: Rectifier | None = "relu"


class NormalisedLayer(nn.Module):
    """A convolution with its norm and its activation, in either order.

    Args:
        in_channels: C.
        spec: What the layer computes.
        bias: Whether the convolution adds one number to each channel.
        order: Whether the norm comes before the activation or after it.
    """

    def __init__(self, in_channels: int, spec: Normalised, bias: bool, order: Order = "norm-first") -> None:
        super().__init__()
        kind = nn.ConvTranspose2d if spec.transposed else nn.Conv2d
        self.conv = kind(
            in_channels,
            spec.channels,
            spec.kernel,
            spec.stride,
            spec.padding,
            dilation=spec.dilation,
            bias=bias,
        )
        self.norm = nn.BatchNorm2d(spec.channels) if spec.norm else None
        self.spec = spec
        self.order = order

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, Co, Ho, Wo)."""
        x = self.conv(x)
        if self.order == "relu-first":
            return self._normalise(self._activate(x))
        return self._activate(self._normalise(x))

    def _normalise(self, x: Tensor) -> Tensor:
        return x if self.norm is None else self.norm(x)

    def _activate(self, x: Tensor) -> Tensor:
        return x if self.spec.activation is None else _FUNCTIONS[self.spec.activation](x)

    def extra_repr(self) -> str:
        return f"activation={self.spec.activation!r}, order={self.order!r}"


def normalised_stack(
    in_channels: int, specs: tuple[Normalised, ...], bias: bool, order: Order = "norm-first"
) -> nn.Sequential:
    """The layers of a table, one after the other."""
    layers = []
    for spec in specs:
        layers.append(NormalisedLayer(in_channels, spec, bias, order))
        in_channels = spec.channels
    return nn.Sequential(*layers)
