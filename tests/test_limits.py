"""The largest options that are accepted, on small maps: in bounded memory and time, with finite results."""

import subprocess
import sys

import pytest

# 4 GB of address space, of which torch takes less than half.
_CODE = """
import resource, itertools, torch
torch.set_num_threads(1)
resource.setrlimit(resource.RLIMIT_AS, (4 * 2**30,) * 2)
from contextual_attention import contextual_attention
from contextual_attention.options import Options, PRESETS

changes = [{"ksize": 255}, {"stride": 32}, {"stride": 256, "fuse": False}, {"rate": 256}, {"fuse_k": 65}]
changes += [{"softmax_scale": 1e12}, {"eps": 1e12}, {"eps": 1e12, "eps_mode": "sum"}]
x = torch.randn(1, 3, 5, 4, requires_grad=True)
mask = torch.zeros(1, 1, 5, 4)
mask[..., 0, 0] = 1
solved = 0
for change, preset in itertools.product(changes, ("paper", "nipponjo")):
    try:
        options = Options.from_preset(preset, **change)
    except ValueError:  # wrapped propagation has no stride
        continue
    for masks in ({}, {"mask": mask, "foreground_mask": mask}):
        y = contextual_attention(x, x, **masks, **vars(options), backend=BACKEND)
        (slope,) = torch.autograd.grad(y.sum(), x)
        assert y.isfinite().all() and slope.isfinite().all(), (change, preset)
        solved += 1
print(solved)
"""


@pytest.mark.parametrize("backend", ["cpu", "reference"])
def test_the_largest_options_are_bearable(backend):
    code = f"BACKEND = {backend!r}\n{_CODE}"
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False
    )
    assert run.returncode == 0, run.stderr[-2000:]
    assert int(run.stdout) >= 28
