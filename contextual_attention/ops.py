"""The fused operator as PyTorch sees it: the schemas of interface.py, fake implementations, autograd.

The kernels register themselves from C++ (``csrc/ops.cpp``) under what is defined here, so every backend
shares one definition and a build without one of them still imports.

Shape legend: as in interface.py.
"""

from __future__ import annotations

import os
from collections.abc import Callable

import torch

from . import interface

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


def _setup_context(ctx, inputs, output):
    *operands, scale, ksize, stride, fuse_k, propagation, masking, _, workspace = inputs
    cells, offsets, statistics = output
    ctx.mark_non_differentiable(offsets, statistics)
    ctx.save_for_backward(*operands, statistics)
    ctx.options = (scale, ksize, stride, fuse_k, propagation, masking)
    ctx.workspace = workspace


def _differentiate(backward: str) -> Callable[..., tuple[torch.Tensor | None, ...]]:
    """The gradient of attend, by the operator of this name."""

    def differentiate(ctx, grad_cells, _grad_offsets, _grad_statistics):
        *operands, statistics = ctx.saved_tensors
        foreground, background, alpha, beta, valid, selected, value = range(7)
        wanted = [ctx.needs_input_grad[i] for i in (foreground, background, alpha, beta, value)]
        # Bit i of `needs` asks for the i-th gradient of attend_backward.
        needs = sum(1 << i for i, want in enumerate(wanted) if want)
        gradients = getattr(torch.ops.contextual_attention, backward)(
            grad_cells.contiguous(), *operands, statistics, *ctx.options, needs, ctx.workspace
        )
        f, b, a, be, v = (x if want else None for x, want in zip(gradients, wanted, strict=True))
        return f, b, a, be, None, None, v, *([None] * 8)

    return differentiate


def _no_second_derivative(ctx, *_gradients):
    raise NotImplementedError(
        "contextual_attention: the fused kernels have no second derivative; "
        'pass backend="reference" to differentiate twice'
    )


def _define(attend: str, backward: str) -> None:
    """An operator and its backward under these names."""
    for name, schema, fake in (
        (attend, interface.ATTEND, _attend_fake),
        (backward, interface.ATTEND_BACKWARD, _attend_backward_fake),
    ):
        _library.define(name + schema)
        torch.library.register_fake(f"{NAMESPACE}::{name}", fake, lib=_library)
    torch.library.register_autograd(
        f"{NAMESPACE}::{attend}", _differentiate(backward), setup_context=_setup_context, lib=_library
    )
    # Without this the second derivative would silently be zero.
    torch.library.register_autograd(f"{NAMESPACE}::{backward}", _no_second_derivative, lib=_library)


def _attend_triton(*arguments):
    from .triton import operator

    return operator.attend(*arguments)


def _attend_triton_backward(*arguments):
    from .triton import operator

    return operator.attend_backward(*arguments)


# Kernels register for these from C++, by device.
_define("attend", "attend_backward")
# A device can have Triton's kernels beside those of the extension, so they have names of their own. Triton's
# interpreter, which must be asked for before triton is imported, runs them on the CPU.
_define("attend_triton", "attend_triton_backward")
TRITON_DEVICE = "cpu" if os.environ.get("TRITON_INTERPRET") == "1" else "cuda"
_library.impl("attend_triton", _attend_triton, TRITON_DEVICE.upper())
_library.impl("attend_triton_backward", _attend_triton_backward, TRITON_DEVICE.upper())
