"""The layer by the fused operator: O(N + M) tensor code around the operator of operators.py.

It rests on an identity. With G the Gram matrix of single pixels and D_k the sum over a k x k window along the
diagonal, (p + d, q + d): the similarities of patches are D_ksize G, propagation is D_fuse_k, and pasting
overlapping patches is the product of D_2-summed weights with cells of the value. So no patch is ever written
down, and the operator computes the scores piece by piece.

Shape legend: as in functional.py; cells are those of cells.py.
"""

from __future__ import annotations

import torch
from torch import Tensor

from . import backends, cells, features
from .call import Call
from .graphs import without_autocast
from .interface import Maps, Operands, Pasting, Run
from .problem import Problem, scoring


def contextual_attention(call: Call, backend: str) -> tuple[Tensor, Tensor]:
    """Output (B, Cv, m * H, m * W) and offsets (B, 2, h, w), or (0,) if not asked for."""
    with without_autocast(call.foreground.device.type):
        kernels = backends.kernels(backend)
        given, weight = operands(call, kernels.road)
        scores = scoring(call.options)
        # A compiled graph must not depend on the bound: there the kernels' own check speaks.
        if call.workspace is not None and not torch.compiler.is_compiling():
            _check_workspace(call.workspace, kernels, given, Problem.of(given, scores))
        how = Run(call.return_offsets, call.workspace or 0)
        output, offsets, _ = kernels.attend_map(*given, *pasting(call, given, weight), *scores, *how)
        return output, offsets


def operands(call: Call, road: features.Road) -> tuple[Operands, Tensor]:
    """What the operator takes of a call; and the weight of its cells."""
    foreground, background, options = call.foreground, call.background, call.options
    attending = candidates = None  # all
    if call.foreground_mask is not None:
        attending = road.flag(call.foreground_mask, foreground, False, options)
    if call.mask is not None or options.stride > 1:
        candidates = road.flag(call.mask, background, True, options)
    asked, read = (None if flags is None else flags.read for flags in (attending, candidates))
    maps = Maps(foreground, None if background is foreground else background, asked, read)
    taken = road.take(maps, options)
    pasted = cells.value_cells(call.value, call.m, None if candidates is None else candidates.cells, options)
    valid = taken.valid if candidates is None else candidates.chosen
    selected, weight = (None, taken.weight) if attending is None else (attending.chosen, attending.cells)
    return Operands(taken.queries, taken.keys, taken.alpha, taken.beta, valid, selected, pasted), weight


def pasting(call: Call, given: Operands, weight: Tensor) -> Pasting:
    """How the cells that the operator sums are joined into the output."""
    cell, (_, channels, height, width) = call.options.rate * call.m, call.foreground.shape
    # A pixel can only be kept if the cells hold pixels of its kind.
    keep = given.selected is not None and call.m == 1 and given.value.shape[3] == cell**2 * channels
    return Pasting(weight, call.foreground, keep, cell, call.m * height, call.m * width)


def _check_workspace(workspace: int, kernels: backends.Kernels, given: Operands, problem: Problem) -> None:
    """For the backward too, if there will be one."""
    learns = torch.is_grad_enabled() and any(
        x.requires_grad for x in (given.foreground, given.background, given.value)
    )
    least = max(kernels.least_workspace(problem, backward) for backward in {False, learns})
    if workspace < least:
        raise ValueError(f"workspace: expected at least {least} bytes for this problem, got {workspace}")
