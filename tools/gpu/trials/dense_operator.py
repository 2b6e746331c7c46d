"""The operator's schemas (contextual_attention/interface.py) by the dense reference, in float64.

It judges the operator's results on operands that are given, where there are no host loops to do it.

Shape legend: as in interface.py.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from contextual_attention import reference
from contextual_attention.interface import (
    ATTEND,
    ATTEND_BACKWARD,
    Masking,
    Operands,
    Propagation,
    Scoring,
)
from contextual_attention.options import Options

# The operands that have gradients, in the order of attend_backward.
DIFFERENTIABLE = ("foreground", "background", "alpha", "beta", "value")


def attend(*arguments: Any) -> tuple[Tensor, Tensor, Tensor]:
    """cells and statistics, float64; no offsets."""
    given, scoring, _ = ATTEND.unpack(arguments)
    cells, statistics = _attend(_wide(given), options_of(scoring))
    return cells, torch.empty(0, dtype=torch.int64), statistics


def attend_backward(*arguments: Any) -> tuple[Tensor, ...]:
    """By autograd; the statistics given are not needed."""
    given, scoring, of = ATTEND_BACKWARD.unpack(arguments)
    wide = _wide(given)
    wanted = [of.needs >> i & 1 for i in range(len(DIFFERENTIABLE))]
    leaves = [getattr(wide, DIFFERENTIABLE[i]).requires_grad_() for i, want in enumerate(wanted) if want]
    with torch.enable_grad():
        cells, _ = _attend(wide, options_of(scoring))
        found = iter(torch.autograd.grad(cells, leaves, of.grad_cells.double()) if leaves else ())
    return tuple(next(found) if want else torch.empty(0) for want in wanted)


def options_of(scoring: Scoring) -> Options:
    propagation = scoring.propagation
    return Options(
        rate=1,  # the operands are downscaled
        softmax_scale=scoring.softmax_scale,
        ksize=scoring.ksize,
        stride=scoring.stride,
        fuse_k=scoring.fuse_k,
        fuse=propagation != Propagation.NONE,
        propagation="after" if propagation == Propagation.AFTER_ZERO else "before",
        boundary="wrap" if propagation == Propagation.BEFORE_WRAP else "zero",
        masking="exclude" if scoring.masking == Masking.EXCLUDE else "multiply",
    )


def _wide(given: Operands) -> Operands:
    wide = (x.detach().double() if x is not None and x.is_floating_point() else x for x in given)
    return Operands(*wide)


def _attend(given: Operands, options: Options) -> tuple[Tensor, Tensor]:
    grid = (..., slice(None, None, options.stride), slice(None, None, options.stride))
    queries = reference.foreground_patches(given.foreground.permute(0, 3, 1, 2), options)
    keys = reference.background_patches(given.background.permute(0, 3, 1, 2), options)
    scores = torch.einsum("bxyk,bijk->bxyij", queries, keys) * given.beta[grid][:, None, None]
    if given.alpha is not None:
        scores = scores * given.alpha[..., None, None]
    candidates, selected = given.valid[grid], given.selected
    if options.fuse and options.propagation == "before":
        scores = reference.propagate(scores, options)
    weights = reference.keep_selected(reference.attend(scores, candidates, options), selected)
    offset, inverse_sum = _softmax_sums(scores, candidates, options)
    has_weights = weights.sum((-2, -1)) > 0
    inverse_total = torch.zeros_like(offset)
    if options.fuse and options.propagation == "after":
        weights = reference.propagate(weights, options)
        total = (weights * candidates[:, None, None]).sum((-2, -1))
        chosen = reference.keep_selected(total[..., None, None], selected)[..., 0, 0]
        inverse_total = torch.where(chosen > 0, 1 / chosen, 0)
        weights = reference.keep_selected(reference.rescale(weights, candidates), selected)
    everywhere = weights.new_zeros(*weights.shape[:3], *given.background.shape[1:3])
    everywhere[grid] = weights
    statistics = torch.stack((offset, torch.where(has_weights, inverse_sum, 0), inverse_total), 1)
    return torch.einsum("bxyij,bijk->bxyk", _cell_weights(everywhere), given.value), statistics.detach()


def _softmax_sums(scores: Tensor, valid: Tensor, options: Options) -> tuple[Tensor, Tensor]:
    """The largest logit of every row, and the reciprocal sum of exp(logit - largest)."""
    logits = options.softmax_scale * scores
    kept = valid[:, None, None]
    logits = logits.masked_fill(~kept, -torch.inf if options.masking == "exclude" else 0.0)
    offset = logits.amax((-2, -1)).nan_to_num(neginf=0.0)
    return offset, 1 / (logits - offset[..., None, None]).exp().sum((-2, -1))


def _cell_weights(weights: Tensor) -> Tensor:
    """E[P, Q] = sum over d in {0, 1}**2 of A[P - d, Q - d]: one position more on every axis."""
    shifts = [(down, right) for down in (0, 1) for right in (0, 1)]
    return sum(F.pad(weights, 2 * (right, 1 - right, down, 1 - down)) for down, right in shifts)
