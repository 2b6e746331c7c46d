"""What the training-free filler compares: neighbourhoods of colours and of texture, as features of the layer.

The layer compares by cosine similarity. Here it is made to compare by distance: an extra channel lifts every
pixel to norm 1, so that 1 - cosine is half the squared distance of two patches, and a foreground pixel that
is not known yet, all 0, adds nothing.

Shape legend: B pictures; C channels; H, W their size; D = (C + 1) * 9 channels of a descriptor.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from .pyramid import dilate

# Of colours in [-1, 1]: with texture, pixels stay inside the unit ball that they are lifted from.
_SCALE = 0.3
# Mean gradients are small beside colours, and they alone tell a texture from its own average.
_TEXTURE_WEIGHT = 5.0
_TEXTURE_SIDE = 5


class Patch(NamedTuple):
    """The square that is compared, ``2 * reach + 1`` pixels wide.

    Attributes:
        dilation: A descriptor holds 3 x 3 pixels that are this far apart; 0: the pixel alone.
        ksize: Side of the window of descriptors that the layer compares.
    """

    dilation: int
    ksize: int

    @property
    def reach(self) -> int:
        return self.dilation + self.ksize // 2


# The widest first; the last can borrow from a single known pixel.
PATCHES = (Patch(2, 3), Patch(1, 3), Patch(0, 3), Patch(0, 1))


def with_texture(image: Tensor, known: Tensor) -> Tensor:
    """The picture and its texture: the mean absolute gradient around each pixel, across and down.

    A half-filled hole is smoother than it should be, so colours alone find smooth patches to fill it with;
    carried from scale to scale with the colours, these channels prevent it (Newson et al., "Video inpainting
    of complex scenes", SIAM J. Imaging Sciences 2014, section 3.3).

    Args:
        image: (B, C, H, W) float32.
        known: (B, 1, H, W) bool; no gradient is taken to or from a pixel that is not.

    Returns:
        (B, C + 2, H, W).
    """
    grey = image.mean(1, keepdim=True)
    channels = [image]
    for axis in (3, 2):
        steps = grey.diff(dim=axis).abs()
        pairs = (
            known.narrow(axis, 1, known.shape[axis] - 1) & known.narrow(axis, 0, known.shape[axis] - 1)
        ).to(image.dtype)
        end = (0, 1) if axis == 3 else (0, 0, 0, 1)
        total, count = (_box_mean(F.pad(x, end)) for x in (steps * pairs, pairs))
        channels.append(_TEXTURE_WEIGHT * total / count.clamp(min=torch.finfo(count.dtype).eps))
    return torch.cat(channels, 1)


def _box_mean(x: Tensor) -> Tensor:
    return F.avg_pool2d(x, _TEXTURE_SIDE, 1, _TEXTURE_SIDE // 2)


def describe(image: Tensor, dilation: int, defined: Tensor | None = None) -> Tensor:
    """A vector for every pixel: its neighbourhood, each pixel scaled and lifted to norm 1.

    Args:
        image: (B, C, H, W) float32, colours in [-1, 1] and texture.
        dilation: As in `Patch`.
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


def count_sources(missing: Tensor, patch: Patch) -> int:
    """How many whole patches a picture has to borrow from; missing: (1, 1, H, W) bool."""
    return int((~dilate(unusable(missing, patch.dilation), patch.ksize // 2)).sum())
