"""The layer by the fused operator: O(N + M) tensor code around the operator of operators.py.

It rests on an identity. With G the Gram matrix of single pixels and D_k the sum over a k x k window along the
diagonal, (p + d, q + d): the similarities of patches are D_ksize G, propagation is D_fuse_k, and pasting
overlapping patches is the product of D_2-summed weights with cells of the value. So no patch is ever written
down, and the operator computes the scores piece by piece.

Shape legend: as in functional.py; cells are those of cells.py.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from . import backends, cells, features, operators, positions
from .graphs import without_autocast
from .interface import Masking, Propagation
from .options import Options

_OPERATORS = {
    "cuda": operators.attend,
    "cpu": operators.attend,
    "triton": operators.attend_triton,
}
# How what it takes is worked out, where it is not by tensor code.
_ROADS = {"cuda": features.KERNELS}


def contextual_attention(
    foreground: Tensor,
    background: Tensor,
    *,
    mask: Tensor | None,
    value: Tensor,
    foreground_mask: Tensor | None,
    options: Options,
    backend: str,
    workspace: int | None,
    return_offsets: bool,
) -> tuple[Tensor, Tensor]:
    """Output (B, Cv, m * H, m * W) and offsets (B, 2, h, w), or (0,) if not asked for; arguments checked."""
    with without_autocast(foreground.device.type):
        given, weight = operands(
            foreground,
            background,
            mask=mask,
            value=value,
            foreground_mask=foreground_mask,
            options=options,
            backend=backend,
        )
        # A compiled graph must not depend on the bound: there the kernels' own check speaks.
        if workspace is not None and not torch.compiler.is_compiling():
            least = least_workspace(backend, given, options)
            if workspace < least:
                raise ValueError(
                    f"workspace: expected at least {least} bytes for this problem, got {workspace}"
                )
        m = positions.resolution(value, background)
        keep, *joined = joining(given, foreground, m, options)
        bound = 0 if workspace is None else workspace
        output, offsets, _ = _OPERATORS[backend](
            *given, weight, foreground, *schema_options(options), return_offsets, bound, keep, *joined
        )
        return output, offsets


class Operands(NamedTuple):
    """The tensors of the operator, as its schema has them (interface.py)."""

    foreground: Tensor
    background: Tensor
    alpha: Tensor | None
    beta: Tensor
    valid: Tensor
    selected: Tensor | None
    value: Tensor


def operands(
    foreground: Tensor,
    background: Tensor,
    *,
    mask: Tensor | None,
    value: Tensor,
    foreground_mask: Tensor | None,
    options: Options,
    backend: str,
) -> tuple[Operands, Tensor]:
    """What the operator takes of the layer's arguments, which are checked; and the weight of its cells."""
    road = _ROADS.get(backend, features.TENSOR_CODE)
    attending = candidates = None  # all
    if foreground_mask is not None:
        attending = road.flag(foreground_mask, foreground, False, options)
    if mask is not None or options.stride > 1:
        candidates = road.flag(mask, background, True, options)
    asked, read = (None if flags is None else flags.read for flags in (attending, candidates))
    taken = road.take(foreground, None if background is foreground else background, asked, read, options)
    m = positions.resolution(value, background)
    pasted = cells.value_cells(value, m, None if candidates is None else candidates.cells, options)
    valid = taken.valid if candidates is None else candidates.chosen
    selected, weight = (None, taken.weight) if attending is None else (attending.chosen, attending.cells)
    return Operands(taken.queries, taken.keys, taken.alpha, taken.beta, valid, selected, pasted), weight


def joining(given: Operands, foreground: Tensor, m: int, options: Options) -> tuple[bool, int, int, int]:
    """keep, cell, height and width of cells.paste, for the summed cells; m: positions.resolution."""
    cell = options.rate * m
    # A pixel can only be kept if the cells hold pixels of its kind.
    keep = given.selected is not None and m == 1 and given.value.shape[3] == cell**2 * foreground.shape[1]
    return keep, cell, m * foreground.shape[2], m * foreground.shape[3]


def schema_options(options: Options) -> tuple[float, int, int, int, int, int]:
    """As the operator's schema has them, from softmax_scale to masking."""
    masking = Masking.EXCLUDE if options.masking == "exclude" else Masking.MULTIPLY
    return (
        float(options.softmax_scale),
        options.ksize,
        options.stride,
        options.fuse_k,
        _propagation(options),
        masking.value,
    )


def least_workspace(backend: str, given: Operands, options: Options) -> int:
    """The smallest bound under which the kernels can work, for the backward too if there will be one."""
    foreground, background, value = given.foreground, given.background, given.value
    learns = torch.is_grad_enabled() and any(x.requires_grad for x in (foreground, background, value))
    sizes = (*foreground.shape[1:3], *background.shape[1:3])
    if backend == "triton":
        from .triton import plan, problem

        channels = (foreground.shape[3], value.shape[3])
        solved = problem.Problem(*channels, *sizes, *schema_options(options))
        return max(plan.least_workspace(solved, backward) for backward in {False, learns})
    if backend == "cuda":
        return max(
            backends.extension.least_cuda_workspace(
                *sizes,
                channels=foreground.shape[3],
                value_channels=value.shape[3],
                ksize=options.ksize,
                stride=options.stride,
                fuse_k=options.fuse_k,
                propagation=_propagation(options),
                backward=backward,
            )
            for backward in {False, learns}
        )
    return backends.extension.least_cpu_workspace(
        *sizes,
        ksize=options.ksize,
        stride=options.stride,
        fuse_k=options.fuse_k,
        propagation=_propagation(options),
        threads=torch.get_num_threads(),
        backward=learns,
    )


def _propagation(options: Options) -> int:
    if not options.fuse:
        return Propagation.NONE.value
    if options.propagation == "before":
        if not options.propagates:
            return Propagation.NONE.value
        return Propagation.BEFORE_WRAP.value if options.boundary == "wrap" else Propagation.BEFORE_ZERO.value
    # One tap mixes nothing, but rows that "multiply" left short of sum 1 are rescaled all the same.
    if not options.propagates and options.masking == "exclude":
        return Propagation.NONE.value
    return Propagation.AFTER_ZERO.value
