"""PatchMatch inpainting: the reference system, table 1's first row.

Barnes et al., "PatchMatch: A Randomized Correspondence Algorithm for Structural Image Editing", SIGGRAPH
2009, within the coarse-to-fine completion of Wexler et al., "Space-Time Completion of Video", PAMI 2007:
begun with a smooth filling, and nothing counts but how much patches are alike.

Shape legend: C channels; H, W the picture; N patches that touch the hole.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..patches.completion import Progress, Settings, complete
from ..patches.pyramid import smooth_fill
from ..patches.scales import finest_scale
from ..patches.search import Preferences, Search
from .blend import blend_copies
from .exemplar import Filled, fill, require, require_seed

# Of the votes' distances, the variance shrinks to 0.7 of itself from round to round: the last are copies.
_SHARPENING = 1 / 0.7
# Wexler et al., section 3.2: what is a pixel deeper in the hole counts 1.3 times less.
_PREFERENCES = Preferences(proximity=0, trust=1.3)


@dataclass(frozen=True)
class PatchMatchOptions:
    """How `fill_patchmatch` searches.

    Args:
        radius: Patches are 2 * radius + 1 pixels a side, from 0 to 10; default 3. Where a picture has no such
            patch to borrow, the largest that it has.
        rounds: Searches, each followed by a vote, at the coarsest scale, >= 1; default 12. Each finer scale
            has two less, and at least 3.
        iterations: Propagations and random searches in a scale's first search, >= 1; default 4.
        start_depth: A scale is coarse enough to begin with if no pixel of the hole is deeper inside than
            this, in pixels, >= 1; default 4.
        seed: Of the random numbers; default 0.
    """

    radius: int = 3
    rounds: int = 12
    iterations: int = 4
    start_depth: int = 4
    seed: int = 0

    def __post_init__(self) -> None:
        require(0 <= self.radius <= 10, "radius", "from 0 to 10", self.radius)
        for name in ("rounds", "iterations", "start_depth"):
            require(getattr(self, name) >= 1, name, "at least 1", getattr(self, name))
        require_seed(self.seed)


@torch.no_grad()
def fill_patchmatch(
    image: Tensor,
    hole: Tensor,
    options: PatchMatchOptions | None = None,
    progress: Progress | None = None,
) -> Filled:
    """Fill the holes of a picture with its own patches, found by randomised search.

    Args:
        image: (1, C, H, W) float32 in [-1, 1]; patches are compared by the first 6 channels.
        hole: (1, 1, H, W) bool: pixels to fill; at least one pixel is known.
        options: Default: ``PatchMatchOptions()``.
        progress: Called after every round with the share of the work that is done, in (0, 1].

    Returns:
        Filled.

    Raises:
        ValueError: Shapes that do not fit, nothing known, or an option out of its range.

    Computed on the CPU; the tensors of another device are brought there, and the result back.
    Cost: time goes with N, and some passes over the picture. Memory: about 40 bytes a pixel of the picture.

    Examples:
        >>> image = torch.zeros(1, 3, 40, 40)
        >>> hole = torch.zeros(1, 1, 40, 40, dtype=torch.bool)
        >>> hole[..., 10:20, 10:20] = True
        >>> torch.equal(fill_patchmatch(image, hole).image, image)
        True
    """
    options = options or PatchMatchOptions()
    settings = Settings(
        radius=options.radius,
        candidates=1,
        rounds=options.rounds,
        iterations=options.iterations,
        start_depth=options.start_depth,
        sharpening=_SHARPENING,
        preferences=_PREFERENCES,
        seed=int(options.seed),
    )

    def search(image: Tensor, hole: Tensor) -> Search:
        partly = None if progress is None else lambda done: progress(0.9 * done)
        return complete(finest_scale(image, hole), [settings], _fill_smoothly, partly)

    def join(image: Tensor, hole: Tensor, offsets: Tensor, _radius: int) -> Tensor:
        return blend_copies(image, hole, offsets)

    return fill(image, hole, search, join, progress)


def _fill_smoothly(search: Search) -> None:
    """A first filling without detail; sources are random."""
    scale = search.scale
    features = scale.features.permute(2, 0, 1)[None].float()
    filled = smooth_fill(features, scale.hole[None, None])
    scale.features.copy_(filled[0].permute(1, 2, 0).round())
