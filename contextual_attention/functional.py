"""The public functions: what they compute, and who computes it.

Shape legend: B samples; C, Cv feature and value channels; (H, W), (Hb, Wb) foreground and background; (h, w),
(hb, wb) the same downscaled by rate; m the resolution of `value`, j that of a mask, over its map's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, overload

import torch
from torch import Tensor

from . import backends, checks, fused, reference
from .call import Call
from .derivatives import in_forward_mode
from .graphs import has_autocast
from .options import (
    Boundary,
    Downscale,
    EpsMode,
    MaskDownscale,
    Masking,
    Normalize,
    OptionKeywords,
    Options,
    Overlap,
    PropagationOrder,
)

if TYPE_CHECKING:
    from typing_extensions import Unpack

_GIB = 2**30
# Bytes up to which the dense reference is taken unasked.
_DENSE_LIMIT = 2 * _GIB


@overload
def contextual_attention(
    foreground: Tensor,
    background: Tensor,
    mask: Tensor | None = None,
    *,
    value: Tensor | None = None,
    foreground_mask: Tensor | None = None,
    backend: str | None = None,
    workspace: int | None = None,
    return_offsets: Literal[False] = False,
    **options: Unpack[OptionKeywords],
) -> Tensor: ...


@overload
def contextual_attention(
    foreground: Tensor,
    background: Tensor,
    mask: Tensor | None = None,
    *,
    value: Tensor | None = None,
    foreground_mask: Tensor | None = None,
    backend: str | None = None,
    workspace: int | None = None,
    return_offsets: Literal[True],
    **options: Unpack[OptionKeywords],
) -> tuple[Tensor, Tensor]: ...


@overload
def contextual_attention(
    foreground: Tensor,
    background: Tensor,
    mask: Tensor | None = None,
    *,
    value: Tensor | None = None,
    foreground_mask: Tensor | None = None,
    backend: str | None = None,
    workspace: int | None = None,
    return_offsets: bool,
    **options: Unpack[OptionKeywords],
) -> Tensor | tuple[Tensor, Tensor]: ...


def contextual_attention(
    foreground: Tensor,
    background: Tensor,
    mask: Tensor | None = None,
    *,
    value: Tensor | None = None,
    foreground_mask: Tensor | None = None,
    ksize: int = 3,
    stride: int = 1,
    rate: int = 2,
    fuse: bool = True,
    fuse_k: int = 3,
    softmax_scale: float = 10.0,
    normalize: Normalize = "both",
    eps: float = 1e-4,
    eps_mode: EpsMode = "max",
    downscale: Downscale = "strided",
    mask_downscale: MaskDownscale = "any",
    propagation: PropagationOrder = "after",
    boundary: Boundary = "zero",
    masking: Masking = "exclude",
    overlap: Overlap = "mean",
    backend: str | None = None,
    workspace: int | None = None,
    return_offsets: bool = False,
) -> Tensor | tuple[Tensor, Tensor]:
    """Rebuild a feature map from patches of another, weighted by how alike they are.

    The contextual attention of Yu et al. 2018 (arXiv:1801.07892, section 3). With F_p, B_q the ksize x ksize
    patches around position p of the downscaled foreground and q of the downscaled background,

        s[p, q]  = <F_p / |F_p|, B_q / |B_q|>                                       (similarity)
        A[p, q]  = softmax over q of softmax_scale * s[p, q], valid q only          (attention)
        A'[p, q] = sum over i of A[p + i, q + i], i in a fuse_k x fuse_k window     (propagation)
        A"[p, q] = A'[p, q] / sum over valid q of A'[p, q], 0 for an invalid q      (rescaling)
        y        = mean over the patches that overlap of sum over q of A"[p, q] V_q (deconvolution)

    where V_q is the patch of `value` around q, 2 * rate * m pixels wide. A patch q is valid if it touches no
    missing pixel. A position p without any valid q pastes zeros and passes no gradient. Gradients are exact
    and flow to `foreground`, `background` and `value`, through the norms too, each only if asked for.

    The defaults are the paper's equations. Published code differs from them: it leaves the foreground
    unnormalised, propagates similarities before the softmax and over the ends of rows, samples the mask, and
    partly multiplies by the mask and divides overlaps by a constant. ``Options.from_preset`` and
    ``ContextualAttention.from_preset`` hold each of these behaviours, exactly.

    Args:
        foreground: (B, C, H, W), features to rebuild: float32, bfloat16, float16 or float64, in any memory
            layout. B may be 0; every other size is at least 1.
        background: (B, C, Hb, Wb), features to borrow from, of the same dtype and on the same device.
        mask: (B or 1, 1, j * Hb, j * Wb), bool or floating, non-zero = missing, for an integer j >= 1: what
            must not be borrowed from. (The paper's m is 1 - mask.) Default: nothing is missing.
        value: (B, Cv, m * Hb, m * Wb), of the same dtype, for an integer m >= 1: what is pasted.
            Default: ``background``.
        foreground_mask: (B or 1, 1, j * H, j * W), bool or floating: attend for patches centred on a missing
            pixel only. A pixel that none of them covers keeps ``foreground`` if m = 1 and Cv = C, else it
            is 0. Default: every patch.
        ksize: Side of the patches that are compared, in downscaled pixels; odd, 1 to 255. Default 3.
        stride: Step of the grid of background patches, and of the propagation, in downscaled pixels; 1 to
            256. Default 1.
        rate: Factor by which the maps are downscaled, nearest, before they are compared; 1 to 256. Default 2.
        fuse: Whether to propagate. Default True.
        fuse_k: Taps of the propagation in each direction; odd, (fuse_k - 1) * stride <= 64. Default 3.
        softmax_scale: Factor on the similarities in the softmax; 0 to 1e12. Default 10.
        normalize: ``"both"`` (default), or ``"background"``: ``s = <F_p, B_q / |B_q|>``.
        eps: Guards the norms; 1e-12 to 1e12. Default 1e-4.
        eps_mode: |x| = max(||x||, eps) for ``"max"`` (default), sqrt(sum(x_i**2 + eps)) for ``"sum"``.
        downscale: ``"strided"`` (default), or ``"aligned"``, TensorFlow's align_corners, for sizes that are
            multiples of ``rate``.
        mask_downscale: A position is missing if ``"any"`` pixel of its block is (default), or if the pixel
            that ``downscale`` picks is (``"sampled"``).
        propagation: On the weights, ``"after"`` the softmax (default), or on the similarities, ``"before"``.
        boundary: Propagation reads ``"zero"`` beyond a map (default), or goes on over the ends of rows and
            columns (``"wrap"``).
        masking: Invalid patches are left out of the softmax, ``"exclude"`` (default), or have logit and
            weight multiplied by 0, ``"multiply"``.
        overlap: Overlapping patches are averaged, ``"mean"`` (default), or summed and divided by 4,
            ``"fixed"``.
        backend: One of ``available_backends()``. Default: the fastest that can run the problem. The dense
            ``"reference"`` is the one for float64 and for second derivatives.
        workspace: Bound, in bytes, on what a fused backend holds of the scores. Default: 32 MiB on a CPU; on
            a GPU a 64th of its memory, at least 256 MiB (an H100: 1,216 MiB).
        return_offsets: Whether to return the offsets too. Default False.

    Returns:
        The output, (B, Cv, m * H, m * W), contiguous, in the dtype of the operands; with ``return_offsets``
        also (B, 2, h, w) int64, h = ceil(H / rate): the (row, column) displacement, in downscaled pixels,
        from each foreground patch to the background patch of largest weight, 0 where every weight is 0.

        Under autocast the operands, float64 apart, are cast to the autocast dtype, as in torch's own
        attention. Half precision accumulates in float32.

    Raises:
        TypeError: An argument of the wrong type or dtype, or operands of different dtypes outside autocast.
        ValueError: A shape, size, device or option that does not fit; the message says what would.
        RuntimeError: The backend asked for does not exist here, or the dense reference, not asked for by
            name, would take more than 2 GiB.
        NotImplementedError: On differentiating a fused backend twice, or in forward mode;
            ``backend="reference"`` can.

    What takes no part may hold anything, NaN and infinities too, and has gradient 0: pixels of `background`
    that no valid patch is made of, pixels of `value` that no valid patch pastes, and pixels of `foreground`
    that no patch to rebuild is made of (those that are kept show as they are). Two things do take part by
    definition: with ``propagation="before"`` the similarities of invalid and unselected patches that are
    propagated to the others, so patches up to (fuse_k - 1) / 2 * stride positions away, with ``"wrap"`` along
    the flattened rows and columns; and what a valid patch pastes of a hole, with ``ksize=1`` or
    ``mask_downscale="sampled"``, which can leave missing pixels within its 2 * rate * m.

    torch.func: grad, vjp, jacrev and vmap go through every backend. Forward mode (jvp, jacfwd, hessian, dual
    tensors) is the reference's, which is the default there, within its 2 GiB; fused backends push forward
    tangents of `value` alone and otherwise raise NotImplementedError. Meta tensors give shapes.

    Cost: with N = h * w and M = hb * wb, 2 * N * M * (C + (rate * m)**2 * Cv) floating point operations
    forward and about twice that backward, in memory for a few copies of the maps plus ``workspace``: the
    N x M scores are never held whole. The reference holds several copies of them, and of all patches.

    Examples:
        >>> features = torch.randn(1, 16, 32, 32)
        >>> hole = torch.zeros(1, 1, 32, 32, dtype=torch.bool)
        >>> hole[..., 8:24, 8:24] = True
        >>> output, offsets = contextual_attention(features, features, hole, return_offsets=True)
        >>> output.shape, offsets.shape
        (torch.Size([1, 16, 32, 32]), torch.Size([1, 2, 16, 16]))
    """
    options = Options(
        ksize=ksize,
        stride=stride,
        rate=rate,
        fuse=fuse,
        fuse_k=fuse_k,
        softmax_scale=softmax_scale,
        normalize=normalize,
        eps=eps,
        eps_mode=eps_mode,
        downscale=downscale,
        mask_downscale=mask_downscale,
        propagation=propagation,
        boundary=boundary,
        masking=masking,
        overlap=overlap,
    )
    output, offsets = attend(
        foreground,
        background,
        mask=mask,
        value=value,
        foreground_mask=foreground_mask,
        options=options,
        backend=backend,
        workspace=workspace,
        return_offsets=return_offsets,
    )
    return (output, offsets) if return_offsets else output


def attention_weights(
    foreground: Tensor,
    background: Tensor,
    mask: Tensor | None = None,
    *,
    queries: Tensor,
    foreground_mask: Tensor | None = None,
    ksize: int = 3,
    stride: int = 1,
    rate: int = 2,
    fuse: bool = True,
    fuse_k: int = 3,
    softmax_scale: float = 10.0,
    normalize: Normalize = "both",
    eps: float = 1e-4,
    eps_mode: EpsMode = "max",
    downscale: Downscale = "strided",
    mask_downscale: MaskDownscale = "any",
    propagation: PropagationOrder = "after",
    boundary: Boundary = "zero",
    masking: Masking = "exclude",
    overlap: Overlap = "mean",
) -> Tensor:
    """The final weights of chosen foreground positions, as maps over the background.

    What `contextual_attention` multiplies the patches of the value by (A" there), to look at and to measure
    how much attention lands where.

    Args:
        foreground, background, mask, foreground_mask: As in `contextual_attention`.
        queries: (Q, 2), or (B, Q, 2) for different positions in every sample, of any integer dtype:
            (row, column) on the downscaled foreground grid, from 0.
        ksize to overlap: As in `contextual_attention`, with the same defaults.

    Returns:
        (B, Q, hb, wb) in the dtype of the operands, hb = ceil(Hb / rate). A map sums to 1; to 0 where there
        is no valid background patch or the query is not in ``foreground_mask``; to less than 1 with
        ``masking="multiply"``, unless propagation after the softmax rescales it.

    Raises:
        TypeError: An argument of the wrong type or dtype, or an unknown option.
        ValueError: A shape, size, device or option that does not fit, or a query outside the grid.

    Cost: eager and dense over the background, for the queries and those of their neighbours that propagation
    reads: O(Q * fuse_k**2 * hb * wb) memory.

    Examples:
        >>> features = torch.randn(1, 16, 32, 32)
        >>> maps = attention_weights(features, features, queries=torch.tensor([[0, 0], [5, 9]]))
        >>> maps.shape, torch.allclose(maps.sum((2, 3)), torch.ones(1, 2))
        (torch.Size([1, 2, 16, 16]), True)
    """
    options = Options(
        ksize=ksize,
        stride=stride,
        rate=rate,
        fuse=fuse,
        fuse_k=fuse_k,
        softmax_scale=softmax_scale,
        normalize=normalize,
        eps=eps,
        eps_mode=eps_mode,
        downscale=downscale,
        mask_downscale=mask_downscale,
        propagation=propagation,
        boundary=boundary,
        masking=masking,
        overlap=overlap,
    )
    foreground, background = _autocast(foreground, background)
    checks.check_operands(foreground, background, None, options)
    checks.check_mask("mask", mask, "background", background)
    checks.check_mask("foreground_mask", foreground_mask, "foreground", foreground)
    checks.check_queries(queries, foreground, options)
    call = Call(foreground, background, mask, background, foreground_mask, options)
    return reference.attention_weights(call, queries)


def attend(
    foreground: Tensor,
    background: Tensor,
    *,
    mask: Tensor | None,
    value: Tensor | None,
    foreground_mask: Tensor | None,
    options: Options,
    backend: str | None,
    workspace: int | None,
    return_offsets: bool,
) -> tuple[Tensor, Tensor]:
    """`contextual_attention` with its options in one piece; the offsets are empty unless asked for."""
    foreground, background, value = _autocast(foreground, background, value)
    checks.check_operands(foreground, background, value, options)
    checks.check_mask("mask", mask, "background", background)
    checks.check_mask("foreground_mask", foreground_mask, "foreground", foreground)
    workspace = checks.checked_workspace(workspace)
    value = background if value is None else value
    call = Call(foreground, background, mask, value, foreground_mask, options, workspace, return_offsets)
    chosen = backends.choose(backend, foreground.device, foreground.dtype)
    if backend is None and in_forward_mode():
        chosen = "reference"
    if chosen != "reference":
        return fused.contextual_attention(call, chosen)
    if backend is None:
        _refuse_large(call)
    return reference.contextual_attention(call)


def _autocast(*operands: Any) -> list[Any]:
    """The operands as autocast casts those of torch's own attention, if it is on where the first one is."""
    device = operands[0].device.type if isinstance(operands[0], Tensor) else "cpu"
    if not (has_autocast(device) and torch.is_autocast_enabled(device)):
        return list(operands)
    dtype = torch.get_autocast_dtype(device)
    return [x.to(dtype) if _is_eligible(x, device) else x for x in operands]


def _is_eligible(x: Any, device: str) -> bool:
    if not isinstance(x, Tensor) or x.device.type != device:
        return False
    return x.is_floating_point() and x.dtype != torch.float64


def _refuse_large(call: Call) -> None:
    """The dense reference is a fall-back only where it is cheap: who wants more of it must say so."""
    needed = reference.dense_bytes(call)
    if needed <= _DENSE_LIMIT or call.foreground.device.type == "meta":
        return
    reasons = backends.refusals(call.foreground.device, call.foreground.dtype)
    if in_forward_mode():
        reasons["forward mode"] = "fused backends have the derivative by value only, and only if named"
    raise RuntimeError(
        "contextual_attention: no fused backend can run this ("
        + "; ".join(f"{name}: {reason}" for name, reason in reasons.items())
        + f"), and the dense reference would take about {needed / _GIB:.1f} GiB, more than the "
        f"{_DENSE_LIMIT // _GIB} GiB that are taken unasked; "
        'pass backend="reference" to take them, make the maps smaller, or remove what the reasons name'
    )
