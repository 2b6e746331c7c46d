"""For every patch that touches a hole the known patches most like it, by randomised search; and their votes.

PatchMatch (Barnes et al., "PatchMatch: A Randomized Correspondence Algorithm for Structural Image Editing",
SIGGRAPH 2009), with several candidates a patch (Barnes et al., "The Generalized PatchMatch Correspondence
Algorithm", ECCV 2010); votes as in Wexler et al., "Space-Time Completion of Video", PAMI 2007, section 3.2.
The work is done in C++ (csrc/cpu/filling), by whole numbers alone.

Shape legend: H, W the picture at a scale; N patches that touch the hole; K candidates each.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from .blank import blank
from .native import operators
from .scales import Scale, touching, whole_patches


@dataclass(frozen=True)
class Preferences:
    """What counts beside how much patches are alike.

    Args:
        proximity: What a source as far away as the picture is long costs, added to the squared distance of
            features a pixel; >= 0. No more than the patch itself varies counts: else, where all is alike, the
            nearest pixels would be repeated.
        trust: How many times more a patch counts in a vote than one a pixel deeper in the hole; >= 1.
    """

    proximity: int
    trust: float


class Search:
    """The patches of a scale that touch its hole, and what is found for them.

    Args:
        scale: The scale; votes change the features of its hole.
        radius: Patches are 2 * radius + 1 pixels a side; where the scale has no such patch to borrow, the
            largest that it has. One known pixel is needed.
        candidates: K, from 1 to 64.
        preferences: What counts.
        seed: Of the random numbers.

    Attributes:
        targets: (N,) int32, centres of the patches that touch the hole, as y * W + x, ascending.
        sources: (N, K) int32, centres of what was found for them, the best first; -1: not that many.
        costs: (N, K) int32, summed squared distances of features, and what distance costs.
    """

    def __init__(
        self, scale: Scale, radius: int, candidates: int, preferences: Preferences, seed: int
    ) -> None:
        self.scale, self.preferences, self.seed = scale, preferences, seed
        self.radius = largest_radius(scale.missing, radius)
        self.whole = whole_patches(scale.missing, self.radius)
        self.pixels = positions(scale.hole)
        self.aim_at(touching(scale.hole, self.radius), candidates)

    def aim_at(self, targets: Tensor, candidates: int) -> None:
        """Search for the patches with these centres, (H, W) bool; nothing is found for them yet."""
        self.targets = positions(targets)
        self.index = torch.full(targets.shape, -1, dtype=torch.int32)
        self.index.view(-1)[self.targets.long()] = torch.arange(len(self.targets), dtype=torch.int32)
        self.sources = torch.full((len(self.targets), candidates), -1, dtype=torch.int32)
        self.costs = torch.zeros_like(self.sources)

    def start(self, coarser: Search | None = None) -> None:
        """Begin with what was found at the next coarser scale, or at random."""
        found = (None,) * 3 if coarser is None else (coarser.targets, coarser.index, coarser.sources)
        operators().start(self.whole, self.targets, self.index, self.sources, self.costs, *found, self.seed)

    def improve(self, iterations: int, reach: int, compared: Tensor | None = None) -> None:
        """Search: propagation from neighbours, then at random around the best so far, ever closer.

        Args:
            iterations: How often.
            reach: How far the first random step leads, in pixels; each next one half as far.
            compared: (H, W) bool: by which pixels patches are compared. Default: all.
        """
        mask = None if compared is None else compared.to(torch.uint8) * 255
        self.seed += 1
        operators().improve(
            *(self.scale.features, mask, self.whole, self.targets, self.index, self.sources, self.costs),
            *(self.radius, iterations, reach, self.seed, self.preferences.proximity),
        )

    def vote(self, sharpness: float = 1.0) -> None:
        """Fill the hole: every pixel the mean of what the patches over it paste there.

        A patch counts the more, the more it is like its source, exp(-d / 2 sigma²), sigma² the third quartile
        of the distances over the sharpness; and the less, the deeper it lies in the hole.
        """
        costs = self.costs.double()
        quartile = costs[:, 0].kthvalue(-(-3 * len(costs) // 4)).values.clamp(min=1)
        self._vote(torch.exp(-costs * (sharpness / (2 * quartile))), self.preferences.trust)

    def paste(self) -> None:
        """Fill the hole with the mean of all that the patches over each pixel paste."""
        self._vote(torch.ones(self.costs.shape), 1.0)

    def _vote(self, weights: Tensor, trust: float) -> None:
        features = self.scale.features.flatten(0, 1)
        features[self.pixels.long()] = operators().vote(
            *(self.scale.features, self.targets, self.index, self.sources),
            (weights * 65535).round().clamp(min=1).to(torch.uint16),
            *(self.scale.depths, trust, self.pixels, self.radius),
        )

    def offsets(self) -> Tensor:
        """(1, 2, H, W) int64: (row, column) from each pixel of the hole to its source, 0 elsewhere."""
        height, width = self.index.shape
        at = self.pixels.long()
        sources = self.sources[self.index.flatten()[at].long(), 0].long()
        offsets = blank((2, height * width), np.int64)
        offsets[0, at] = sources // width - at // width
        offsets[1, at] = sources % width - at % width
        return offsets.view(1, 2, height, width)


def largest_radius(missing: Tensor, radius: int, fewest: int = 1) -> int:
    """The largest radius up to this one of which there are as many whole patches; 0 if there is none."""
    while radius > 0 and int(whole_patches(missing, radius).count_nonzero()) < fewest:
        radius -= 1
    return radius


def positions(mask: Tensor) -> Tensor:
    """Where (H, W) bool is true: (n,) int32, y * W + x, ascending."""
    return mask.flatten().nonzero()[:, 0].to(torch.int32)
