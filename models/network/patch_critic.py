"""The critic of Yu et al. 2019, SN-PatchGAN: a score for each neighbourhood of an image and each feature.

arXiv:1806.03589, section 3.2; layers and spectral norm as in the authors' code,
github.com/JiahuiYu/generative_inpainting, branch v2.0.0. Shape legend: B samples; C channels in; (H, W) the
image; n scores a sample.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from contextual_attention.graphs import without_autocast

from .checks import check_choice
from .critics import in_full_precision
from .layers import PADDINGS, Conv, ConvLayer, Padding

_KERNEL = 5
_SLOPE = 0.2
# Added to a vector's length before it is divided by that.
_TINY = 1e-12

# Channels of the published critic.
PATCH = (64, 128, 256, 256, 256, 256)


class PatchCritic(nn.Module):
    """5 x 5 convolutions of stride 2 with spectral norm, each with LeakyReLU 0.2; the last map is the scores.

    Every evaluation moves the spectral norm on (`SpectralConv`), without gradients and in evaluation mode
    too: score photographs and completed images in one call, as the published code does, and the next call
    gives slightly other scores. Processes of DistributedDataParallel that hold the same weights and make the
    same calls keep the same state without exchanging it.

    Args:
        in_channels: C: of the image, the mask and, where there is one, the sketch. Default 4.
        channels: Of the convolutions, in order. Default `PATCH`, the published.
        padding: As for the generator's convolutions: ``"same"`` (default; the published code) or ``"zero"``
            (its ports to PyTorch), or ``"mirror"``.
        iterates_in_eval: Default true; false: evaluation mode takes the spectral norm as training has left
            it, as mmagic's port does.

    Published weights of the authors and of mmagic have blue before red: exchange these channels of the first
    convolution's weight.

    Raises:
        ValueError: No channels or some below 1; another padding.

    Examples:
        >>> critic = PatchCritic(channels=(8, 16))
        >>> critic(torch.rand(2, 4, 32, 48)).shape  # 16 features of 8 x 12 places
        torch.Size([2, 1536])
    """

    def __init__(
        self,
        in_channels: int = 4,
        channels: Sequence[int] = PATCH,
        padding: Padding = "same",
        *,
        iterates_in_eval: bool = True,
    ) -> None:
        super().__init__()
        if in_channels < 1:
            raise ValueError(f"in_channels: expected a count >= 1, got {in_channels}")
        if not channels or min(channels) < 1:
            raise ValueError(f"channels: expected at least one count >= 1, got {tuple(channels)}")
        check_choice("padding", padding, PADDINGS)
        self.in_channels = in_channels
        self.layers = nn.ModuleList(
            SpectralConv(before, Conv(after, _KERNEL, stride=2, activation=None), padding, iterates_in_eval)
            for before, after in zip((in_channels, *channels), channels, strict=False)
        )
        self.activation = nn.LeakyReLU(_SLOPE, inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """Score images: higher is more like a photograph.

        Args:
            x: (B, C, H, W), floating: RGB in [-1, 1], the mask, 1 = missing, and the sketch. Of a photograph
                too the mask is what the generator would be given.

        Returns:
            (B, n), in the order of channels, then rows, then columns; n is the last convolution's channels
            times ceil(H / 64) * ceil(W / 64) after six layers. Unbounded; under autocast of the weights'
            dtype all the same.

        Raises:
            ValueError: Another number of dimensions or channels.
        """
        if x.dim() != 4 or x.shape[1] != self.in_channels:
            raise ValueError(f"x: expected (B, {self.in_channels}, H, W), got {tuple(x.shape)}")
        for layer in self.layers[:-1]:
            x = self.activation(layer(x))
        return self.activation(in_full_precision(self.layers[-1], x)).flatten(1)


class SpectralConv(ConvLayer):
    """A convolution by its weight over an estimate of that weight's largest singular value.

    Miyato et al. 2018 (arXiv:1802.05957), algorithm 1, with M the weight as a matrix (channels out, all else)
    and n(x) = x / (|x| + 1e-12): each evaluation makes one power iteration,

        v = n(M^T u),  u := n(M v),  sigma = u^T M v,

    and convolves by M / sigma. No gradient flows through u and v, as in that paper. Attribute u is a buffer:
    a run that is taken up again continues from it.

    Args:
        in_channels, spec, padding: As for ConvLayer.
        iterates_in_eval: Whether evaluation mode iterates too; if not, v is a buffer as well.
    """

    u: Tensor
    v: Tensor

    def __init__(self, in_channels: int, spec: Conv, padding: Padding, iterates_in_eval: bool) -> None:
        super().__init__(in_channels, spec, padding)
        self.iterates_in_eval = iterates_in_eval
        rows, columns = self.weight.flatten(1).shape
        self.register_buffer("u", torch.randn(rows))
        if not iterates_in_eval:
            self.register_buffer("v", _unit(torch.randn(columns)))

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        with without_autocast(weight.device.type):
            weight = weight / self._norm(weight.flatten(1))
        return super()._conv_forward(input, weight, bias)

    def _norm(self, matrix: Tensor) -> Tensor:
        """sigma of M, after an iteration where one is due."""
        if not (self.training or self.iterates_in_eval):
            return self.u @ (matrix @ self.v)
        with torch.no_grad():
            v = _unit(matrix.T @ self.u)
            u = _unit(matrix @ v)
            # The backward reads u and v: the buffers, which the next evaluation overwrites, get copies.
            self.u.copy_(u)
            if not self.iterates_in_eval:
                self.v.copy_(v)
        return u @ (matrix @ v)


def _unit(x: Tensor) -> Tensor:
    return x / (torch.linalg.vector_norm(x) + _TINY)
