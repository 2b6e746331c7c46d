"""The presets against inputs, outputs and gradients of the published layers, run as published.

tests/data: yu2018 from JiahuiYu/generative_inpainting v1.0.0 (TensorFlow); daa233 from
daa233/generative-inpainting-pytorch, ContextualAttention(3, 1, 2, 3, 10, fuse=True); mmagic from
open-mmlab/mmagic, ContextualAttentionModule(). Numbers only, float32, NCHW, per case: f, b, mask, y and,
where there are gradients, the upstream g and gf, gb.
"""

from pathlib import Path

import numpy as np
import pytest
import torch

from contextual_attention import contextual_attention
from contextual_attention.options import Options

DATA = Path(__file__).parent / "data"
# The published layers computed these in float32 themselves: half of each bound is theirs.
OUTPUT, GRADIENT = 2e-6, 2e-5


def _cases(preset):
    """(preset, arrays of one case) for every case of a preset's file."""
    with np.load(DATA / f"{preset}_attention.npz") as arrays:
        for case in sorted({name.split("_")[0] for name in arrays}):
            own = [name for name in arrays if name.startswith(f"{case}_")]
            yield pytest.param(
                preset, {name.removeprefix(f"{case}_"): arrays[name] for name in own}, id=f"{preset}-{case}"
            )


CASES = [case for preset in ("yu2018", "daa233", "mmagic") for case in _cases(preset)]
EACH_CASE = pytest.mark.parametrize(("preset", "arrays"), CASES)


def solve(preset, arrays, dtype, backend):
    overrides = {
        option: arrays[name].item()
        for name, option in {"rate": "rate", "fuse": "fuse", "scale": "softmax_scale"}.items()
        if name in arrays
    }
    options = Options.from_preset(preset, **overrides)
    f, b = (torch.from_numpy(arrays[name]).to(dtype).requires_grad_() for name in "fb")
    mask = torch.from_numpy(arrays["mask"]) if arrays["mask"].size else None
    output = contextual_attention(f, b, mask, backend=backend, **vars(options))
    if "g" not in arrays:
        return [output.detach()], [arrays["y"]]
    gradients = torch.autograd.grad(output, (f, b), torch.from_numpy(arrays["g"]).to(dtype))
    return [output.detach(), *gradients], [arrays[name] for name in ("y", "gf", "gb")]


def assert_golden(preset, arrays, dtype, backend, rounding=0.0):
    found, expected = solve(preset, arrays, dtype, backend)
    for x, y, bound in zip(found, expected, (OUTPUT, GRADIENT, GRADIENT), strict=False):
        assert np.linalg.norm(x.numpy() - y) / np.linalg.norm(y) < bound + rounding


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@EACH_CASE
def test_reference(preset, arrays, dtype):
    assert_golden(preset, arrays, dtype, "reference")


@EACH_CASE
def test_fused(preset, arrays, road):
    assert_golden(preset, arrays, torch.float32, road.backend, road.rounding)


@pytest.mark.parametrize(
    "change",
    [
        {"normalize": "both"},
        {"eps_mode": "max"},
        {"downscale": "aligned"},
        {"mask_downscale": "any"},
        {"propagation": "after", "boundary": "zero"},
        {"boundary": "zero"},
        {"overlap": "mean"},
    ],
    ids=str,
)
def test_the_numbers_tell_the_options_apart(change):
    """So agreeing with them means something."""
    preset, arrays = next(_cases("daa233")).values
    options = Options.from_preset(preset, **change)
    f, b, mask = (torch.from_numpy(arrays[name]) for name in ("f", "b", "mask"))
    output = contextual_attention(f, b, mask, backend="reference", **vars(options)).numpy()
    assert np.linalg.norm(output - arrays["y"]) / np.linalg.norm(arrays["y"]) > 10 * OUTPUT
