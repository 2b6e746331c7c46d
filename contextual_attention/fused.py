"""The layer by the fused operator: O(N + M) tensor code around the operator of ops.py.

It rests on an identity. With G the Gram matrix of single pixels and D_k the sum over a k x k window along the
diagonal, (p + d, q + d): the similarities of patches are D_ksize G, propagation is D_fuse_k, and pasting
overlapping patches is the product of D_2-summed weights with cells of the value. So no patch is ever written
down, and the operator computes the scores piece by piece.

Shape legend: as in functional.py; cells are those of cells.py.
"""

from __future__ import annotations

import torch
from torch import Tensor

from . import backends, cells, ops
from .interface import Masking, Propagation
from .options import Options
from .tracing import without_autocast

_OPERATORS = {
    "cuda": ops.attend,
    "cpu": ops.attend,
    "triton": ops.attend_triton,
}


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
        selected = cells.selection(foreground_mask, foreground, options)
        m = cells.resolution(value, background)
        valid = cells.validity(mask, background, options)
        candidates = None if mask is None and options.stride == 1 else valid  # None: every position
        asked, read = cells.read_by(selected, options), cells.read_by(candidates, options)
        queries = cells.downscale(foreground, asked, options)
        keys = queries
        if background is not foreground or asked is not read:
            keys = cells.downscale(background, read, options)
        pasted = cells.value_cells(value, m, cells.pasted_by(candidates), options)
        return _attend(
            queries,
            keys,
            valid,
            selected,
            pasted,
            foreground,
            m,
            options,
            backend,
            workspace,
            return_offsets,
        )


def _attend(
    foreground: Tensor,
    background: Tensor,
    valid: Tensor,
    selected: Tensor | None,
    value: Tensor,
    around: Tensor,
    m: int,
    options: Options,
    backend: str,
    workspace: int | None,
    return_offsets: bool,
) -> tuple[Tensor, Tensor]:
    """Of what cells.py has made of the maps; `around` is the foreground, kept where no patch is pasted."""
    # A compiled graph must not depend on the bound: there the kernels' own check speaks.
    if workspace is not None and not torch.compiler.is_compiling():
        learns = torch.is_grad_enabled() and any(x.requires_grad for x in (foreground, background, value))
        least = _least_workspace(backend, foreground, background, value, learns, options)
        if workspace < least:
            raise ValueError(f"workspace: expected at least {least} bytes for this problem, got {workspace}")
    beta = cells.reciprocal_norms(background, options)
    alpha = None
    if options.normalize == "both":
        alpha = beta if foreground is background else cells.reciprocal_norms(foreground, options)
    cell = options.rate * m
    # It can only be kept if the cells hold pixels of its kind.
    keep = selected is not None and m == 1 and value.shape[3] == cell**2 * around.shape[1]
    output, offsets, _ = _OPERATORS[backend](
        foreground,
        background,
        alpha,
        beta,
        valid,
        selected,
        value,
        cells.shares(foreground.shape[1:3], selected, options, foreground),
        around,
        *schema_options(options),
        return_offsets,
        0 if workspace is None else workspace,
        keep,
        cell,
        m * around.shape[2],
        m * around.shape[3],
    )
    return output, offsets


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


def _least_workspace(
    backend: str, foreground: Tensor, background: Tensor, value: Tensor, learns: bool, options: Options
) -> int:
    """The smallest bound under which the kernels can work, for the backward too if it `learns`."""
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
