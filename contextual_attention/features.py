"""What the operator (ops.py) takes of both maps: their pixels and norms, and what is known without masks.

By tensor code, or by an operator with kernels of its own, which a GPU has (csrc/cuda/glue.cpp): there a small
map takes as long as its launches do.

Shape legend: as in positions.py; hb, wb the downscaled background.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from . import cells, interface, positions
from .derivatives import differentiable, no_second_derivative
from .options import Options

_library = torch.library.Library("contextual_attention", "FRAGMENT")


class Features(NamedTuple):
    """Of a foreground and a background."""

    queries: Tensor  # (B, h, w, C)
    keys: Tensor  # (B, hb, wb, C)
    alpha: Tensor | None  # (B, h, w) float32, the reciprocal norms of the queries; None: options divide by none
    beta: Tensor  # (B, hb, wb) float32, those of the keys
    valid: Tensor | None  # (1, hb, wb) bool, every position; None: masks tell
    weight: Tensor | None  # (1, h + 1, w + 1) float32, the shares (cells.py) of all patches; None: masks tell


# Foreground, background (None: it is the foreground), which positions of each are read, (B or 1, h, w) and
# (B or 1, hb, wb) bool (None: all), options.
Take = Callable[[Tensor, Tensor | None, Tensor | None, Tensor | None, Options], Features]


def by_tensor_code(
    foreground: Tensor,
    background: Tensor | None,
    asked: Tensor | None,
    read: Tensor | None,
    options: Options,
) -> Features:
    source = foreground if background is None else background
    queries = positions.downscale(foreground, asked, options)
    is_one = background is None and asked is None and read is None
    keys = queries if is_one else positions.downscale(source, read, options)
    beta = positions.reciprocal_norms(keys, options)
    alpha = None
    if options.normalize == "both":
        alpha = beta if is_one else positions.reciprocal_norms(queries, options)
    valid = positions.validity(None, source, options) if read is None else None
    weight = cells.shares(queries.shape[1:3], None, options, foreground) if asked is None else None
    return Features(queries, keys, alpha, beta, valid, weight)


def _fake(foreground, background, asked, read, rate, aligned, ksize, eps, adds_eps, both, mean):
    source = foreground if background is None else background
    (batch, channels), size, source_size = foreground.shape[:2], foreground.shape[2:], source.shape[2:]
    h, w, hb, wb = (positions.ceil_div(n, rate) for n in (*size, *source_size))
    is_one = background is None and asked is None and read is None

    def new(wanted, *shape, dtype=torch.float32):
        return foreground.new_empty(shape if wanted else (0,), dtype=dtype)

    return (
        new(True, batch, h, w, channels, dtype=foreground.dtype),
        new(not is_one, batch, hb, wb, channels, dtype=foreground.dtype),
        new(both and not is_one, batch, h, w),
        new(True, batch, hb, wb),
        new(read is None, 1, hb, wb, dtype=torch.bool),
        new(asked is None, 1, h + 1, w + 1),
    )


def _backward_fake(
    queries, keys, alpha, beta, asked, read, grad_queries, grad_keys, grad_alpha, grad_beta,
    rate, aligned, ksize, eps, adds_eps, height, width, background_height, background_width, one_map, needs,
):  # fmt: skip
    sizes = ((height, width), (background_height, background_width))
    return tuple(
        queries.new_empty((queries.shape[0], queries.shape[3], *size) if needs >> i & 1 else (0,))
        for i, size in enumerate(sizes)
    )


def _setup_context(ctx, inputs, output):
    foreground, background, asked, read, *ctx.options, _, _ = inputs
    queries, keys, alpha, beta, valid, weight = output
    ctx.mark_non_differentiable(valid, weight)
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(queries, keys, alpha, beta, asked, read)
    ctx.one_map = background is None
    ctx.sizes = (*foreground.shape[2:], *(foreground if background is None else background).shape[2:])


def define(name: str) -> Take:
    """The operator of this name and its name_backward, to be called as `by_tensor_code` is."""
    for each, schema, fake in (
        (name, interface.TAKE_FEATURES, _fake),
        (f"{name}_backward", interface.TAKE_FEATURES_BACKWARD, _backward_fake),
    ):
        _library.define(each + schema)
        torch.library.register_fake(f"contextual_attention::{each}", fake, lib=_library)
    operators = torch.ops.contextual_attention

    def keep_nothing(ctx, inputs, output):
        """The second derivative is an error, whatever it is of."""

    take_backward = differentiable(
        getattr(operators, f"{name}_backward").default,
        no_second_derivative,
        keep_nothing,
        linear_in=(6, 7, 8, 9),
    )

    def differentiate(ctx, *gradients):
        # Bit i of `needs` asks for the i-th gradient.
        needs = sum(1 << i for i in range(2) if ctx.needs_input_grad[i])
        if not needs or all(gradient is None for gradient in gradients[:4]):
            return (None,) * 11
        found = take_backward(*ctx.saved_tensors, *gradients[:4], *ctx.options, *ctx.sizes, ctx.one_map, needs)
        return *(x if needs >> i & 1 else None for i, x in enumerate(found)), *([None] * 9)

    operator = differentiable(
        getattr(operators, name).default, differentiate, _setup_context, linear_in=(), derived=4
    )

    def take(foreground, background, asked, read, options):
        both = options.normalize == "both"
        queries, keys, alpha, beta, valid, weight = operator(
            foreground,
            background,
            asked,
            read,
            options.rate,
            options.downscale == "aligned",
            options.ksize,
            float(options.eps),
            options.eps_mode == "sum",
            both,
            options.overlap == "mean",
        )
        is_one = background is None and asked is None and read is None
        norms = beta if is_one else alpha
        return Features(
            queries,
            queries if is_one else keys,
            norms if both else None,
            beta,
            valid if read is None else None,
            weight if asked is None else None,
        )

    return take


take = define("take_features")
