import copy
import pickle

import pytest
import torch

from contextual_attention import ContextualAttention, contextual_attention
from contextual_attention.options import PRESETS


def features(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)))


@pytest.mark.parametrize("preset", PRESETS)
def test_forward_is_the_function(preset):
    layer = ContextualAttention.from_preset(preset, softmax_scale=4.0, backend="reference")
    foreground, background, value = features(2, 3, 8, 6), features(2, 3, 4, 10), features(2, 5, 8, 20)
    mask, hole = features(2, 1, 16, 40) > 1, features(1, 1, 8, 6) > 0
    arguments = {"value": value, "foreground_mask": hole, "return_offsets": True}
    output, offsets = layer(foreground, background, mask, **arguments)
    options = PRESETS[preset].changed() | {"softmax_scale": 4.0}
    expected = contextual_attention(foreground, background, mask, **arguments, **options, backend="reference")
    assert torch.equal(output, expected[0])
    assert torch.equal(offsets, expected[1])
    assert torch.equal(layer(foreground, background, mask, value=value, foreground_mask=hole), output)


def test_options_are_keywords():
    layer = ContextualAttention(ksize=5, fuse=False, workspace=2**20)
    assert (layer.options.ksize, layer.options.fuse, layer.options.rate) == (5, False, 2)
    assert (layer.backend, layer.workspace) == (None, 2**20)
    with pytest.raises(TypeError, match="radius"):
        ContextualAttention(radius=3)
    with pytest.raises(ValueError, match="ksize"):
        ContextualAttention(ksize=2)


def test_backend_and_workspace_reach_the_function():
    layer, x = ContextualAttention(), features(1, 2, 4, 4)
    layer.backend = "abacus"
    with pytest.raises(ValueError, match="'abacus'"):
        layer(x, x)
    layer.backend, layer.workspace = None, -1
    with pytest.raises(ValueError, match=r"workspace.*-1"):
        layer(x, x)


@pytest.mark.parametrize(
    "layer",
    [
        ContextualAttention(),
        ContextualAttention.from_preset("daa233", rate=4, backend="reference"),
        ContextualAttention(softmax_scale=5.0, workspace=2**20),
    ],
)
def test_repr_makes_the_layer_again(layer):
    again = eval(repr(layer))
    assert (again.options, again.backend, again.workspace) == (layer.options, layer.backend, layer.workspace)


def test_repr_shows_what_differs():
    assert repr(ContextualAttention(rate=4, backend="reference")) == (
        "ContextualAttention(rate=4, backend='reference')"
    )


def test_a_layer_without_state_survives_copies():
    layer = ContextualAttention.from_preset("mmagic", backend="reference")
    assert list(layer.parameters()) == []
    assert layer.state_dict() == {}
    x = features(1, 2, 6, 6)
    for again in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert torch.equal(again(x, x), layer(x, x))
