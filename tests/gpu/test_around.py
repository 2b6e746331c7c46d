"""The kernels around the operator, on the device, against the tensor code there."""

import pytest
import torch
from helpers.features_alike import HALF, assert_alike, assert_cells_alike
from problems import BY_NAME, on_gpu

from contextual_attention import available_backends, features
from contextual_attention.options import Options


@pytest.fixture(autouse=True)
def kernels():
    reason = available_backends()["cuda"]
    if reason is not None:
        pytest.fail(f"cuda: {reason}")


@pytest.mark.parametrize("name", BY_NAME)
def test_every_case(name):
    problem = on_gpu(BY_NAME[name])
    assert_alike(features.KERNELS, problem)
    one = {"background": problem["foreground"], "mask": problem["foreground_mask"]}
    assert_alike(features.KERNELS, problem | one)


@pytest.mark.parametrize("channels", [8, 40, 128, 7])
@pytest.mark.parametrize("dtype", [torch.float32, *HALF], ids=str)
@pytest.mark.parametrize("offset", [0, 1])
def test_groups_of_channels(channels, dtype, offset):
    """Aligned to 16 bytes or not."""

    def apart(*shape):
        x = torch.randn(torch.Size(shape).numel() + offset, device="cuda").to(dtype)
        return x[offset:].view(shape)

    height, width, rows, columns = 65, 130, 34, 67
    image, pieces = apart(2, channels, height, width), apart(2, rows, columns, channels * 4)
    flags = torch.rand(1, rows, columns, device="cuda") < 0.7
    weight = torch.rand(2, rows, columns, device="cuda") * flags
    leaf = image.detach().requires_grad_()
    problem = {"foreground": leaf, "background": leaf, "mask": None, "foreground_mask": None}
    assert_alike(features.KERNELS, problem | vars(Options()))
    assert_cells_alike("", image, pieces, weight, flags)
