"""What the operator (operators.py) takes of maps and masks: by tensor code or, where there are, by kernels.

The kernels are CUDA's (csrc/cuda/map_features.cpp), a few in the place of dozens: a small map takes as long
on a GPU as its launches do.

Shape legend: as in positions.py; hb, wb the downscaled background.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from . import cells, positions
from .derivatives import by_samples, differentiable, keep_nothing, no_second_derivative
from .interface import (
    FLAG_POSITIONS,
    TAKE_FEATURES,
    TAKE_FEATURES_BACKWARD,
    Flagging,
    Maps,
    MapSizes,
    TakenGradients,
    Taking,
    Wanted,
)
from .operators import NAMESPACE
from .options import Options

_library = torch.library.Library(NAMESPACE, "FRAGMENT")


class Flags(NamedTuple):
    """What a mask says, (B or 1, ...) as the mask."""

    chosen: Tensor  # (h, w) bool: the candidates among the keys, or the queries that attend
    read: Tensor  # (h, w) bool: what their patches are made of (positions.read_by)
    cells: Tensor  # (h + 1, w + 1): of candidates cells.pasted_by, bool; of queries cells.shares, float32


class Features(NamedTuple):
    """What is taken of a foreground and a background."""

    queries: Tensor  # (B, h, w, C)
    keys: Tensor  # (B, hb, wb, C)
    alpha: Tensor | None  # (B, h, w) float32, reciprocal norms of the queries; None: the options want none
    beta: Tensor  # (B, hb, wb) float32, those of the keys
    valid: Tensor | None  # (1, hb, wb) bool, that every key is a candidate; None: flags were given
    weight: Tensor | None  # (1, h + 1, w + 1) float32, cells.shares of all queries; None: flags were given


class Road(NamedTuple):
    """A way to work both out."""

    # Of the mask of a map: those that are `excluded` from the candidates, else those that attend. Without a
    # mask nothing is missing.
    flag: Callable[[Tensor | None, Tensor, bool, Options], Flags]
    take: Callable[[Maps, Options], Features]


# By tensor code


def _flag(mask: Tensor | None, features: Tensor, excluded: bool, options: Options) -> Flags:
    if excluded:
        chosen = positions.validity(mask, features, options)
        which = cells.pasted_by(chosen)
    else:
        chosen = positions.downscale_mask(mask, features, options)
        which = cells.shares(chosen.shape[1:], chosen, options, features)
    return Flags(chosen, positions.read_by(chosen, options), which)


def _take(maps: Maps, options: Options) -> Features:
    foreground, background, asked, read = maps
    source = foreground if background is None else background
    queries = keys = positions.downscale(foreground, asked, options)
    is_one = background is None and asked is None and read is None
    if not is_one:
        keys = positions.downscale(source, read, options)
    beta = positions.reciprocal_norms(keys, options)
    alpha = None
    if options.normalize == "both":
        alpha = beta if is_one else positions.reciprocal_norms(queries, options)
    valid = positions.validity(None, source, options) if read is None else None
    weight = cells.shares(queries.shape[1:3], None, options, foreground) if asked is None else None
    return Features(queries, keys, alpha, beta, valid, weight)


TENSOR_CODE = Road(_flag, _take)

# By operators


def _flag_fake(*arguments):
    (of,) = FLAG_POSITIONS.unpack(arguments)
    h, w = (positions.ceil_div(n, of.rate) for n in (of.height, of.width))

    def new(*size, dtype):
        return of.mask.new_empty((of.mask.shape[0], *size), dtype=dtype)

    which = torch.bool if of.excludes else torch.float32
    return new(h, w, dtype=torch.bool), new(h, w, dtype=torch.bool), new(h + 1, w + 1, dtype=which)


def _take_fake(*arguments):
    maps, how, wanted = TAKE_FEATURES.unpack(arguments)
    foreground = maps.foreground
    source = foreground if maps.background is None else maps.background
    (batch, channels), size, source_size = foreground.shape[:2], foreground.shape[2:], source.shape[2:]
    h, w, hb, wb = (positions.ceil_div(n, how.rate) for n in (*size, *source_size))
    is_one = maps.background is None and maps.asked is None and maps.read is None

    def new(is_wanted, *shape, dtype=torch.float32):
        return foreground.new_empty(shape if is_wanted else (0,), dtype=dtype)

    return (
        new(True, batch, h, w, channels, dtype=foreground.dtype),
        new(not is_one, batch, hb, wb, channels, dtype=foreground.dtype),
        new(wanted.both and not is_one, batch, h, w),
        new(True, batch, hb, wb),
        new(maps.read is None, 1, hb, wb, dtype=torch.bool),
        new(maps.asked is None, 1, h + 1, w + 1),
    )


def _take_backward_fake(*arguments):
    taken, _, _, maps = TAKE_FEATURES_BACKWARD.unpack(arguments)
    batch, _, _, channels = taken.queries.shape
    sizes = ((maps.height, maps.width), (maps.background_height, maps.background_width))
    return tuple(
        taken.queries.new_empty((batch, channels, *size) if maps.needs >> i & 1 else (0,))
        for i, size in enumerate(sizes)
    )


def _setup_context(ctx, inputs, output):
    maps, ctx.how, _ = TAKE_FEATURES.unpack(inputs)
    *taken, valid, weight = output
    ctx.mark_non_differentiable(valid, weight)
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(*taken, maps.asked, maps.read)
    ctx.is_one = maps.background is None
    source = maps.foreground if ctx.is_one else maps.background
    ctx.sizes = (*maps.foreground.shape[2:], *source.shape[2:])


def _differentiate(take_backward: Callable) -> Callable[..., tuple[Tensor | None, ...]]:
    """The gradients of both maps, by this operator."""

    def differentiate(ctx, *gradients):
        inputs = len(ctx.needs_input_grad)
        # Bit i of `needs` asks for the i-th gradient.
        needs = sum(1 << i for i in range(2) if ctx.needs_input_grad[i])
        # (0,): of what was not wanted.
        of = TakenGradients(*(None if x is None or x.dim() == 1 else x for x in gradients[:4]))
        if not needs or all(gradient is None for gradient in of):
            return (None,) * inputs
        maps = MapSizes(*ctx.sizes, ctx.is_one, needs)
        found = take_backward(*ctx.saved_tensors, *of, *ctx.how, *maps)
        return *(x if needs >> i & 1 else None for i, x in enumerate(found)), *([None] * (inputs - 2))

    return differentiate


def define(suffix: str) -> Road:
    """The operators flag_positions, take_features and take_features_backward, each with this suffix."""
    flag_name, take_name = f"flag_positions{suffix}", f"take_features{suffix}"
    for name, operator, fake in (
        (flag_name, FLAG_POSITIONS, _flag_fake),
        (take_name, TAKE_FEATURES, _take_fake),
        (f"{take_name}_backward", TAKE_FEATURES_BACKWARD, _take_backward_fake),
    ):
        _library.define(name + operator.schema)
        torch.library.register_fake(f"{NAMESPACE}::{name}", fake, lib=_library)
    operators = torch.ops.contextual_attention
    flag_positions = getattr(operators, flag_name).default

    def flag_samples(info, in_dims, *inputs):
        return by_samples(flag_positions, info.batch_size, in_dims, inputs)

    torch.library.register_vmap(f"{NAMESPACE}::{flag_name}", flag_samples, lib=_library)
    take_backward = differentiable(
        getattr(operators, f"{take_name}_backward").default,
        no_second_derivative,
        keep_nothing,
        linear_in=TAKE_FEATURES_BACKWARD.places(*TakenGradients._fields),
    )
    take_features = differentiable(
        getattr(operators, take_name).default, _differentiate(take_backward), _setup_context, linear_in=()
    )
    return Road(_flag_by(flag_positions), _take_by(take_features))


def _flag_by(flag_positions: Callable) -> Callable:
    def flag(mask: Tensor | None, features: Tensor, excluded: bool, options: Options) -> Flags:
        if mask is None:
            return _flag(mask, features, excluded, options)
        before = options.propagates and options.propagation == "before"
        of = Flagging(
            mask=mask.detach() if mask.requires_grad else mask,
            height=features.shape[2],
            width=features.shape[3],
            rate=options.rate,
            aligned=options.downscale == "aligned",
            sampled=options.mask_downscale == "sampled",
            ksize=options.ksize,
            stride=options.stride,
            taps=options.fuse_k if before else 1,
            wrap=options.boundary == "wrap",
            excludes=excluded,
            mean=options.overlap == "mean",
        )
        return Flags(*flag_positions(*of))

    return flag


def _take_by(take_features: Callable) -> Callable:
    def take(maps: Maps, options: Options) -> Features:
        both = options.normalize == "both"
        how = Taking(
            rate=options.rate,
            aligned=options.downscale == "aligned",
            ksize=options.ksize,
            eps=float(options.eps),
            adds_eps=options.eps_mode == "sum",
        )
        wanted = Wanted(both, options.overlap == "mean")
        queries, keys, alpha, beta, valid, weight = take_features(*maps, *how, *wanted)
        if maps.background is None and maps.asked is None and maps.read is None:
            keys, alpha = queries, beta
        return Features(
            queries,
            keys,
            alpha if both else None,
            beta,
            valid if maps.read is None else None,
            weight if maps.asked is None else None,
        )

    return take


KERNELS = define("")
