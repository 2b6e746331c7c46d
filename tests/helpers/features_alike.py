"""Whether the kernels around the operator give what the tensor code does.

Copies and flags to the bit. Norms are float32 sums of up to ksize**2 * C squares in another order: each
addition rounds by 2**-24, and most of it averages out. A gradient is rounded once, where autograd rounds each
of the parts that it adds.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from contextual_attention import cells, features
from contextual_attention.interface import Maps
from contextual_attention.testing import options_of

NORMS = 1e-6  # relative, of each
SLOPES = 4e-6  # of the norm of a gradient
HALF = (torch.bfloat16, torch.float16)


def taken(road: features.Road, problem: dict[str, Any]) -> tuple[list[features.Flags], features.Features]:
    """Flags, and what is taken of both maps."""
    chosen, foreground, background = options_of(problem), problem["foreground"], problem["background"]
    asked = read = None
    flags = []
    if problem["foreground_mask"] is not None:
        flags.append(road.flag(problem["foreground_mask"], foreground, False, chosen))
        asked = flags[-1].read
    if problem["mask"] is not None or chosen.stride > 1:
        flags.append(road.flag(problem["mask"], background, True, chosen))
        read = flags[-1].read
    maps = Maps(foreground, None if background is foreground else background, asked, read)
    found = road.take(maps, chosen)
    return flags, found


def slopes(found: features.Features, leaves: list[Tensor]) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(1)
    # alpha may be beta, and queries keys: then both slopes are its own.
    outputs = [x for x in (found.queries, found.keys, found.alpha, found.beta) if x is not None]
    # Of norms small, or float16 overflows.
    scales = [1.0 if x.dim() == 4 else 1e-3 for x in outputs]
    given = [
        s * torch.randn(x.shape, generator=generator).to(x) for s, x in zip(scales, outputs, strict=True)
    ]
    return torch.autograd.grad(outputs, leaves, given)


def assert_alike(road: features.Road, problem: dict[str, Any]) -> None:
    flags, found = taken(road, problem)
    exact_flags, exact = taken(features.TENSOR_CODE, problem)
    for mine, expected in zip(flags, exact_flags, strict=True):
        for x, y in zip(mine, expected, strict=True):
            assert x.dtype == y.dtype
            assert torch.equal(x, y)
    for name in ("queries", "keys", "valid", "weight"):
        x, y = getattr(found, name), getattr(exact, name)
        assert (x is None) == (y is None)
        assert x is None or (x.dtype == y.dtype and torch.equal(x, y)), name
        assert x is None or x.is_contiguous()
    for x, y in ((found.alpha, exact.alpha), (found.beta, exact.beta)):
        assert (x is None) == (y is None)
        if x is not None:
            torch.testing.assert_close(x, y, rtol=NORMS, atol=0)
    leaves = list({id(x): x for x in (problem["foreground"], problem["background"])}.values())
    if not leaves[0].requires_grad:
        return
    rounding = 0 if leaves[0].dtype == torch.float32 else torch.finfo(leaves[0].dtype).eps
    for x, y in zip(slopes(found, leaves), slopes(exact, leaves), strict=True):
        if not y.isfinite().all():
            assert y.dtype == torch.float16
            continue
        error = (x.double() - y.double()).norm()
        assert error <= (SLOPES + rounding) * y.double().norm(), f"{error / y.double().norm():.1e}"


def assert_cells_alike(suffix: str, image: Tensor, pieces: Tensor, weight: Tensor, kept: Tensor) -> None:
    """The operators of cells.py, those of this suffix, of 2 x 2 pixels of an image, each where `kept`."""
    cell, (rows, columns), size = 2, pieces.shape[1:3], image.shape[2:]
    plain = {"cut": cells._cut, "join": cells._join, "paste": cells.paste, "lift": cells._lift}
    for name, arguments in {
        "cut": (image, cell, rows, columns, kept),
        "join": (pieces, cell, *size, kept),
        "paste": (pieces.float(), weight, image, True, cell, *size),
        "lift": (image, weight, True, cell, rows, columns, False),
    }.items():
        operator = getattr(torch.ops.contextual_attention, f"{name}{suffix}")
        found, expected = operator(*arguments), plain[name]._init_fn(*arguments)
        if isinstance(found, Tensor):
            found, expected = (found,), (expected,)
        assert all(map(torch.equal, found, expected)), name
