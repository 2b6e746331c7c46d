"""Products that round otherwise every time, as those of another processor or of another shape may.

The CUDA pipeline and the Triton backend leave their matrix products to torch's batched one into a tensor that
exists. Within `perturbed_products` every element of what it gives is off by up to two units in the last
place, at random: a score that is made twice is never the same twice.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

# In units of the last place; how many roundings of a number that makes, of two products and of its own.
MOST = 2
ROUNDINGS = 1 + 2 * MOST


@dataclass
class Products:
    """How many have been perturbed."""

    count: int = 0


@contextlib.contextmanager
def perturbed_products(seed: int = 0) -> Iterator[Products]:
    """Within, float32 products on the CPU are perturbed."""
    generator = torch.Generator().manual_seed(seed)
    products = Products()

    def multiply(a: Tensor, b: Tensor, *, out: Tensor) -> Tensor:
        exact = torch.bmm(a, b)
        if exact.dtype == torch.float32:
            products.count += 1
            units = torch.randint(-MOST, MOST + 1, exact.shape, generator=generator, dtype=torch.int32)
            # The next number up or down is the next pattern of bits; zeros stay.
            exact = torch.where(exact == 0, exact, (exact.view(torch.int32) + units).view(torch.float32))
        return out.copy_(exact)

    library = torch.library.Library("aten", "IMPL")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a kernel takes the place of torch's own: so it is meant
            library.impl("bmm.out", multiply, "CPU")
        yield products
    finally:
        library._destroy()
