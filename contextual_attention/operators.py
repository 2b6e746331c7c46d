"""The fused operator as PyTorch sees it: the schemas of interface.py, fake implementations, autograd.

The kernels register themselves from C++ (csrc/*/operator.cpp) under what is defined here, so every backend
shares one definition and a build without one of them still imports. What is called and differentiated is the
operator with the joining of its cells into a map.

Shape legend: as in interface.py.
"""

from __future__ import annotations

import os
from collections.abc import Callable

import torch

from . import interface
from .cells import lift, paste
from .derivatives import differentiable, keep_nothing, no_second_derivative

NAMESPACE = "contextual_attention"

_library = torch.library.Library(NAMESPACE, "DEF")


def _attend_fake(
    foreground, background, alpha, beta, valid, selected, value,
    softmax_scale, ksize, stride, fuse_k, propagation, masking, return_offsets, workspace,
):  # fmt: skip
    batch, h, w, _ = foreground.shape
    cells = value.new_empty((batch, h + 1, w + 1, value.shape[3]), dtype=torch.float32)
    offsets_shape = (batch, 2, h, w) if return_offsets else (0,)
    offsets = foreground.new_empty(offsets_shape, dtype=torch.int64)
    statistics = foreground.new_empty((batch, 3, h, w), dtype=torch.float32)
    return cells, offsets, statistics


def _attend_backward_fake(
    grad_cells, foreground, background, alpha, beta, valid, selected, value, statistics,
    softmax_scale, ksize, stride, fuse_k, propagation, masking, needs, workspace,
):  # fmt: skip
    operands = (foreground, background, alpha, beta, value)
    return tuple(
        torch.empty_like(x, memory_format=torch.contiguous_format)
        if needs >> i & 1
        else foreground.new_empty((0,), dtype=foreground.dtype if x is None else x.dtype)
        for i, x in enumerate(operands)
    )


def _attend_map_fake(
    foreground, background, alpha, beta, valid, selected, value, weight, kept,
    softmax_scale, ksize, stride, fuse_k, propagation, masking, return_offsets, workspace,
    keep, cell, height, width,
):  # fmt: skip
    batch, h, w, _ = foreground.shape
    image = kept.new_empty((batch, value.shape[3] // cell**2, height, width))
    offsets = foreground.new_empty((batch, 2, h, w) if return_offsets else (0,), dtype=torch.int64)
    return image, offsets, foreground.new_empty((batch, 3, h, w), dtype=torch.float32)


def _setup_context(ctx, inputs, output):
    (
        *operands, weight, _, scale, ksize, stride, fuse_k, propagation, masking, _, workspace,
        ctx.keep, ctx.cell, _, _,
    ) = inputs  # fmt: skip
    _, offsets, statistics = output
    ctx.mark_non_differentiable(offsets, statistics)
    ctx.save_for_backward(*operands, weight, statistics)
    ctx.options = (scale, ksize, stride, fuse_k, propagation, masking)
    ctx.workspace = workspace


def _differentiate(name: str, attend_backward: Callable) -> Callable[..., tuple[torch.Tensor | None, ...]]:
    """The gradient of the map that `name` makes, by this operator."""

    def differentiate(ctx, grad_map, _grad_offsets, _grad_statistics):
        *operands, weight, statistics = ctx.saved_tensors
        foreground, background, alpha, beta, valid, selected, value, _, kept = range(9)
        wanted = [ctx.needs_input_grad[i] for i in (foreground, background, alpha, beta, value)]
        # Bit i of `needs` asks for the i-th gradient of attend_backward.
        needs = sum(1 << i for i, want in enumerate(wanted) if want)
        _, h, w, _ = operands[foreground].shape
        # The CPU's kernels would make float32 of it; a GPU's multiply it by the value, in the value's dtype.
        wide = name == "attend" and grad_map.device.type == "cpu"
        grad_cells, grad_kept = lift(grad_map, weight, ctx.keep, ctx.cell, h + 1, w + 1, wide)
        gradients = attend_backward(grad_cells, *operands, statistics, *ctx.options, needs, ctx.workspace)
        f, b, a, be, v = (x if want else None for x, want in zip(gradients, wanted, strict=True))
        return f, b, a, be, None, None, v, None, grad_kept if ctx.keep else None, *([None] * 12)

    return differentiate


def _define(name: str) -> Callable[..., tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
    """The operator of this name, its name_backward, and its name_map, which is returned with its derivatives.

    name_map joins what the operator sums into a map, and is differentiated as one: between the two there are
    float32 cells, whose gradient would have to be float32 too, for its whole way through the backward.
    """
    backward, whole = f"{name}_backward", f"{name}_map"
    for each, schema, fake in (
        (name, interface.ATTEND, _attend_fake),
        (backward, interface.ATTEND_BACKWARD, _attend_backward_fake),
        (whole, interface.ATTEND_MAP, _attend_map_fake),
    ):
        _library.define(each + schema)
        torch.library.register_fake(f"{NAMESPACE}::{each}", fake, lib=_library)
    operators = torch.ops.contextual_attention
    attend = getattr(operators, name).default

    # Where kernels have not registered for the whole as well.
    def attend_map(*inputs):
        *operands, weight, kept = inputs[:9]
        *options, keep, cell, height, width = inputs[9:]
        cells, offsets, statistics = attend(*operands, *options)
        return paste(cells, weight, kept, keep, cell, height, width), offsets, statistics

    _library.impl(whole, attend_map, "CompositeExplicitAutograd")
    attend_backward = differentiable(
        getattr(operators, backward).default, no_second_derivative, keep_nothing, linear_in=(0,)
    )
    value, kept = 6, 8
    return differentiable(
        getattr(operators, whole).default,
        _differentiate(name, attend_backward),
        _setup_context,
        linear_in=(value, kept),
        derived=1,
    )


def _attend_triton(*arguments):
    from .triton import operator

    return operator.attend(*arguments)


def _attend_triton_backward(*arguments):
    from .triton import operator

    return operator.attend_backward(*arguments)


# Kernels register for "attend" from C++, by device.
attend = _define("attend")
# A device can have Triton's kernels beside those of the extension, so they have names of their own. Triton's
# interpreter, which must be asked for before triton is imported, runs them on the CPU.
attend_triton = _define("attend_triton")
TRITON_DEVICE = "cpu" if os.environ.get("TRITON_INTERPRET") == "1" else "cuda"
_library.impl("attend_triton", _attend_triton, TRITON_DEVICE.upper())
_library.impl("attend_triton_backward", _attend_triton_backward, TRITON_DEVICE.upper())
