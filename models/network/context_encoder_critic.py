"""The critic of Pathak et al. 2016: is this patch a photograph's, or predicted?

arXiv:1604.07379, section 3.2, after Radford et al. 2016 (arXiv:1511.06434); channels as in the authors' code,
github.com/pathak22/context-encoder.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from .critics import in_full_precision
from .normalised import Normalised, normalised_stack

_KERNEL = 4
# The side of the map that the last convolution scores.
_LAST = 4
# By how much weights vary at the start.
_SPREAD = 0.02

# Channels of the published critics: of patches of 64 x 64, which stand in the middle of an image, and of
# whole images of 128 x 128, where the hole may be anywhere.
CENTRE = (64, 128, 256, 512)
ANYWHERE = (64, 64, 128, 256, 512)


class ContextEncoderCritic(nn.Module):
    """4 x 4 convolutions of stride 2 with LeakyReLU 0.2, batch norm in all but the first; then one score.

    Convolutions have no biases: the authors' have some, and set them to 0 before every update. Weights start
    from a normal distribution of standard deviation 0.02, those of batch norm about 1, as theirs do.

    Args:
        channels: Of the convolutions of stride 2, in order. Default `CENTRE`. The patches have sides of
            4 * 2**len(channels) pixels: 64.

    Raises:
        ValueError: No channels or some below 1.

    Examples:
        >>> critic = ContextEncoderCritic((8, 16))
        >>> critic(torch.rand(3, 3, 16, 16)).shape
        torch.Size([3])
    """

    def __init__(self, channels: Sequence[int] = CENTRE) -> None:
        super().__init__()
        if not channels or min(channels) < 1:
            raise ValueError(f"channels: expected at least one count >= 1, got {tuple(channels)}")
        self.size = _LAST * 2 ** len(channels)
        table = tuple(
            Normalised(each, _KERNEL, stride=2, padding=1, norm=number > 0, activation="leaky")
            for number, each in enumerate(channels)
        )
        self.features = normalised_stack(3, table, bias=False)
        self.score = nn.Conv2d(channels[-1], 1, _LAST, bias=False)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.normal_(layer.weight, 0.0, _SPREAD)
            elif isinstance(layer, nn.BatchNorm2d):
                nn.init.normal_(layer.weight, 1.0, _SPREAD)

    def forward(self, patch: Tensor) -> Tensor:
        """Score patches: higher is more like a photograph's.

        Args:
            patch: (B, 3, size, size), floating, RGB in [-1, 1].

        Returns:
            (B,), the logarithm of the odds that each is a photograph's (the published critic's sigmoid is in
            the loss); under autocast of the weights' dtype all the same.

        Raises:
            ValueError: Another shape.
        """
        if patch.dim() != 4 or tuple(patch.shape[1:]) != (3, self.size, self.size):
            raise ValueError(f"patch: expected (B, 3, {self.size}, {self.size}), got {tuple(patch.shape)}")
        return in_full_precision(self.score, self.features(patch)).flatten()
