"""What the layer compares to fill a hole: neighbourhoods of colours and of texture, as its features.

The layer compares by cosine similarity. Here it is made to compare by distance: an extra channel lifts every
pixel to norm 1, so that 1 - cosine is half the squared distance of two patches, and a foreground pixel that
is not known yet, all 0, adds nothing.

Shape legend: B pictures; C channels; H, W their size; D = (C + 1) * 9 channels of a descriptor.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from .pyramid import dilate

# Of colours in [-1, 1]: with texture, pixels stay inside the unit ball that they are lifted from.
_SCALE = 0.3


def describe(image: Tensor, dilation: int, defined: Tensor | None = None) -> Tensor:
    """A vector for every pixel: its neighbourhood, each pixel scaled and lifted to norm 1.

    Args:
        image: (B, C, H, W) float32, colours in [-1, 1] and texture.
        dilation: How far apart its 3 x 3 pixels are; 0: the pixel alone.
        defined: (B, 1, H, W) bool: pixels to compare by. Default: all.

    Returns:
        (B, D, H, W); (B, C + 1, H, W) for dilation 0. 0 stands for what is not defined or beyond the picture.

    Cost: 9 * (C + 1) numbers a pixel.
    """
    scaled = _SCALE * image
    lift = (1 - scaled.square().sum(1, keepdim=True)).clamp(min=0).sqrt()
    lifted = torch.cat([scaled, lift], 1)
    if defined is not None:
        lifted = lifted * defined
    if dilation == 0:
        return lifted
    batch, channels, height, width = lifted.shape
    patches = F.unfold(lifted, 3, dilation=dilation, padding=dilation)
    return patches.view(batch, 9 * channels, height, width)


def unusable(missing: Tensor, dilation: int) -> Tensor:
    """Where a descriptor (`describe`) touches a missing pixel (B, 1, H, W) bool or leaves the picture."""
    if dilation == 0:
        return missing
    beyond = F.pad(missing.to(torch.float32), (dilation,) * 4, value=1.0).bool()
    inside = slice(dilation, -dilation)
    return dilate(beyond, dilation)[:, :, inside, inside]
