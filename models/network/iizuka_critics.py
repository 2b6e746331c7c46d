"""The critics of Iizuka et al. 2017: of the image and of the region around its hole, joined into one score.

Satoshi Iizuka, Edgar Simo-Serra, Hiroshi Ishikawa, "Globally and Locally Consistent Image Completion",
SIGGRAPH 2017, section 3.3. The authors' own training code is not public: what their paper leaves open is as
in github.com/open-mmlab/mmagic or github.com/otenim/GLCIC-PyTorch. Shape legend: B samples; (h, w) the
region, (H, W) the image.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .checks import check_choice
from .critics import in_full_precision
from .normalised import ORDERS, Normalised, Order, normalised_stack

_KERNEL = 5

# Channels of the paper's critics: of the region around the hole (128 x 128), and of the image (256 x 256).
# Images of 160 x 160 are given only five convolutions, those of the region.
LOCAL = (64, 128, 256, 512, 512)
WHOLE = (64, 128, 256, 512, 512, 512)


class JointCritic(nn.Module):
    """Two towers, of the region and of the image, and one linear unit on what both have found.

    A tower is 5 x 5 convolutions of stride 2 on zeros, each normalised over the batch and with ReLU, then
    `features` linear units with ReLU. Weights start as torch's layers do.

    Args:
        local, whole: Channels of the convolutions of each, in order. Defaults `LOCAL` and `WHOLE`.
        local_size, whole_size: (h, w) and (H, W) of what each looks at, in pixels. Defaults, the paper's,
            (128, 128) and (256, 256).
        features: Linear units of each tower. Default 1024.
        order: Of the batch normalisation and the ReLU: ``"norm-first"`` (default: mmagic) or ``"relu-first"``
            (otenim).
        bias: Whether the convolutions have biases. Default True; mmagic: False.
        unit_range: Whether images are taken to [0, 1] first (otenim). Default: as they come.

    Published weights: the linear unit reads the region's features, then the image's; mmagic has them the
    other way round, and blue before red: exchange the columns of that unit's weight, and the channels of the
    first convolutions' weights.

    Raises:
        ValueError: Channels, sizes or features below 1; another order.

    Examples:
        >>> critic = JointCritic((8, 16), (8, 16, 16), local_size=(16, 16), whole_size=(32, 32), features=8)
        >>> critic(torch.rand(4, 3, 16, 16), torch.rand(4, 3, 32, 32)).shape
        torch.Size([4])
    """

    def __init__(
        self,
        local: Sequence[int] = LOCAL,
        whole: Sequence[int] = WHOLE,
        *,
        local_size: tuple[int, int] = (128, 128),
        whole_size: tuple[int, int] = (256, 256),
        features: int = 1024,
        order: Order = "norm-first",
        bias: bool = True,
        unit_range: bool = False,
    ) -> None:
        super().__init__()
        if features < 1:
            raise ValueError(f"features: expected a count >= 1, got {features}")
        check_choice("order", order, ORDERS)
        self.local_size, self.whole_size = local_size, whole_size
        self.unit_range = unit_range
        self.local = _tower("local", local, local_size, features, bias, order)
        self.whole = _tower("whole", whole, whole_size, features, bias, order)
        self.score = nn.Linear(2 * features, 1)

    def forward(self, local: Tensor, whole: Tensor) -> Tensor:
        """Score images: higher is more like a photograph.

        Args:
            local: (B, 3, h, w), floating, RGB in [-1, 1]: the region around the hole.
            whole: (B, 3, H, W), likewise: the image.

        Returns:
            (B,), the logarithm of the odds that each is a photograph (the sigmoid of otenim's critic is in
            the loss); under autocast of the weights' dtype all the same.

        Raises:
            ValueError: Another shape.
        """
        for name, image, size in (("local", local, self.local_size), ("whole", whole, self.whole_size)):
            if image.dim() != 4 or tuple(image.shape[1:]) != (3, *size):
                raise ValueError(f"{name}: expected (B, 3, {size[0]}, {size[1]}), got {tuple(image.shape)}")
        if self.unit_range:
            local, whole = (local + 1) / 2, (whole + 1) / 2
        features = torch.cat((self.local(local), self.whole(whole)), 1)
        return in_full_precision(self.score, features).squeeze(1)


def _tower(
    name: str, channels: Sequence[int], size: tuple[int, int], features: int, bias: bool, order: Order
) -> nn.Sequential:
    """(B, 3, *size) -> (B, features)."""
    if not channels or min(channels) < 1:
        raise ValueError(f"{name}: expected at least one count of channels >= 1, got {tuple(channels)}")
    if min(size) < 1:
        raise ValueError(f"{name}_size: expected sides in pixels >= 1, got {size}")
    height, width = (math.ceil(side / 2 ** len(channels)) for side in size)
    table = tuple(Normalised(each, _KERNEL, stride=2, padding=_KERNEL // 2) for each in channels)
    units = nn.Linear(channels[-1] * height * width, features)
    return nn.Sequential(normalised_stack(3, table, bias, order), nn.Flatten(), units, nn.ReLU(inplace=True))
