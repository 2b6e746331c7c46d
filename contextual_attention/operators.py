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

from .cells import lift, paste
from .derivatives import differentiable, keep_nothing, no_second_derivative
from .interface import ATTEND, ATTEND_BACKWARD, ATTEND_MAP, Gradient, Operands

NAMESPACE = "contextual_attention"

_library = torch.library.Library(NAMESPACE, "DEF")


def _check_devices(given, group):
    """As csrc/common/call.cpp does: of tensors on several devices some may be on "meta", which comes here."""
    for name, x in zip(group._fields, group, strict=True):
        if isinstance(x, torch.Tensor) and x.device != given.foreground.device:
            raise RuntimeError(f"contextual_attention: {name} must be on the device of foreground")


def _attend_fake(*arguments):
    given, _, how = ATTEND.unpack(arguments)
    _check_devices(given, given)
    batch, h, w, _ = given.foreground.shape
    cells = given.value.new_empty((batch, h + 1, w + 1, given.value.shape[3]), dtype=torch.float32)
    return cells, *_rows_fake(given, how)


def _attend_map_fake(*arguments):
    given, pasting, _, how = ATTEND_MAP.unpack(arguments)
    _check_devices(given, given)
    _check_devices(given, pasting)
    channels = given.value.shape[3] // pasting.cell**2
    size = given.foreground.shape[0], channels, pasting.height, pasting.width
    return pasting.kept.new_empty(size), *_rows_fake(given, how)


def _rows_fake(given, how):
    batch, h, w, _ = given.foreground.shape
    offsets = given.foreground.new_empty((batch, 2, h, w) if how.return_offsets else (0,), dtype=torch.int64)
    return offsets, given.foreground.new_empty((batch, 3, h, w), dtype=torch.float32)


def _attend_backward_fake(*arguments):
    given, _, of = ATTEND_BACKWARD.unpack(arguments)
    _check_devices(given, given)
    _check_devices(given, of)
    inputs = (given.foreground, given.background, given.alpha, given.beta, given.value)
    return tuple(
        torch.empty_like(x, memory_format=torch.contiguous_format)
        if of.needs >> i & 1
        else given.foreground.new_empty((0,), dtype=given.foreground.dtype if x is None else x.dtype)
        for i, x in enumerate(inputs)
    )


def _setup_context(ctx, inputs, output):
    given, pasting, ctx.scoring, how = ATTEND_MAP.unpack(inputs)
    _, offsets, statistics = output
    ctx.mark_non_differentiable(offsets, statistics)
    ctx.save_for_backward(*given, pasting.weight, statistics)
    ctx.workspace, ctx.keep, ctx.cell = how.workspace, pasting.keep, pasting.cell


# Which arguments of the map have gradients: those that attend_backward gives, and what is kept.
_LEARNING = ATTEND_MAP.places("foreground", "background", "alpha", "beta", "value")
(_KEPT,) = ATTEND_MAP.places("kept")


def _differentiate(
    attend_backward: Callable, widens: str | None
) -> Callable[..., tuple[torch.Tensor | None, ...]]:
    """The gradient of the map, by this operator; `widens`: see `define`."""

    def differentiate(ctx, grad_map, _grad_offsets, _grad_statistics):
        *operands, weight, statistics = ctx.saved_tensors
        given = Operands(*operands)
        # Bit i of `needs` asks for the i-th gradient of attend_backward.
        needs = sum(1 << i for i, place in enumerate(_LEARNING) if ctx.needs_input_grad[place])
        _, h, w, _ = given.foreground.shape
        wide = grad_map.device.type == widens
        grad_cells, grad_kept = lift(grad_map, weight, ctx.keep, ctx.cell, h + 1, w + 1, wide)
        of = Gradient(grad_cells, statistics, needs, ctx.workspace)
        gradients: list[torch.Tensor | None] = [None] * len(ctx.needs_input_grad)
        for i, gradient in enumerate(attend_backward(*given, *ctx.scoring, *of)):
            if needs >> i & 1:
                gradients[_LEARNING[i]] = gradient
        gradients[_KEPT] = grad_kept if ctx.keep else None
        return tuple(gradients)

    return differentiate


def define(
    name: str, widens: str | None = None
) -> Callable[..., tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
    """The operator of this name, its name_backward, and its name_map, which is returned with its derivatives.

    name_map joins what the operator sums into a map, and is differentiated as one: between the two there are
    float32 cells, whose gradient would have to be float32 too, for its whole way through the backward.

    Args:
        widens: The type of device whose kernels take that gradient in float32; others in the value's dtype.
    """
    backward, whole = f"{name}_backward", f"{name}_map"
    for each, operator, fake in (
        (name, ATTEND, _attend_fake),
        (backward, ATTEND_BACKWARD, _attend_backward_fake),
        (whole, ATTEND_MAP, _attend_map_fake),
    ):
        _library.define(each + operator.schema)
        torch.library.register_fake(f"{NAMESPACE}::{each}", fake, lib=_library)
    operators = torch.ops.contextual_attention
    attend = getattr(operators, name).default

    # Where kernels have not registered for the whole as well.
    def attend_map(*arguments):
        given, pasting, scoring, how = ATTEND_MAP.unpack(arguments)
        cells, offsets, statistics = attend(*given, *scoring, *how)
        return paste(cells, *pasting), offsets, statistics

    _library.impl(whole, attend_map, "CompositeExplicitAutograd")
    attend_backward = differentiable(
        getattr(operators, backward).default,
        no_second_derivative,
        keep_nothing,
        linear_in=ATTEND_BACKWARD.places("grad_cells"),
    )
    return differentiable(
        getattr(operators, whole).default,
        _differentiate(attend_backward, widens),
        _setup_context,
        linear_in=ATTEND_MAP.places("value", "kept"),
        derived=1,
    )


def _attend_triton(*arguments):
    from .triton import operator

    return operator.attend(*arguments)


def _attend_triton_backward(*arguments):
    from .triton import operator

    return operator.attend_backward(*arguments)


# Kernels register for "attend" from C++, by device.
# The CPU's would make float32 of the gradient; a GPU's multiply it by the value.
attend = define("attend", widens="cpu")
# A device can have Triton's kernels beside those of the extension, so they have names of their own. Triton's
# interpreter, which must be asked for before triton is imported, runs them on the CPU.
attend_triton = define("attend_triton")
TRITON_DEVICE = "cpu" if os.environ.get("TRITON_INTERPRET") == "1" else "cuda"
_library.impl("attend_triton", _attend_triton, TRITON_DEVICE.upper())
_library.impl("attend_triton_backward", _attend_triton_backward, TRITON_DEVICE.upper())
