"""Operators that every way of differentiating goes through: autograd, forward mode and torch.func.

What torch.library.register_autograd gives an operator is reverse mode alone: under forward mode it drops the
tangents silently, and torch.func's transforms refuse it. There an operator is called as an autograd.Function
instead, which has a rule for each.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

# Of torch.library and torch.autograd.Function: (ctx, inputs, output), and (ctx, *gradients) -> gradients.
SetupContext = Callable[[Any, tuple, Any], None]
Backward = Callable[..., Any]


def differentiable(
    operator: Callable,
    backward: Backward,
    setup_context: SetupContext,
    *,
    linear_in: tuple[int, ...],
    derived: int | None = None,
) -> Callable:
    """An operator with its derivatives, to be called like it.

    Args:
        operator: Of the kind that torch.library defines. Its first argument has the samples as its first
            dimension; so has every other tensor, or one sample for all, but those of one dimension, which
            hold indices. Samples do not depend on each other.
        backward, setup_context: As torch.library.register_autograd takes them, which they are given to.
        linear_in: The arguments that it is linear in, all together: their tangents are pushed forward.
        derived: How many outputs, the first ones, have derivatives. Default: all.
    """
    torch.library.register_autograd(operator, backward, setup_context=setup_context)

    class Differentiable(torch.autograd.Function):
        @staticmethod
        def forward(*inputs):
            return operator(*inputs)

        @staticmethod
        def setup_context(ctx, inputs, output):
            setup_context(ctx, inputs, output)
            # Else an argument without a tangent could not be told from one whose tangent is 0.
            ctx.set_materialize_grads(False)
            ctx.save_for_forward(*(x for x in inputs if isinstance(x, Tensor)))
            ctx.inputs = tuple(_SAVED if isinstance(x, Tensor) else x for x in inputs)

        @staticmethod
        def backward(ctx, *gradients):
            return backward(ctx, *gradients)

        @staticmethod
        def jvp(ctx, *tangents):
            saved = iter(ctx.saved_tensors)
            inputs = [next(saved) if x is _SAVED else x for x in ctx.inputs]
            for i, tangent in enumerate(tangents):
                if i in linear_in and inputs[i] is not None:
                    inputs[i] = torch.zeros_like(inputs[i]) if tangent is None else tangent
                elif tangent is not None:
                    raise NotImplementedError(_NO_FORWARD_MODE)
            output = Differentiable.apply(*inputs)
            if isinstance(output, Tensor):
                return output
            return tuple(x if derived is None or i < derived else None for i, x in enumerate(output))

        @staticmethod
        def vmap(info, in_dims, *inputs):
            return by_samples(Differentiable.apply, info.batch_size, in_dims, inputs)

    def run(*inputs):
        with torch._C._AutoDispatchBelowAutograd():
            return operator(*inputs)

    class ReverseMode(torch.autograd.Function):
        @staticmethod
        def forward(ctx, *inputs):
            output = run(*inputs)
            setup_context(ctx, inputs, output)
            return output

        @staticmethod
        def backward(ctx, *gradients):
            return backward(ctx, *gradients)

    # Its backward bears the operator's name, in profiles and errors.
    named = type(ReverseMode)(_name(operator), (ReverseMode,), {})

    def call(*inputs):
        if _is_transformed():
            return Differentiable.apply(*inputs)
        # Those who record calls are to find the operator.
        if torch.compiler.is_compiling() or torch.jit.is_tracing():
            return operator(*inputs)
        # What is registered for autograd does the same, and takes longer than a few kernels.
        return (named.apply if _asks_for_gradients(inputs) else run)(*inputs)

    return call


def no_second_derivative(ctx, *_gradients):
    """The backward of a gradient: without an error its derivative would silently be zero."""
    raise NotImplementedError(
        "contextual_attention: the fused kernels have no second derivative; "
        'pass backend="reference" to differentiate twice'
    )


def keep_nothing(ctx, inputs, output):
    """The second derivative is an error, whatever it is of."""


def in_forward_mode() -> bool:
    """Whether derivatives are pushed forward, by torch.func.jvp, jacfwd or torch.autograd.forward_ad."""
    return forward_ad._current_level >= 0


def _is_transformed() -> bool:
    """Whether more than reverse mode is wanted; applying a Function takes longer than some operators do."""
    transformed = in_forward_mode() or torch._C._are_functorch_transforms_active()
    if transformed and torch.compiler.is_compiling():
        # Without fullgraph=True the compiler takes this for a part that it must run as it is.
        raise NotImplementedError(_NOT_COMPILED)
    return transformed


def _name(operator: Callable) -> str:
    overload = getattr(operator, "_opoverload", operator)  # of torch.library.custom_op
    return overload._schema.name.partition("::")[2]


def _asks_for_gradients(inputs: tuple) -> bool:
    # Within inference mode gradients may be enabled again: nothing records them all the same.
    records = torch.is_grad_enabled() and not torch.is_inference_mode_enabled()
    return records and any(isinstance(x, Tensor) and x.requires_grad for x in inputs)


_SAVED = object()
_NO_FORWARD_MODE = (
    "contextual_attention: the fused kernels have no forward-mode derivative with respect to foreground and "
    'background; pass backend="reference", or use reverse mode (torch.func.vjp, jacrev)'
)
_NOT_COMPILED = (
    "contextual_attention: a graph cannot hold torch.func's transforms or forward mode of the fused kernels; "
    'transform what torch.compile returns, or pass backend="reference"'
)


def by_samples(apply: Callable, size: int, in_dims: tuple[int | None, ...], inputs: tuple) -> tuple:
    """The rule of torch.func.vmap: `size` batches as one large one. Outputs and their dimensions."""
    first, dim = inputs[0], in_dims[0]
    samples = first.shape[0] if dim is None else first.movedim(dim, 0).shape[1]

    def fold(x, dim):
        if not isinstance(x, Tensor) or x.dim() == 1:
            return x
        x = x.expand(size, *x.shape) if dim is None else x.movedim(dim, 0)
        return x.expand(-1, samples, *x.shape[2:]).flatten(0, 1)

    def unfold(x):
        # (0,) stands for what was not asked for; what all samples share all batches share.
        if x.dim() == 1 or x.shape[0] != size * samples:
            return x, None
        return x.unflatten(0, (size, samples)), 0

    output = apply(*map(fold, inputs, in_dims))
    if isinstance(output, Tensor):
        return unfold(output)
    return tuple(zip(*map(unfold, output), strict=True))
