"""The critics of Yu et al. 2018: one looks at the whole image, one at the region around the hole.

arXiv:1801.07892, section 3.2; channels as in the authors' code, github.com/JiahuiYu/generative_inpainting,
branch v1.0.0.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from contextual_attention.graphs import without_autocast

_KERNEL = 5
_SLOPE = 0.2

# Channels of the paper's critics: of the region around the hole, and of the whole image.
LOCAL = (64, 128, 256, 512)
WHOLE = (64, 128, 256, 256)


class Critic(nn.Module):
    """A Wasserstein critic: 5 x 5 convolutions of stride 2 with LeakyReLU 0.2, then one linear unit.

    Without normalisation layers, which would let the samples of a batch influence each other's gradients in
    the gradient penalty. The convolutions are padded by 2 zeros on every side (the authors' code: by
    TensorFlow's rule, 1 and 2). Weights start as there: Glorot uniform, with biases of 0.

    Args:
        channels: Of the convolutions, in order. Default `LOCAL`, the paper's critic of the hole.
        size: Side of the images in pixels, >= 1. Default 128, the paper's for that critic. The
            linear unit is as large as what remains of them.

    Raises:
        ValueError: Channels or size below 1.

    Examples:
        >>> critic = Critic(channels=(8, 16, 32, 64), size=32)
        >>> critic(torch.rand(4, 3, 32, 32)).shape
        torch.Size([4])
    """

    def __init__(self, channels: Sequence[int] = LOCAL, size: int = 128) -> None:
        super().__init__()
        if not channels or min(channels) < 1:
            raise ValueError(f"channels: expected at least one count >= 1, got {tuple(channels)}")
        if size < 1:
            raise ValueError(f"size: expected a side in pixels >= 1, got {size}")
        self.size = size
        layers: list[nn.Module] = []
        for before, after in zip((3, *channels), channels, strict=False):
            convolution = nn.Conv2d(before, after, _KERNEL, stride=2, padding=_KERNEL // 2)
            layers += [convolution, nn.LeakyReLU(_SLOPE, inplace=True)]
            size = -(-size // 2)
        self.features = nn.Sequential(*layers)
        self.score = nn.Linear(channels[-1] * size * size, 1)
        for layer in (*self.features[::2], self.score):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, image: Tensor) -> Tensor:
        """Score images: higher is more like a photograph.

        Args:
            image: (B, 3, size, size), floating.

        Returns:
            (B,), unbounded; under autocast of the weights' dtype all the same.

        Raises:
            ValueError: Another shape.
        """
        if image.dim() != 4 or tuple(image.shape[1:]) != (3, self.size, self.size):
            raise ValueError(f"image: expected (B, 3, {self.size}, {self.size}), got {tuple(image.shape)}")
        features = self.features(image).flatten(1)
        return in_full_precision(self.score, features).squeeze(1)


def in_full_precision(layer: nn.Module, x: Tensor) -> Tensor:
    """Apply a critic's last layer in its weights' dtype, whatever autocast says.

    What is learned from are small differences between means of large scores.
    """
    with without_autocast(x.device.type):
        return layer(x.to(next(layer.parameters()).dtype))
