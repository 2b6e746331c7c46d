"""The first filling of a hole, at a scale where it is thin: ring after ring from what is known around it.

Shape legend: C channels; H, W the scale; n pixels of a ring.
"""

from __future__ import annotations

from copy import copy
from typing import Any

import torch
from torch import Tensor

from contextual_attention import contextual_attention

from .descriptors import describe, unusable
from .scales import touching
from .search import Search, positions

# Rings are few, and what they are filled with is carried through all scales.
_ITERATIONS = 12
# The guide's trust, of 255, above which it is taken for known.
_SURE = 60
# Of the softmax: only where a patch comes from is asked.
_SHARP = 1e6


def fill_rings(search: Search, full_search: float, layer: dict[str, Any]) -> None:
    """Fill the hole of a scale, compared by what is known or filled already; each pixel is a copy.

    Where the guide is sure, it is taken for known. What is found becomes the first candidate.

    Args:
        search: Of the scale.
        full_search: Scores, patches of a ring times pixels of the scale, up to which all are computed.
        layer: Further options of `contextual_attention`, which computes them.
    """
    scale, features = search.scale, search.scale.features.flatten(0, 1)
    defined = ~scale.hole
    if scale.guide is not None:
        colours, weight = scale.guide
        sure = (weight > _SURE) & scale.hole
        scale.features[sure] = colours[sure]
        defined |= sure
    while not bool(defined.all()):
        grown = touching(defined, 1)
        ring = grown & ~defined
        at = positions(ring).long()
        if len(at) * defined.numel() <= full_search:
            sources = attend_ring(search, defined, ring, layer)
        else:
            sources = search_ring(search, defined, ring)
        features[at] = features[sources.long()]
        search.sources[search.index.flatten()[at].long(), 0] = sources
        defined = grown


def attend_ring(search: Search, defined: Tensor, ring: Tensor, layer: dict[str, Any]) -> Tensor:
    """Where each pixel of a ring comes from: the best of all patches, by the layer.

    Args:
        search: Of the scale.
        defined: (H, W) bool: by which pixels patches are compared.
        ring: (H, W) bool, the centres of the patches to match.
        layer: As of `fill_rings`.

    Returns:
        (n,) int32 positions.
    """
    scale = search.scale
    dilation, ksize = (1, 2 * search.radius - 1) if search.radius else (0, 1)
    image = _as_image(search).masked_fill(~defined, 0)
    _, offsets = contextual_attention(
        describe(image, dilation, defined[None, None]),
        describe(image, dilation),
        unusable(scale.missing[None, None], dilation),
        value=image[:, :1],
        foreground_mask=ring[None, None],
        **{"rate": 1, "ksize": ksize, "fuse_k": 1, "softmax_scale": _SHARP, "return_offsets": True, **layer},
    )
    at = positions(ring).long()
    down, right = offsets[0].flatten(1)[:, at]
    return (at + down * ring.shape[1] + right).to(torch.int32)


def search_ring(search: Search, defined: Tensor, ring: Tensor) -> Tensor:
    """The same by randomised search: nearly the best, in time that goes with the ring alone."""
    part = copy(search)
    part.aim_at(ring, 1)
    part.start()
    part.improve(_ITERATIONS, max(defined.shape), defined)
    return part.sources[:, 0]


def _as_image(search: Search) -> Tensor:
    """Colours in [-1, 1], and texture: (1, C, H, W) float32."""
    features, colours = search.scale.features, search.scale.colours
    channels = [features[..., :colours] / 127.5 - 1, features[..., colours : colours + 2] / 127.5]
    return torch.cat(channels, 2).permute(2, 0, 1)[None].contiguous()
