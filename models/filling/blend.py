"""Copies from here and there made one picture: their steps from pixel to pixel are kept, their levels adapt.

Poisson blending (Pérez et al., "Poisson Image Editing", SIGGRAPH 2003, equation 3) with every pixel's own
source as guidance, screened (Bhat et al., "Fourier Analysis of the 2D Screened Poisson Equation for Gradient
Domain Problems", ECCV 2008): a level that does not fit spreads over some pixels, not over the whole hole.
Where all is smooth, that would be seen: there levels come from the surroundings, and grain alone is copied.

Shape legend: C channels; H, W the picture; h, w its blocks (smooth.py).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ..patches.native import operators
from .smooth import BLOCK, continue_into, find_smooth

# The weight of staying as copied against keeping steps: levels spread over about 1 / sqrt(0.01) = 10 pixels.
# In what is smooth the levels are right beforehand, and only grain is copied: its steps need not agree.
_SCREENING, _SMOOTH_SCREENING = 0.01, 0.3
# Colours in [-1, 1]: so far may the level of a copy be from what its surroundings say.
_ALIKE = 20 / 127.5
# Copies side by side that differ by more from what would continue them remain a seam: joined, they smear.
_TORN = 30 / 127.5
# Of colours in [-1, 1]: what the last step of the solver may change. Errors can be 40 times that, where seams
# cut a hole into pieces: 1e-3 is an eighth of a step of 8 bits.
_TOLERANCE = 2.5e-5


def blend_copies(image: Tensor, hole: Tensor, offsets: Tensor) -> Tensor:
    """Fill a hole with copies, their levels changed so that they meet each other and what is known.

    Minimises, over the colours x of the hole, with x known elsewhere,
    ``sum over neighbours p, q of (x_p - x_q - s_pq)^2 + sum over p of screening_p * (x_p - c_p)^2``,
    where c_p is what is copied to p, and s_pq the step from q to p where p's copy comes from, averaged with
    that where q's comes from. Left out are pairs in the hole whose c_p - c_q differs from s_pq by more than
    30 steps of 8 bits in a channel. In texture the screening is 0.01, and copies that fit together already
    stay as they are, bit for bit. As far as p's surroundings and its copy are smooth but for grain
    (smooth.py), what is copied has its own level replaced by that of the surroundings, continued into the
    hole through what is smooth there, and stays near it: the screening goes up to 0.3.

    Args:
        image: (1, C, H, W) float32; what is in the hole is not looked at.
        hole: (1, 1, H, W) bool.
        offsets: (1, 2, H, W) int64: (row, column) from each pixel of the hole to a known one.

    Returns:
        (1, C, H, W): the picture, filled, within the range of its known pixels.

    Raises:
        RuntimeError: An offset leads to what is not known, or a tensor has another shape or dtype.

    Computed on the CPU, to which tensors of another device are brought, and the result back. What comes out
    does not depend on the number of threads.
    Cost: some ten V-cycles over the hole for each channel; about 60 bytes a pixel of the hole, and 3 a pixel
    of the picture.
    """
    if not bool(hole.any()):
        return image
    # On the CPU.
    there = [x.cpu() for x in (image, hole, offsets)]
    smooth = find_smooth(*there[:2])
    copied, levels = (_copied(x, *there[1:]) for x in (smooth.share, smooth.levels))
    around, wanted = continue_into(smooth, (copied[0] > 0) & ~_has_seam(levels), levels)
    share = around[0] * copied[0] * _agreement(levels, wanted)
    return (
        operators()
        .blend(
            *there,
            *(share, wanted, smooth.levels[0], BLOCK),
            *(_SCREENING, _SMOOTH_SCREENING, _TORN, _TOLERANCE),
        )
        .to(image.device)
    )


def copy_pixels(image: Tensor, hole: Tensor, offsets: Tensor) -> Tensor:
    """Fill a hole with copies as they are; arguments and result as for `blend_copies`."""
    targets = hole[0, 0].nonzero()
    result = image.clone()
    result[:, :, hole[0, 0]] = _at(image[0], targets + offsets[0, :, targets[:, 0], targets[:, 1]].T).T
    return result


def _copied(x: Tensor, hole: Tensor, offsets: Tensor) -> Tensor:
    """What blocks' (1, n, h, w) is where each block comes from, about: (n, h, w)."""
    size = x.shape[2:]
    # One pixel of each block says where it comes from; those that are not missing come from where they are.
    rows, columns = (
        (torch.arange(count) * BLOCK + BLOCK // 2).clamp(max=most - 1)
        for count, most in zip(size, hole.shape[2:], strict=True)
    )
    moves = offsets[0][:, rows[:, None], columns] * hole[0][:, rows[:, None], columns]
    copied = x[:, :, (rows[:, None] + moves[0]) // BLOCK, (columns + moves[1]) // BLOCK]
    return F.avg_pool2d(copied, 3, 1, 1, count_include_pad=False)[0]


def _has_seam(levels: Tensor) -> Tensor:
    """Where blocks side by side have levels (C, h, w) that are copies of different things: (h, w) bool."""
    spread = F.max_pool2d(levels, 3, 1, 1) + F.max_pool2d(-levels, 3, 1, 1)
    return spread.amax(0) > _TORN


def _agreement(copied: Tensor, wanted: Tensor) -> Tensor:
    """Whether levels (C, h, w) are alike: (h, w), from 1 to 0.

    Beside something dark, smooth too, the sky's level goes on into it; copies of the sky know better.
    """
    apart = (copied - wanted).abs().amax(0)
    return (2 - apart / _ALIKE).clamp(0, 1)


def _at(x: Tensor, at: Tensor) -> Tensor:
    """Of (C, H, W) what is at (n, 2), or nearest to it: (n, C)."""
    rows, columns = at[:, 0].clamp(0, x.shape[1] - 1), at[:, 1].clamp(0, x.shape[2] - 1)
    return x[:, rows, columns].T
