import subprocess
import sys
from dataclasses import replace

import pytest
import torch

from contextual_attention import available_backends, backends, contextual_attention

CPU, CUDA = torch.device("cpu"), torch.device("cuda", 0)


def python(code: str) -> str:
    """Standard output of a fresh interpreter."""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return run.stdout.strip()


@pytest.fixture
def without_extension(monkeypatch):
    missing = replace(backends._BACKENDS["cpu"], unavailable="it was not built")
    monkeypatch.setitem(backends._BACKENDS, "cpu", missing)


def test_what_was_built_is_there():
    assert list(available_backends()) == ["cuda", "cpu", "triton", "reference"]
    assert available_backends()["cpu"] is None
    assert available_backends()["reference"] is None
    assert backends.extension_error is None
    info = backends.extension.build_info()
    assert backends.extension.simd_level() in info["simd_levels"]


@pytest.mark.parametrize(
    ("device", "dtype", "fastest"),
    [
        (CPU, torch.float32, "cpu"),
        (CPU, torch.bfloat16, "cpu"),
        (CPU, torch.float16, "cpu"),
        (CPU, torch.float64, "reference"),
        (CUDA, torch.float64, "reference"),
    ],
)
def test_the_fastest_that_can_is_taken(device, dtype, fastest):
    assert backends.choose(None, device, dtype) == fastest
    assert backends.choose("reference", device, dtype) == "reference"


@pytest.mark.parametrize(
    ("name", "device", "dtype", "error", "expected"),
    [
        ("cpu", CPU, torch.float64, ValueError, "the operands are torch.float64"),
        ("cpu", CUDA, torch.float32, ValueError, "the operands are on cuda:0"),
        ("cuda", CPU, torch.float64, (ValueError, RuntimeError), "cannot run this"),
        ("triton", CPU, torch.float64, (ValueError, RuntimeError), "cannot run this"),
        ("abacus", CPU, torch.float32, ValueError, "one of cuda, cpu, triton, reference, got 'abacus'"),
        (1, CPU, torch.float32, TypeError, "got 1"),
    ],
)
def test_a_backend_that_cannot_says_why(name, device, dtype, error, expected):
    with pytest.raises(error, match=r"^backend: ") as raised:
        backends.choose(name, device, dtype)
    assert expected in str(raised.value)


def test_no_silent_fall_back_from_a_backend_asked_for(without_extension):
    assert available_backends()["cpu"] == "it was not built"
    x = torch.ones(1, 1, 2, 2)
    with pytest.raises(RuntimeError, match=r'it was not built; backend="reference" can'):
        contextual_attention(x, x, backend="cpu")
    contextual_attention(x, x)


def test_a_large_dense_fall_back_is_refused(without_extension):
    x = torch.zeros(1).expand(1, 1, 512, 512)  # 65536**2 scores from a single float
    with pytest.raises(RuntimeError, match=r"cpu: it was not built.* GiB.*pass backend=.reference."):
        contextual_attention(x, x)


def test_import_survives_a_missing_extension():
    reason = python(
        "import sys; sys.modules['contextual_attention_C'] = None\n"
        "import contextual_attention, torch\n"
        "x = torch.ones(1, 1, 2, 2); contextual_attention.contextual_attention(x, x)\n"
        "print(contextual_attention.available_backends()['cpu'])"
    )
    said = "the compiled extension did not load: there is no module contextual_attention_C for this Python; "
    assert reason.startswith(said)


def test_import_brings_torch_alone():
    loaded = python(
        "import sys, torch; before = set(sys.modules)\n"
        "import contextual_attention\n"
        "print(*sorted({name.partition('.')[0] for name in set(sys.modules) - before}))"
    )
    brought = set(loaded.split()) - set(sys.stdlib_module_names)
    assert brought <= {"contextual_attention", "contextual_attention_C", "torch"}
