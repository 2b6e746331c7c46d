"""The GPU tests need torch, numpy and pytest alone: --confcutdir=tests/gpu leaves out what needs more."""

import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from contextual_attention import available_backends

BACKENDS = ("cuda", "triton")


def pytest_collection_modifyitems(items):
    """Skipped, and it is said, where there is no GPU; where there is one, both backends must work."""
    if torch.cuda.is_available():
        return
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.skip(reason="there is no CUDA device"))


@pytest.fixture(params=BACKENDS)
def backend(request):
    reasons = available_backends()
    if request.param not in reasons:
        pytest.skip(f"this version has no backend {request.param!r}")
    reason = reasons[request.param]
    if reason is not None:
        pytest.fail(f"{request.param}: {reason}")
    return request.param
