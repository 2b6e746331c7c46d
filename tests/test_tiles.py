"""Attention by tiles against the same attention over the whole picture with all but the windows masked."""

import torch

from contextual_attention import contextual_attention
from contextual_attention.models.filling.descriptors import PATCHES, describe, unusable
from contextual_attention.models.filling.tiles import Guide, attend_by_tiles

LAYER = {"rate": 1, "ksize": 3, "fuse_k": 5, "softmax_scale": 50.0, "return_offsets": True}


def test_one_tile_is_the_layer_on_its_window():
    """The tile at (32, 32), moved by (-16, -8), with a margin of 8, is rows 8 to 55 and columns 16 to 63."""
    estimate = torch.rand(1, 3, 72, 70, generator=torch.Generator().manual_seed(0)) * 2 - 1
    selected = torch.zeros(1, 1, 72, 70, dtype=torch.bool)
    selected[..., 40:47, 38:50] = True
    guide = torch.tensor([-16, -8])[None, :, None, None].expand(1, 2, 72, 70)
    value = torch.rand(1, 2, 144, 140, generator=torch.Generator().manual_seed(1))
    found, offsets = attend_by_tiles(estimate, selected, selected, value, Guide(guide, PATCHES[0]), LAYER)

    outside = torch.ones_like(selected)
    outside[..., 8:56, 16:64] = False
    features = describe(estimate, PATCHES[0].dilation)
    missing = unusable(outside | selected, PATCHES[0].dilation)
    expected, where = contextual_attention(
        features, features, missing, value=value, foreground_mask=selected, **LAYER
    )
    pasted = (..., slice(80, 94), slice(76, 100))
    assert torch.allclose(found[pasted], expected[pasted], atol=1e-5)  # another order of summation
    assert torch.equal(offsets, where)


def test_tiles_at_the_edges_and_where_guides_differ():
    """In a picture that repeats every 8 pixels each finds an exact copy near where its guide points."""
    cell = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1
    truth = cell.repeat(1, 1, 9, 10)
    hole = torch.zeros(1, 1, 72, 80, dtype=torch.bool)
    hole[..., :6, :5] = True
    hole[..., 66:, 70:] = True
    hole[..., 28:36, 30:36] = True
    guide = torch.zeros(1, 2, 72, 80, dtype=torch.int64)
    guide[:, :, :20], guide[:, :, 60:], guide[:, :, 20:60] = 16, -16, 24
    layer = {**LAYER, "softmax_scale": 1e5}
    found, offsets = attend_by_tiles(truth, hole, hole, truth, Guide(guide, PATCHES[0]), layer)
    rows, columns = hole[0, 0].nonzero().T
    source = (rows + offsets[0, 0, rows, columns], columns + offsets[0, 1, rows, columns])
    assert not hole[0, 0][source].any()
    inner = (slice(None), rows, columns)
    assert torch.allclose(found[0][inner], truth[0][inner], atol=1e-3)
