"""A finished filling joined to its picture: its steps from pixel to pixel are kept, its levels adapt.

Poisson blending, Pérez et al., "Poisson Image Editing", SIGGRAPH 2003, equation 3; the last step of Iizuka et
al. 2017 (doi:10.1145/3072959.3073659). Theirs first fills the hole by fast marching (Telea 2004), as OpenCV's
seamlessClone, which they call, wants a picture to clone into; of that filling nothing is seen, since levels
come from the hole's edge and steps from the network, so there is none here. Copies of a picture are joined by
blend.py.

Shape legend: C channels; H, W the picture.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ..patches.native import operators

# Of colours in [-1, 1]: what the last step of the solver may change. Errors are no larger; a step of 16 bits
# is three times this.
_TOLERANCE = 1e-5


def join_filling(image: Tensor, hole: Tensor, filled: Tensor) -> Tensor:
    """Change the levels of a filling so that it meets what is known.

    Minimises, over the colours x of the hole, with x known elsewhere,
    ``sum over neighbours p, q of (x_p - x_q - f_p + f_q)^2``, f the filling. Of a pixel beside the hole,
    where the filling is not looked at, f is the mean of its neighbours in the hole: from what is known x goes
    on without a step. Pairs end at the edge of the picture: there x is free, and a hole that reaches it is
    joined along its other edges. What is added to the filling is smooth: each of its values is the mean of
    those around it, and none is beyond the differences along the hole's edge.

    Args:
        image: (1, C, H, W) float32 in [-1, 1]; what is in the hole is not looked at.
        hole: (1, 1, H, W) bool, not all of it.
        filled: (1, C, H, W) float32; only what is in the hole is looked at.

    Returns:
        (1, C, H, W): the picture, known pixels bit for bit, the others within [-1, 1].

    Raises:
        RuntimeError: There is no compiled module.

    Computed on the CPU, to which tensors of another device are brought, and the result back. What comes out
    does not depend on the number of threads.
    Cost: some five to ten V-cycles over the hole for each channel, a few seconds for a million pixels; some
    300 bytes a pixel of the hole's bounding box, and 4 C a pixel of the picture.
    """
    if not bool(hole.any()):
        return image
    rows, columns = (_bounds(hole.any(dim).flatten()) for dim in (3, 2))
    known, missing, filling = (x[0, :, rows, columns].cpu() for x in (image, hole, filled))
    filling = torch.where(missing, filling, 0)
    # The difference is a membrane: known beside the hole, without steps of its own inside it.
    difference = torch.where(missing, 0, known - _beside(filling, missing))
    steps = difference.new_zeros((len(difference), 2, *difference.shape[1:]))
    difference = operators().continue_levels(difference, missing[0], ~missing[0], steps, _TOLERANCE)
    joined = image.clone()
    inside = torch.where(missing, (filling + difference).clamp(-1, 1), known)
    joined[0, :, rows, columns] = inside.to(image.device)
    return joined


def _bounds(missing: Tensor) -> slice:
    """Of a row of bool the part with what is missing, and one more on either side."""
    places = missing.nonzero()
    return slice(max(int(places[0]) - 1, 0), int(places[-1]) + 2)


def _beside(filling: Tensor, missing: Tensor) -> Tensor:
    """Of the four pixels beside each, the mean of the missing ones, or 0: (C, h, w)."""
    cross = filling.new_tensor([[0, 1, 0], [1, 0, 1], [0, 1, 0]]).view(1, 1, 3, 3)
    total, count = (F.conv2d(x[:, None].to(cross), cross, padding=1)[:, 0] for x in (filling, missing))
    return total / count.clamp(min=1)
