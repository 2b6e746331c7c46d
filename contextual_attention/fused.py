"""The layer by the fused operator: O(N + M) tensor code around torch.ops.contextual_attention.attend.

It rests on an identity. With G the Gram matrix of single pixels and D_k the sum over a k x k window along the
diagonal, (p + d, q + d): the similarities of patches are D_ksize G, propagation is D_fuse_k, and pasting
overlapping patches is the product of D_2-summed weights with cells of the value. So no patch is ever written
down, and the operator computes the scores piece by piece.

Shape legend: as in functional.py; cells are those of cells.py.
"""

from __future__ import annotations

import torch
from torch import Tensor

from . import backends, cells
from .ops import Masking, Propagation
from .options import Options


def contextual_attention(
    foreground: Tensor,
    background: Tensor,
    value: Tensor,
    mask: Tensor | None,
    foreground_mask: Tensor | None,
    options: Options,
    workspace: int | None,
    return_offsets: bool,
) -> tuple[Tensor, Tensor]:
    """Output (B, Cv, m * H, m * W) and offsets (B, 2, h, w), or (0,) if not asked for; arguments checked."""
    with torch.autocast(foreground.device.type, enabled=False):
        selected = cells.selection(foreground_mask, foreground, options)
        m = cells.resolution(value, background)
        queries = cells.downscale(foreground, options)
        summed, offsets = _attend(
            queries,
            queries if background is foreground else cells.downscale(background, options),
            cells.validity(mask, background, options),
            selected,
            cells.value_cells(value, m, options),
            options,
            workspace,
            return_offsets,
        )
        return cells.assemble(summed, foreground, m, selected, options), offsets


def _attend(
    foreground: Tensor,
    background: Tensor,
    valid: Tensor,
    selected: Tensor | None,
    value: Tensor,
    options: Options,
    workspace: int | None,
    return_offsets: bool,
) -> tuple[Tensor, Tensor]:
    differentiable = torch.is_grad_enabled() and any(x.requires_grad for x in (foreground, background, value))
    _check_workspace(workspace, foreground, background, differentiable, options)
    beta = cells.reciprocal_norms(background, options)
    alpha = None
    if options.normalize == "both":
        alpha = beta if foreground is background else cells.reciprocal_norms(foreground, options)
    summed, offsets, _ = torch.ops.contextual_attention.attend(
        foreground,
        background,
        alpha,
        beta,
        valid,
        selected,
        value,
        float(options.softmax_scale),
        options.ksize,
        options.stride,
        options.fuse_k,
        _propagation(options),
        Masking.EXCLUDE.value if options.masking == "exclude" else Masking.MULTIPLY.value,
        return_offsets,
        0 if workspace is None else workspace,
    )
    return summed, offsets


def _check_workspace(
    workspace: int | None, foreground: Tensor, background: Tensor, needs_gradient: bool, options: Options
) -> None:
    """Refuses a bound under which the kernels cannot work, before they do it with a RuntimeError."""
    # A compiled graph must not depend on this: there the kernels' own check speaks.
    if workspace is None or torch.compiler.is_compiling():
        return
    least = backends.extension.least_cpu_workspace(
        *foreground.shape[1:3],
        *background.shape[1:3],
        ksize=options.ksize,
        stride=options.stride,
        fuse_k=options.fuse_k,
        propagation=_propagation(options),
        threads=torch.get_num_threads(),
        backward=needs_gradient,
    )
    if workspace < least:
        raise ValueError(f"workspace: expected at least {least} bytes for this problem, got {workspace}")


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
