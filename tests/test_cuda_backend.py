"""When the CUDA kernels of the extension can run, and what is said where they cannot."""

import pytest
import torch

from contextual_attention import backends, contextual_attention

DEVICE = torch.device("cuda", 0)


class Extension:
    """In the place of contextual_attention_C: a build for these architectures."""

    def __init__(self, *architectures):
        self.architectures = list(architectures)

    def build_info(self):
        return {"cuda_architectures": self.architectures}


@pytest.fixture
def machine(monkeypatch):
    """Pretends a build of the extension, a build of torch, and a device of this compute capability."""

    def pretend(built, torch_cuda="13.0", capability=(9, 0)):
        monkeypatch.setattr(backends, "extension", Extension(*built))
        monkeypatch.setattr(torch.version, "cuda", torch_cuda)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: capability is not None)
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device=None: capability)
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda device=None: "a device")
        forget()

    def forget():
        for remembered in (backends._no_cuda, backends._no_code_for, backends._no_triton):
            remembered.cache_clear()

    yield pretend
    forget()


def test_fastest_where_everything_fits(machine):
    machine(["8.0", "9.0a"])
    assert backends.choose(None, DEVICE, torch.float32) == "cuda"
    assert backends.choose("cuda", DEVICE, torch.bfloat16) == "cuda"
    assert backends.choose(None, DEVICE, torch.float64) == "reference"


def test_a_build_without_cuda(machine):
    machine([])
    with pytest.raises(RuntimeError, match=r"'cuda' cannot run this: .*built without CUDA; .*CA_CUDA=1"):
        backends.choose("cuda", DEVICE, torch.float32)


def test_a_torch_without_cuda(machine):
    machine(["9.0a"], torch_cuda=None)
    with pytest.raises(RuntimeError, match=r"torch \S+ is built without CUDA; install one"):
        backends.choose("cuda", DEVICE, torch.float32)


def test_no_driver(machine):
    machine(["9.0a"], capability=None)
    with pytest.raises(
        RuntimeError, match=r"no usable CUDA device or driver; torch\.cuda\.init\(\) says why"
    ):
        backends.choose("cuda", DEVICE, torch.float32)


def test_an_architecture_that_the_binary_does_not_hold(machine):
    machine(["8.0", "9.0a"], capability=(12, 0))
    expected = r"a device has compute capability 12\.0, .* code for 8\.0, 9\.0a; .*TORCH_CUDA_ARCH_LIST=12\.0"
    with pytest.raises(ValueError, match=expected):
        backends.choose("cuda", DEVICE, torch.float32)
    assert backends.choose(None, DEVICE, torch.float64) == "reference"


@pytest.mark.parametrize(
    ("capability", "architecture", "runs"),
    [
        ((8, 0), "8.0", True),
        ((8, 9), "8.0", True),
        ((9, 0), "8.0", False),
        ((9, 0), "8.0+PTX", True),
        ((8, 0), "8.6", False),
        ((9, 0), "9.0a", True),
        ((10, 0), "9.0a", False),
        ((12, 1), "12.0", True),
        ((12, 1), "12.0f", True),
        ((12, 1), "12.0a", False),
        ((13, 0), "12.0+PTX", True),
    ],
)
def test_what_code_runs_where(capability, architecture, runs):
    assert backends._runs_on(capability, architecture) is runs


def test_cpu_tensors_are_not_taken(machine):
    machine(["9.0a"])
    with pytest.raises(ValueError, match="it runs on cuda, and the operands are on cpu"):
        backends.choose("cuda", torch.device("cpu"), torch.float32)


@pytest.mark.usefixtures("cuda_on_host")
@pytest.mark.parametrize("backward", [False, True])
def test_a_workspace_too_small_names_the_least(backward):
    x = torch.randn(1, 3, 12, 12, requires_grad=backward)
    with pytest.raises(ValueError, match=r"workspace: expected at least \d{4,} bytes .*, got 1000"):
        contextual_attention(x, x, backend="cuda", workspace=1000)


@pytest.mark.usefixtures("cuda_on_host")
def test_kernels_refuse_a_workspace_too_small_themselves():
    f = torch.randn(1, 4, 4, 3)
    value, norm, valid = torch.randn(1, 5, 5, 2), torch.ones(1, 4, 4), torch.ones(1, 4, 4, dtype=torch.bool)
    attend = torch.ops.contextual_attention.attend_on_host
    with pytest.raises(
        RuntimeError, match=r"workspace: expected at least \d+ bytes for this problem, got 100"
    ):
        attend(f, f, norm, norm, valid, None, value, 10.0, 3, 1, 3, 3, 0, False, 100)
