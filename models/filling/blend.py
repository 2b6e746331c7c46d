"""Copies from here and there made one picture: their steps from pixel to pixel are kept, their levels adapt.

Poisson blending (Pérez et al., "Poisson Image Editing", SIGGRAPH 2003, equation 3) with every pixel's own
source as guidance, screened (Bhat et al., "Fourier Analysis of the 2D Screened Poisson Equation for Gradient
Domain Problems", ECCV 2008): a level that does not fit spreads over some pixels, not over the whole hole.

Shape legend: C channels; H, W the picture; n pixels of the hole, in the order of `nonzero`.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

# The weight of staying as copied against keeping steps: levels spread over about 1 / sqrt(0.01) = 10 pixels.
_SCREENING = 0.01
_MOVES = ((0, 1), (0, -1), (1, 0), (-1, 0))
# Of colours in [-1, 1]: an eighth of a step of 8 bits.
_TOLERANCE = 1e-3
_MOST_STEPS = 500


def blend_copies(image: Tensor, hole: Tensor, offsets: Tensor) -> Tensor:
    """Fill a hole with copies, their levels changed so that they meet each other and what is known.

    Minimises, over the colours x of the hole, with x known elsewhere,
    ``sum over neighbours p, q of (x_p - x_q - s_pq)^2 + 0.01 * sum over p of (x_p - c_p)^2``,
    where c_p is what is copied to p, and s_pq the step from q to p where p's copy comes from, averaged with
    that where q's comes from. Copies that fit together already stay as they are, bit for bit.

    Args:
        image: (1, C, H, W) float32; what is in the hole is not looked at.
        hole: (1, 1, H, W) bool.
        offsets: (1, 2, H, W) int64: (row, column) from each pixel of the hole to a known one.

    Returns:
        (1, C, H, W): the picture, filled, within the range of its known pixels.

    Cost: some 100 products with a matrix of 5 n numbers; about 200 bytes a pixel of the hole.
    """
    if not bool(hole.any()):
        return image
    equations = _equations(image, hole, offsets)
    known = image.masked_select(~hole)
    solved = _conjugate_gradients(equations).clamp(known.min(), known.max())
    result = image.clone()
    result[:, :, hole[0, 0]] = solved.T
    return result


def copy_pixels(image: Tensor, hole: Tensor, offsets: Tensor) -> Tensor:
    """Fill a hole with copies as they are; arguments and result as for `blend_copies`."""
    targets = hole[0, 0].nonzero()
    result = image.clone()
    result[:, :, hole[0, 0]] = _at(image[0], targets + offsets[0, :, targets[:, 0], targets[:, 1]].T).T
    return result


class _Equations(NamedTuple):
    """``diagonal * x - sum over moves of (x of neighbours, where linked) = constant``, and a first x.

    Attributes:
        neighbours: (4, n) int64: which unknown is beside each; 0 where none is.
        linked: (4, n, 1) float32: 1 where it is an unknown whose step to here is known, else 0.
        diagonal: (n, 1).
        constant: (n, C).
        start: (n, C).
    """

    neighbours: Tensor
    linked: Tensor
    diagonal: Tensor
    constant: Tensor
    start: Tensor

    def residual(self, x: Tensor) -> Tensor:
        return self.constant - self.times(x)

    def times(self, x: Tensor) -> Tensor:
        product = self.diagonal * x
        for neighbour, linked in zip(self.neighbours, self.linked, strict=True):
            product -= linked * x[neighbour]
        return product


def _equations(image: Tensor, hole: Tensor, offsets: Tensor) -> _Equations:
    targets = hole[0, 0].nonzero()
    own = offsets[0, :, targets[:, 0], targets[:, 1]].T
    index = torch.zeros(hole.shape[2:], dtype=torch.int64, device=hole.device)
    index[hole[0, 0]] = torch.arange(len(targets), device=hole.device)
    copies, _ = _known(image, hole, targets + own)
    neighbours, links = [], []
    diagonal = torch.full_like(copies[:, :1], _SCREENING)
    constant = _SCREENING * copies
    for move in targets.new_tensor(_MOVES):
        beside = targets + move
        neighbour = _at(index[None], beside)[:, 0]
        colours, known = _known(image, hole, beside)
        missing = _inside(beside, hole) * (1 - known)
        there, has_own = _known(image, hole, targets + own + move)
        here, has_other = _known(image, hole, targets + own[neighbour])
        has_other = has_other * missing
        count = has_own + has_other
        weight = (count > 0) * (known + missing)
        steps = has_own * (copies - there) + has_other * (here - copies[neighbour])
        diagonal = diagonal + weight
        constant = constant + weight * (steps / count.clamp(min=1) + known * colours)
        neighbours.append(neighbour)
        links.append(weight * missing)
    return _Equations(torch.stack(neighbours), torch.stack(links), diagonal, constant, copies)


def _known(image: Tensor, hole: Tensor, at: Tensor) -> tuple[Tensor, Tensor]:
    """Colours at (n, 2), 0 where nothing is known, and whether something is, as 0 and 1: (n, C), (n, 1)."""
    known = _inside(at, hole) * ~_at(hole[0], at)
    return _at(image[0], at) * known, known


def _inside(at: Tensor, hole: Tensor) -> Tensor:
    """(n, 1) float32: 1 for those of (n, 2) that lie in the picture, else 0."""
    return ((at >= 0) & (at < at.new_tensor(hole.shape[2:]))).all(1, keepdim=True).to(torch.float32)


def _at(x: Tensor, at: Tensor) -> Tensor:
    """Of (C, H, W) what is at (n, 2), or nearest to it: (n, C)."""
    rows, columns = at[:, 0].clamp(0, x.shape[1] - 1), at[:, 1].clamp(0, x.shape[2] - 1)
    return x[:, rows, columns].T


def _conjugate_gradients(equations: _Equations) -> Tensor:
    """Solve for each channel.

    The rows of the matrix sum to the screening at least and nothing off its diagonal is positive, so that an
    error is at most the largest residual over the screening.
    """
    x = equations.start.clone()
    residual = equations.residual(x)
    direction, energy = residual.clone(), residual.square().sum(0)
    for _ in range(_MOST_STEPS):
        if float(residual.abs().max()) <= _SCREENING * _TOLERANCE:
            break
        product = equations.times(direction)
        length = energy / (direction * product).sum(0).clamp(min=torch.finfo(x.dtype).tiny)
        x += length * direction
        residual -= length * product
        previous, energy = energy, residual.square().sum(0)
        direction = residual + energy / previous.clamp(min=torch.finfo(x.dtype).tiny) * direction
    return x
