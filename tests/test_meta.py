"""Shapes without numbers: meta tensors, and torch's fake ones."""

import pytest
import torch
from torch._subclasses import FakeTensorMode

from contextual_attention import ContextualAttention, contextual_attention
from contextual_attention.options import PRESETS

BACKENDS = [None, "cpu", "reference"]


def shapes(layer, device):
    """Of a problem whose scores would take 230 GB: nothing of it is held."""
    f, b = (torch.empty(2, 8, *size, device=device, requires_grad=True) for size in ((640, 800), (512, 480)))
    masks = {"mask": torch.empty(1, 1, 1024, 960, device=device)}
    masks["foreground_mask"] = torch.empty(2, 1, 640, 800, dtype=torch.bool, device=device)
    value = torch.empty(2, 5, 1024, 960, device=device)
    output, offsets = layer(f, b, value=value, **masks, return_offsets=True)
    output.sum().backward()
    assert f.grad.shape == f.shape
    assert offsets.dtype == torch.int64
    return tuple(output.shape), tuple(offsets.shape), {x.device.type for x in (output, offsets, f.grad)}


EXPECTED = ((2, 5, 1280, 1600), (2, 2, 320, 400))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("preset", PRESETS)
def test_meta_tensors_give_shapes(preset, backend):
    layer = ContextualAttention.from_preset(preset, backend=backend)
    assert shapes(layer, "meta") == (*EXPECTED, {"meta"})
    with torch.device("meta"):
        assert shapes(layer, None) == (*EXPECTED, {"meta"})


def test_fake_tensors_give_shapes():
    with FakeTensorMode():
        assert shapes(ContextualAttention(), "cpu") == (*EXPECTED, {"cpu"})


@pytest.mark.parametrize("backend", BACKENDS)
def test_where_new_tensors_go_by_default_changes_nothing(backend):
    x = torch.randn(1, 2, 6, 6)
    expected = contextual_attention(x, x, x[:, :1] > 1, backend=backend)
    with torch.device("meta"):
        assert torch.equal(contextual_attention(x, x, x[:, :1] > 1, backend=backend), expected)


@pytest.mark.parametrize("attention", [*PRESETS, None])
def test_a_generator_of_meta_tensors(attention):
    pytest.importorskip("huggingface_hub")
    from contextual_attention.models import InpaintGenerator

    with torch.device("meta"):
        generator = InpaintGenerator(cnum=8, attention=attention, attend="hole")
        result = generator(torch.empty(2, 3, 50, 70), torch.empty(1, 1, 50, 70), attention is not None)
    assert [tuple(x.shape) for x in result[:3]] == [(2, 3, 50, 70)] * 3
    assert result.completed.device.type == "meta"
    if attention is not None:
        assert result.offsets.shape == (2, 2, 7, 9)
