"""How much each pixel of a hole counts: less, the farther it is from what is known.

These weights are made on the CPU, where the masks are, and so apart from the loss that takes them
(training/losses.py).

Shape legend: B samples; H, W the image.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy.ndimage import distance_transform_edt
from torch import Tensor


def discount_weights(mask: Tensor, gamma: float) -> Tensor:
    """gamma**l in the holes, l the distance of a pixel to the nearest known pixel, and 1 outside.

    arXiv:1801.07892, section 3.3: far inside a hole many completions are right, so the photograph's own
    counts less there. l is Euclidean, between the centres of pixels: 1 at the rim. The published code
    differs: its gamma is 0.9 (the paper: 0.99), and its l, for boxes alone, is the distance to the nearest
    side, 0 at the top and left.

    Args:
        mask: (B, 1, H, W), bool or floating, non-zero = missing; holes of any shape.
        gamma: In (0, 1].

    Returns:
        (B, 1, H, W) float32, on the device of the mask.

    Raises:
        ValueError: A gamma out of range, another shape, or a sample without any known pixel.

    Cost: exact and linear in the pixels, by scipy on the CPU (about 5 ms for 256 x 256). A mask on a GPU is
    copied to the CPU, which waits for the device, and its weights back: better computed where masks are made.

    Examples:
        >>> mask = torch.zeros(1, 1, 3, 5)
        >>> mask[..., 1:4] = 1
        >>> discount_weights(mask, 0.5)[0, 0, 0]
        tensor([1.0000, 0.5000, 0.2500, 0.5000, 1.0000])
    """
    if not 0 < gamma <= 1:
        raise ValueError(f"gamma: expected a number in (0, 1], got {gamma}")
    if mask.dim() != 4 or mask.shape[1] != 1:
        raise ValueError(f"mask: expected shape (B, 1, height, width), got {tuple(mask.shape)}")
    missing = (mask != 0).cpu().numpy()
    if missing.all((1, 2, 3)).any():
        sample = int(missing.all((1, 2, 3)).argmax())
        raise ValueError(f"mask: sample {sample} has no known pixel to measure distances from")
    if gamma == 1:
        return torch.ones(mask.shape, device=mask.device)
    distances = [distance_transform_edt(sample[0]) for sample in missing]
    weights = np.power(gamma, np.stack(distances)[:, None]).astype(np.float32)
    return torch.from_numpy(weights).to(mask.device)
