"""What the backends for a GPU hold at their peak, counted where there is none, against what must be held.

The tensor code around the kernels is that of a GPU (`generic_maps`), the kernels are the CUDA pipeline's in
host loops; triton_interpreted.py does the same with Triton's. test_device.py has the same bounds on a GPU.
"""

import pytest
import torch
from helpers import footprint
from helpers.footprint import assert_nothing_more_is_held

from contextual_attention import cells, contextual_attention
from contextual_attention.options import Options
from contextual_attention.problem import Problem, scoring

# As executor.h takes the host to be.
HOST_CACHE = 1 << 16


@pytest.fixture
def narrow_bands(monkeypatch):
    """Of the same part of a small map as of a large one."""
    monkeypatch.setattr(cells, "_BAND_BYTES", 2**15)


@pytest.mark.usefixtures("generic_maps", "narrow_bands")
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=str)
@pytest.mark.parametrize("learns", [False, True])
def test_nothing_is_held_that_need_not_be(dtype, learns, cuda_on_host):
    x = torch.randn(1, 128, 48, 48).to(dtype).requires_grad_(learns)
    # So little that the background is cut too: else a product would read the value's cells as they lie there,
    # and of half precision torch makes a copy in float32 for its products on a CPU.
    workspace = (2 if learns else 1) * x.nbytes // 3
    copied = x.nbytes if learns and dtype == torch.bfloat16 else 0
    plan = plan_of(cuda_on_host, workspace, learns)
    assert dtype == torch.float32 or plan["background"] != [24, 24]
    assert_nothing_more_is_held(x, plan["bytes"], copied, backend="cuda", workspace=workspace)


@pytest.mark.usefixtures("generic_maps", "narrow_bands")
@pytest.mark.parametrize("share", [1, 0.85])
def test_octets_hold_nothing_that_need_not_be(share, cuda_on_host):
    """Whole and cut; what they pad lies in the workspace."""
    x = torch.randn(1, 128, 48, 48).to(torch.bfloat16)
    contextual_attention(x, x, backend="cuda")
    whole = cuda_on_host.last_cuda_tiling(backward=False)
    workspace = int(share * whole["bytes"])
    contextual_attention(x, x, backend="cuda", workspace=workspace)
    cut = cuda_on_host.last_cuda_tiling(backward=False)
    assert cut["octets"]
    assert (cut == whole) == (share == 1)
    # The operands of the last product in float32, which torch makes of them on a CPU: 25 x 25 cells in lines
    # of 32.
    rows, columns = (side + 1 for side in cut["foreground"])
    copied = 4 * 25 * 32 * (rows * columns + 512)
    assert_nothing_more_is_held(x, cut["bytes"], copied, backend="cuda", workspace=workspace)


def plan_of(module, workspace, backward):
    """What the planner makes of it, for the map of the test."""
    problem = Problem(128, 512, 24, 24, 24, 24, *scoring(Options()))
    return module.plan(problem, workspace, HOST_CACHE, backward)


@pytest.mark.parametrize("learns", [False, True])
@pytest.mark.parametrize("image", [2048, 4096])
def test_bounds_of_large_images(image, learns):
    """Of test_device.py, which a GPU alone executes: what maps, the workspace and no copy amount to."""
    x = torch.empty(1, 128, image // 4, image // 4, dtype=torch.bfloat16, device="meta", requires_grad=learns)
    workspace = 256 * 2**20
    own = footprint.most_bytes(x, workspace)
    assert (8 if learns else 4) * x.nbytes < own <= (8 if learns else 4) * x.nbytes + workspace
    assert abs(footprint.triton_bytes(x, workspace) - own) < 0.1 * own
