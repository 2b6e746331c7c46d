"""How two results are compared, and how far apart they may be."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple
from unittest import mock

import torch
from torch import Tensor

from contextual_attention import contextual_attention, reference
from contextual_attention.testing import options_of

OPERANDS = ("foreground", "background", "value")
# A float32 logit of up to about 30 is off by a few times 2**-24 of that, after products, filters and norms.
# The softmax makes it a relative error of the weights, and most of it averages out in the sums that follow.
FORWARD = 2e-6
# Gradients are products of those weights with a second chain of the same depth: the dense float32 formula
# itself is off by up to 1e-5.
GRADIENT = 2e-5
# dL = A (dA - sum A dA) cancels: where the softmax is sure of itself, or all values are alike, nothing is
# left of dA = <upstream, V> but its rounding, 2**-24 of |upstream| |V|, and the slope of the logits carries
# that on.
SHARE = 2**-24
# Products that are off by two units in the last place (roads.py), in both passes that a background in several
# pieces takes, move a weight against the sum of its row by this, at a logit of 30.
ROUNDED_OTHERWISE = 30 * 2 * 2 * 2**-23

# Weights that differ by no more than this share are a tie.
NEAR_TIE = 1e-4

Problem = dict[str, Any]
Solution = tuple[Tensor, Tensor, dict[str, Tensor]]


def solve(problem: Problem, backend: str, **keywords: Any) -> Solution:
    """Output, offsets and the gradients of the operands that require one, for a fixed upstream gradient."""
    output, offsets = contextual_attention(**problem, backend=backend, return_offsets=True, **keywords)
    return output.detach(), offsets, gradients(problem, output)


def gradients(problem: Problem, output: Tensor) -> dict[str, Tensor]:
    leaves = {
        name: problem[name] for name in OPERANDS if problem[name] is not None and problem[name].requires_grad
    }
    if not leaves:
        return {}
    found = torch.autograd.grad(output, list(leaves.values()), upstream(output))
    return dict(zip(leaves, found, strict=True))


def upstream(output: Tensor) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(output.shape, generator=generator).to(output)


def in_dtype(problem: Problem, dtype: torch.dtype) -> Problem:
    """The same numbers in another dtype, as new leaves."""
    return {
        name: x.detach().to(dtype).requires_grad_(x.requires_grad)
        if name in OPERANDS and x is not None
        else x
        for name, x in problem.items()
    }


def final_weights(problem: Problem) -> Tensor:
    """The reference's weights over all candidates, in float64: (B, h, w, hs, ws)."""
    options = options_of(problem)
    f, b = (problem[name].detach().double() for name in ("foreground", "background"))
    selected = reference.select(problem["foreground_mask"], f.shape[-2:], options)
    return reference.final_weights(f, b, problem["mask"], selected, options)


def distance(x: Tensor, y: Tensor) -> float:
    """||x - y||, inf if x is not finite: a NaN compares as too far, never as near."""
    difference = (x.double() - y.double()).norm().item()
    return difference if difference < float("inf") else float("inf")


def assert_near(name: str, x: Tensor, exact: Tensor, relative: float, absolute: float = 0.0) -> None:
    assert x.shape == exact.shape, f"{name}: shape {tuple(x.shape)}, expected {tuple(exact.shape)}"
    error, norm = distance(x, exact), exact.double().norm().item()
    allowed = relative * norm + absolute
    assert error <= allowed, f"{name}: error {error:.2e} of norm {norm:.2e}, allowed {allowed:.2e}"


class Bound(NamedTuple):
    """How far from an exact result y another one may be: ||x - y|| <= relative ||y|| + absolute."""

    relative: float
    absolute: float = 0.0

    def of(self, exact: Tensor) -> float:
        return self.relative * exact.double().norm().item() + self.absolute


def output_bound(problem: Problem, rounding: float = 0.0) -> Bound:
    """`rounding`: ROUNDED_OTHERWISE on a road where products are perturbed."""
    steep = steepness(problem)
    # The product, both norms and the scale round a logit; in a map of a few pixels nothing averages that out.
    steeper = 4 * 2**-24 * 30 * steep if steep > 1 else FORWARD
    return Bound(steeper + steep * rounding)


def gradient_bounds(problem: Problem, names: Iterable[str], rounding: float = 0.0) -> dict[str, Bound]:
    """`rounding`: as for the output."""
    steep = steepness(problem)
    # Two passes then make the same dA, and its weights, differently.
    share = SHARE + steep * rounding / 30
    return {name: Bound(steep * (GRADIENT + rounding), share * cancelled(problem, name)) for name in names}


def saturated_bounds(
    problem: Problem, names: Iterable[str], roundings: int = 1
) -> tuple[Bound, dict[str, Bound]]:
    """Of output and gradients where most rows have a single weight, products being so many roundings off.

    Gradients of such rows cancel but for the roundings of dA, however large the logits are. The output of a
    forward in several blocks is off by those of the logits: the weights of one pass over the sums of another.
    """
    steep = steepness(problem)
    slopes = {name: Bound(steep * GRADIENT, roundings * SHARE * cancelled(problem, name)) for name in names}
    return Bound(roundings * steep * FORWARD), slopes


def half_bound(dtype: torch.dtype, eager: Tensor, exact: Tensor) -> Bound:
    """No worse than twice the dense formula computed in that dtype, or than rounding the result to it."""
    rounding = torch.finfo(dtype).eps / 2
    error = distance(eager, exact)
    # Where eager half precision overflows, a few roundings of the result.
    return Bound(rounding, 2 * error if error < float("inf") else 4 * rounding * exact.norm().item())


def solve_eagerly(problem: Problem) -> Solution:
    """By the dense formula with every step in the problem's dtype."""
    with mock.patch.object(reference, "widen", lambda x: x):
        return solve(problem, "reference")


def assert_gradients_near(
    problem: Problem,
    found: dict[str, Tensor],
    exact: dict[str, Tensor],
    rounding: float = 0.0,
) -> None:
    """`rounding`: as for the bounds."""
    _assert_gradients_within(gradient_bounds(problem, exact, rounding), found, exact)


def assert_output_near(problem: Problem, output: Tensor, exact: Tensor, rounding: float = 0.0) -> None:
    """`rounding`: as for the bounds."""
    assert_near("output", output, exact, *output_bound(problem, rounding))


def assert_solved(problem: Problem, found: Solution, exact: Solution, rounding: float = 0.0) -> None:
    """All that `solve` gives; `rounding`: as for the bounds."""
    output, offsets, slopes = found
    assert_output_near(problem, output, exact[0], rounding)
    assert_gradients_near(problem, slopes, exact[2], rounding)
    assert_offsets_reach_the_top(problem, offsets, steepness(problem) * NEAR_TIE)


def assert_saturated(problem: Problem, found: Solution, exact: Solution, roundings: int = 1) -> None:
    """As `assert_solved`, by `saturated_bounds`."""
    output, slopes = saturated_bounds(problem, exact[2], roundings)
    assert_near("output", found[0], exact[0], *output)
    _assert_gradients_within(slopes, found[2], exact[2])


def assert_half_solved(problem: Problem, found: Solution, exact: Solution, eager: Solution) -> None:
    """Output and gradients of a problem in half precision; `eager`: of the dense formula in its dtype."""
    dtype = problem["foreground"].dtype
    assert found[0].dtype == dtype
    assert_near("output", found[0], exact[0], *half_bound(dtype, eager[0], exact[0]))
    assert found[2].keys() == exact[2].keys()
    for name, gradient in exact[2].items():
        assert found[2][name].dtype == dtype
        # As in float32: what is left where dA - sum A dA cancels, and eager half precision happens on a zero.
        relative, absolute = half_bound(dtype, eager[2][name], gradient)
        left = SHARE * cancelled(problem, name)
        assert_near(f"gradient of {name}", found[2][name], gradient, relative, absolute + left)


def _assert_gradients_within(
    bounds: dict[str, Bound], found: dict[str, Tensor], exact: dict[str, Tensor]
) -> None:
    assert found.keys() == exact.keys()
    for name, gradient in exact.items():
        assert_near(f"gradient of {name}", found[name], gradient, *bounds[name])


def steepness(problem: Problem) -> float:
    """How much looser a bound is where logits are larger than the 30 that it is set for.

    A relative error of a logit is an absolute one of its size, which the softmax makes a relative error of a
    weight. The largest weight of a row hides it in the output, unless "multiply" puts invalid ones above it.
    """
    options = options_of(problem)
    f, b = (problem[name].detach().double() for name in ("foreground", "background"))
    patches = reference.foreground_patches(f, options), reference.background_patches(b, options)
    s = reference.similarity(*patches, options)
    if options.fuse and options.propagation == "before":
        s = reference.propagate(s, options)
    return max(1.0, options.softmax_scale * s.abs().max().item() / 30) if s.numel() else 1.0


def cancelled(problem: Problem, name: str) -> float:
    """The size of what cancels in a gradient: |upstream| |V| times how steeply logits depend on the operand.

    V is the patch of the value that dA is a product with. The value's own gradient is a plain product.
    """
    value = problem["background"] if problem["value"] is None else problem["value"]
    resolution = value.shape[-2] // problem["background"].shape[-2]
    patch = value.shape[1] * (2 * problem["rate"] * resolution) ** 2
    pasted = value.shape[1] * resolution**2 * problem["foreground"][:, 0].numel()
    upstream_norm = pasted**0.5  # of independent entries of unit size
    if name == "value":
        return upstream_norm
    own = upstream_norm if problem["value"] is None and name == "background" else 0.0
    return own + upstream_norm * patch**0.5 * _rms(value) * _slope(problem, name)


def _slope(problem: Problem, name: str) -> float:
    """The most that a logit changes with a patch: the direct term and the one through the norm cancel."""
    options = options_of(problem)
    f, b = (problem[each].detach().double() for each in ("foreground", "background"))
    if not f.numel():
        return 0.0
    patches = reference.foreground_patches(f, options), reference.background_patches(b, options)
    own, other = (reference.norm(x, options) for x in (patches if name == "foreground" else patches[::-1]))
    if options.normalize == "both":
        return options.softmax_scale / own.min().item()
    return options.softmax_scale * (1.0 if name == "foreground" else (other.max() / own.min()).item())


def _rms(x: Tensor) -> float:
    return x.detach().double().square().mean().sqrt().item() if x.numel() else 0.0


def assert_offsets_reach_the_top(problem: Problem, offsets: Tensor, relative: float = NEAR_TIE) -> None:
    """Near-ties differ between backends, so it is the weight reached that counts, not where."""
    weights, stride = final_weights(problem), options_of(problem).stride
    batch, h, w, hs, ws = weights.shape
    assert offsets.shape == (batch, 2, h, w)
    assert offsets.dtype == torch.int64
    heaviest = weights.flatten(3).amax(-1)
    # Float32 flushes weights that float64 still holds.
    lost = (heaviest < 1e-30) & (offsets == 0).all(1)
    row = torch.arange(h)[:, None] + offsets[:, 0]
    column = torch.arange(w) + offsets[:, 1]
    inside = (row >= 0) & (row < hs * stride) & (column >= 0) & (column < ws * stride)
    assert (inside | lost).all(), "an offset leads outside the background"
    assert (((row % stride == 0) & (column % stride == 0)) | lost).all(), "an offset leads off the grid"
    candidate = (row // stride * ws + column // stride).masked_fill(lost, 0)
    reached = weights.flatten(3).gather(3, candidate[..., None])[..., 0]
    assert ((reached >= heaviest * (1 - relative)) | lost).all(), "an offset misses the heaviest patch"
    assert (offsets.abs().sum(1)[heaviest == 0] == 0).all(), "an offset of a row without weights is not 0"
