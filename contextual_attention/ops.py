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
from .derivatives import differentiable

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


def _differentiate(attend_backward: Callable) -> Callable[..., tuple[torch.Tensor | None, ...]]:
    """The gradient of attend, by this operator."""

    def differentiate(ctx, grad_cells, _grad_offsets, _grad_statistics):
        *operands, statistics = ctx.saved_tensors
        foreground, background, alpha, beta, valid, selected, value = range(7)
        wanted = [ctx.needs_input_grad[i] for i in (foreground, background, alpha, beta, value)]
        # Bit i of `needs` asks for the i-th gradient of attend_backward.
        needs = sum(1 << i for i, want in enumerate(wanted) if want)
        gradients = attend_backward(
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


def _keep_nothing(ctx, inputs, output):
    """The second derivative is an error, whatever it is of."""


def _define(name: str) -> Callable[..., tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
    """The operator of this name, and its backward, name_backward; returns it with its derivatives."""
    backward = f"{name}_backward"
    for each, schema, fake in (
        (name, interface.ATTEND, _attend_fake),
        (backward, interface.ATTEND_BACKWARD, _attend_backward_fake),
    ):
        _library.define(each + schema)
        torch.library.register_fake(f"{NAMESPACE}::{each}", fake, lib=_library)
    operators = torch.ops.contextual_attention
    # Without an error the second derivative would silently be zero.
    attend_backward = differentiable(
        getattr(operators, backward).default, _no_second_derivative, _keep_nothing, linear_in=(0,)
    )
    value = 6
    return differentiable(
        getattr(operators, name).default,
        _differentiate(attend_backward),
        _setup_context,
        linear_in=(value,),
        derived=1,
    )


def _attend_triton(*arguments):
    from .triton import operator

    return operator.attend(*arguments)


def _attend_triton_backward(*arguments):
    from .triton import operator

    return operator.attend_backward(*arguments)


# Kernels register for these from C++, by device.
attend = _define("attend")
# A device can have Triton's kernels beside those of the extension, so they have names of their own. Triton's
# interpreter, which must be asked for before triton is imported, runs them on the CPU.
attend_triton = _define("attend_triton")
TRITON_DEVICE = "cpu" if os.environ.get("TRITON_INTERPRET") == "1" else "cuda"
_library.impl("attend_triton", _attend_triton, TRITON_DEVICE.upper())
_library.impl("attend_triton_backward", _attend_triton_backward, TRITON_DEVICE.upper())
