"""Matrix products of half precision: cuBLAS has its fast kernels for matrices of whole vectors alone.

A vector is 16 bytes. Matrices must begin, and their lines lie apart and end, in whole ones, whichever way
they lie: else a product runs at a fifth of the rate, as that with the value's (h + 1)(w + 1) cells once did.
"""

import contextlib
import warnings
from collections import Counter
from dataclasses import asdict, dataclass, replace

import pytest
import torch
from helpers.compare import gradients, solve
from helpers.cut_problems import CUT as LARGE_CUT
from helpers.emulated import nothing_done
from test_backends_agree import least_workspace
from test_cuda_on_host import CUT, WIDE, workspaces

from contextual_attention import contextual_attention
from contextual_attention.options import PRESETS
from contextual_attention.testing import CASES, make_inputs

VECTOR = 16
HALVES = [torch.bfloat16, torch.float16]


@dataclass(frozen=True)
class Operand:
    """Of a product: its strides in bytes, of samples, rows and columns, and its sizes."""

    begin: int
    strides: tuple[int, ...]
    sizes: tuple[int, ...]
    entry: int

    @classmethod
    def of(cls, x):
        size = x.element_size()
        return cls(x.data_ptr(), tuple(stride * size for stride in x.stride()), tuple(x.shape), size)

    def faults(self):
        """In what it is not of whole vectors. Along a line entries lie side by side."""
        along = max((axis for axis in (1, 2) if self.strides[axis] == self.entry), key=self.sizes.__getitem__)
        measured = {
            "pointer": self.begin,
            "samples": self.strides[0] if self.sizes[0] > 1 else 0,
            "lines apart": self.strides[3 - along] if self.sizes[3 - along] > 1 else 0,
            "line": self.sizes[along] * self.entry,
        }
        return [name for name, found in measured.items() if found % VECTOR]


@dataclass(frozen=True)
class Product:
    out: Operand
    a: Operand
    b: Operand

    def faults(self):
        return {f"{name}: {fault}" for name in ("out", "a", "b") for fault in getattr(self, name).faults()}

    def is_smaller_than_a_vector(self):
        """One of its sizes is, so that nothing would be left for the product of whole vectors."""
        return min(*self.out.sizes[1:], self.a.sizes[2]) < VECTOR // 2


@contextlib.contextmanager
def recorded(computes=True):
    """The products of half precision within, as they come."""
    found = []

    def multiply(a, b, dtype, *, out):
        found.append(Product(*map(Operand.of, (out, a, b))))
        return torch.bmm(a.to(dtype), b.to(dtype), out=out) if computes else out

    library = torch.library.Library("aten", "IMPL")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it takes the place of emulated.py's: so it is meant
            library.impl("bmm.dtype_out", multiply, "CPU")
        yield found
    finally:
        library._destroy()


def in_vectors(case):
    """With as many channels as vectors have: how long the lines of a map are is for its caller to say."""
    batch, _, *size = case.foreground
    return replace(case, foreground=(batch, 16, *size), value=case.value and (8, case.value[1]))


def assert_aligned(products):
    assert products
    faults = Counter(
        fault for product in products if not product.is_smaller_than_a_vector() for fault in product.faults()
    )
    assert not faults, f"of {len(products)} products: {faults}"


pytestmark = pytest.mark.usefixtures("cuda_on_host")


EACH_HALF = pytest.mark.parametrize("dtype", HALVES, ids=str)


@EACH_HALF
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_of_every_case(case, dtype):
    problem = make_inputs(in_vectors(case), dtype, requires_grad=True)
    with recorded() as products:
        solve(problem, "cuda")
    assert_aligned(products)


@EACH_HALF
@pytest.mark.parametrize("case", [*CUT.values(), *WIDE.values()], ids=lambda case: case.name)
def test_of_tiles(case, dtype, cuda_module):
    """Of few pixels, of lines, of one map as a whole; nothing is computed."""
    problem = make_inputs(in_vectors(case), dtype, requires_grad=True)
    for workspace in workspaces(problem)[1:]:
        with nothing_done(cuda_module), recorded(computes=False) as products:
            output = contextual_attention(**problem, backend="cuda", workspace=workspace)
            gradients(problem, output)
        assert_aligned(products)


@EACH_HALF
@pytest.mark.parametrize("case", LARGE_CUT, ids=lambda case: case.name)
def test_of_large_tiles(case, dtype, cuda_module):
    """Strips of whole lines, and tiles of more than a few vectors."""
    problem = make_inputs(in_vectors(case), dtype, requires_grad=True)
    least = least_workspace(problem, "cuda")
    for workspace in (16 * least, 64 * least):
        with nothing_done(cuda_module), recorded(computes=False) as products:
            output = contextual_attention(**problem, backend="cuda", workspace=workspace)
            gradients(problem, output)
        assert_aligned(products)


@EACH_HALF
@pytest.mark.parametrize("preset", ["paper", "yu2018"])
@pytest.mark.parametrize("size", [(256, 256), (512, 680), (85, 79)])
def test_of_images(preset, size, dtype, cuda_module):
    """Features at a quarter of the image, of (h + 1)(w + 1) = 1089, 5590 and 110 cells."""
    x = torch.zeros(2, 128, *(-(-side // 4) for side in size), dtype=dtype, requires_grad=True)
    with nothing_done(cuda_module), recorded(computes=False) as products:
        output = contextual_attention(x, x, backend="cuda", **asdict(PRESETS[preset]))
        torch.autograd.grad(output, x, torch.zeros_like(output))
    assert_aligned(products)
