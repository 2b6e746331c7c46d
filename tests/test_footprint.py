"""What the backends for a GPU hold at their peak, counted where there is none, against what must be held.

The tensor code around the kernels is that of a GPU (`generic_maps`), the kernels are the CUDA pipeline's in
host loops; triton_interpreted.py does the same with Triton's. test_device.py has the same bounds on a GPU.
"""

import pytest
import torch
from footprint import assert_nothing_more_is_held

from contextual_attention import cells


@pytest.fixture
def narrow_bands(monkeypatch):
    """Of the same part of a small map as of a large one."""
    monkeypatch.setattr(cells, "_BAND_BYTES", 2**15)


@pytest.mark.usefixtures("cuda_on_host", "generic_maps", "narrow_bands")
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=str)
@pytest.mark.parametrize("learns", [False, True])
def test_nothing_is_held_that_need_not_be(dtype, learns):
    x = torch.randn(1, 128, 48, 48).to(dtype).requires_grad_(learns)
    workspace = x.nbytes
    # torch's products on a CPU do not widen half precision: there the pieces of a tile are copied, which lie
    # in the workspace.
    copied = workspace if dtype == torch.bfloat16 else 0
    assert_nothing_more_is_held(x, workspace, copied, backend="cuda", workspace=workspace)
