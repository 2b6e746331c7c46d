"""PatchMatch inpainting in plain torch: the reference system, table 1's first row.

Barnes et al., "PatchMatch: A Randomized Correspondence Algorithm for Structural Image Editing", SIGGRAPH
2009,
within the coarse-to-fine completion of Wexler et al., "Space-Time Completion of Video", PAMI 2007.

Shape legend: H, W the picture at a scale; N patches that touch the hole; P = 49 pixels of a patch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from .exemplar import Filled, Progress, check_picture
from .pyramid import Level, dilate, finest_level, halve, is_thin, smooth_fill


@dataclass(frozen=True)
class PatchMatchOptions:
    """How `fill_patchmatch` searches.

    Args:
        radius: Patches are 2 * radius + 1 pixels a side; >= 1, default 3. Where a picture has no such patch
            to borrow, the largest that it has.
        rounds: Searches, each followed by a vote, at the coarsest scale, >= 1; default 12. Each finer scale
            has two less, and at least 3.
        iterations: Propagations and random searches in a search, >= 1; default 4.
        start_depth: As in `ExemplarOptions`; default 4.
        seed: Of the random numbers; default 0.
    """

    radius: int = 3
    rounds: int = 12
    iterations: int = 4
    start_depth: int = 4
    seed: int = 0


@torch.no_grad()
def fill_patchmatch(
    image: Tensor,
    hole: Tensor,
    options: PatchMatchOptions | None = None,
    progress: Progress | None = None,
) -> Filled:
    """Fill the holes of a picture with its own patches, found by randomised search.

    Args:
        image: (1, C, H, W) float32 in [-1, 1].
        hole: (1, 1, H, W) bool: pixels to fill; at least one pixel is known.
        options: Default: ``PatchMatchOptions()``.
        progress: Called after every round with the share of the work that is done, in (0, 1].

    Returns:
        Filled.

    Raises:
        ValueError: Shapes that do not fit, or nothing known.

    Cost: time and memory go with N * P * C: a gather of that size for each of about 15 candidates in an
    iteration.

    Examples:
        >>> image = torch.zeros(1, 3, 40, 40)
        >>> hole = torch.zeros(1, 1, 40, 40, dtype=torch.bool)
        >>> hole[..., 10:20, 10:20] = True
        >>> torch.equal(fill_patchmatch(image, hole).image, image)
        True
    """
    check_picture(image, hole)
    if not bool(hole.any()):
        return Filled(image, hole.new_zeros((1, 2, *image.shape[2:]), dtype=torch.int64))
    options = options or PatchMatchOptions()
    generator = torch.Generator(image.device).manual_seed(options.seed)
    radius = _largest_radius(hole, options.radius)
    pyramid = _pyramid(image, hole, radius, options.start_depth)
    estimate, field = smooth_fill(pyramid[-1].image, pyramid[-1].hole), None
    for depth, level in enumerate(reversed(pyramid)):
        if depth:
            estimate = torch.where(level.hole, _enlarge(estimate, level), level.image)
        search = NearestNeighbours(level, radius, generator, field)
        for _ in range(max(3, options.rounds - 2 * depth)):
            search.improve(estimate, options.iterations)
            estimate = torch.where(level.hole, search.vote(estimate), estimate)
        field = search.field()
        if progress is not None:
            progress((depth + 1) / len(pyramid))
    return Filled(torch.where(hole, estimate, image), field * hole)


class NearestNeighbours:
    """For every patch that touches the hole, the known patch that is most like it, as far as found.

    Args:
        level: The scale.
        radius: Of the patches.
        generator: Of the random numbers.
        coarse: (1, 2, h, w) int64, the field of the scale before, to start from. Default: random.

    Attributes:
        targets: (N, 2) int64, centres of the patches that touch the hole.
        sources: (N, 2) int64, centres of what was found for them.
        costs: (N,), their distances, the sum of squares over the patch; infinite before the first search.
    """

    def __init__(
        self, level: Level, radius: int, generator: torch.Generator, coarse: Tensor | None = None
    ) -> None:
        self.radius, self.generator = radius, generator
        self.hole = level.hole
        self.valid = valid_centres(level.missing, radius)
        self.targets = dilate(level.hole, radius)[0, 0].nonzero()
        self.index = torch.full(level.hole.shape[2:], -1, device=level.hole.device)
        self.index[tuple(self.targets.T)] = torch.arange(len(self.targets), device=level.hole.device)
        known = self.valid.nonzero()
        pick = torch.randint(len(known), (len(self.targets),), generator=generator, device=known.device)
        self.sources = known[pick]
        self.costs = torch.full((len(self.targets),), torch.inf, device=known.device)
        if coarse is not None:
            offsets = coarse[0][:, self.targets[:, 0] // 2, self.targets[:, 1] // 2].T
            self._propose(self.targets + 2 * offsets, lambda _targets, sources: torch.zeros(len(sources)))
            self.costs.fill_(torch.inf)

    def improve(self, image: Tensor, iterations: int) -> None:
        """Search: propagation from neighbours, then at random ever closer around the best so far.

        All patches at once, in place of the paper's scan: a good offset spreads to neighbours 8, 4, 2 and 1
        pixels away in one iteration.
        """
        distance = _Distance(image, self.radius)
        self.costs = distance(self.targets, self.sources)
        for _ in range(iterations):
            for step in (8, 4, 2, 1):
                for move in ((0, step), (0, -step), (step, 0), (-step, 0)):
                    self._propagate(self.targets.new_tensor(move), distance)
            reach = max(self.valid.shape)
            while reach >= 1:
                self._propose(self.sources + self._random_steps(reach), distance)
                reach //= 2

    def vote(self, image: Tensor) -> Tensor:
        """(1, C, H, W): every pixel the mean of what the patches over it paste, 0 where there is none.

        A patch counts the more, the more it is like its source: exp(-d / 2 sigma²), sigma² the third
        quartile of the distances (Wexler et al., section 3.2).
        """
        around = _around(self.radius, self.targets.device)
        sigma = self.costs.quantile(0.75).clamp(min=torch.finfo(self.costs.dtype).eps)
        weights = torch.exp(-self.costs / (2 * sigma))[:, None].expand(-1, len(around))
        height, width = image.shape[2:]
        at = (self.targets[:, None] + around).flatten(0, 1)
        inside = ((at >= 0) & (at < at.new_tensor([height, width]))).all(1)
        sources = (self.sources[:, None] + around).flatten(0, 1)[inside]
        flat, votes = at[inside, 0] * width + at[inside, 1], weights.flatten()[inside]
        colours = image[0][:, sources[:, 0], sources[:, 1]] * votes
        total = image.new_zeros(image.shape[1], height * width).index_add_(1, flat, colours)
        count = image.new_zeros(height * width).index_add_(0, flat, votes)
        return (total / count.clamp(min=torch.finfo(count.dtype).tiny)).view_as(image)

    def field(self) -> Tensor:
        """(1, 2, H, W) int64: the offset from each target to its source, 0 elsewhere."""
        offsets = torch.zeros((1, 2, *self.hole.shape[2:]), dtype=torch.int64, device=self.hole.device)
        offsets[0, :, self.targets[:, 0], self.targets[:, 1]] = (self.sources - self.targets).T
        return offsets

    def _propagate(self, move: Tensor, distance: Callable[[Tensor, Tensor], Tensor]) -> None:
        neighbours = self.targets + move
        limit = neighbours.new_tensor(self.index.shape) - 1
        clamped = neighbours.clamp(min=0).minimum(limit)
        index = self.index[clamped[:, 0], clamped[:, 1]]
        index = torch.where((clamped == neighbours).all(1), index, -1)
        found = self.sources[index.clamp(min=0)] - move
        self._propose(torch.where((index >= 0)[:, None], found, self.sources), distance)

    def _random_steps(self, reach: int) -> Tensor:
        size = self.sources.shape
        return torch.randint(-reach, reach + 1, size, generator=self.generator, device=self.sources.device)

    def _propose(self, sources: Tensor, distance: Callable[[Tensor, Tensor], Tensor]) -> None:
        """Take over proposed sources (N, 2) where they are whole known patches and closer."""
        limit = sources.new_tensor(self.valid.shape)
        inside = ((sources >= 0) & (sources < limit)).all(1)
        clamped = sources.clamp(min=0).minimum(limit - 1)
        usable = (inside & self.valid[clamped[:, 0], clamped[:, 1]]).nonzero()[:, 0]
        costs = distance(self.targets[usable], sources[usable])
        better = costs < self.costs[usable]
        chosen = usable[better]
        self.sources[chosen], self.costs[chosen] = sources[chosen], costs[better]


class _Distance:
    """The sum of squared differences of patches of one picture; beyond it a target has its nearest pixels."""

    def __init__(self, image: Tensor, radius: int) -> None:
        self.image = F.pad(image, (radius,) * 4, mode="replicate")[0].permute(1, 2, 0).contiguous()
        self.around = _around(radius, image.device) + radius

    def __call__(self, targets: Tensor, sources: Tensor) -> Tensor:
        patches = []
        for centres in (targets, sources):
            at = centres[:, None] + self.around
            patches.append(self.image[at[..., 0], at[..., 1]])
        return (patches[0] - patches[1]).square().sum((1, 2))


def _around(radius: int, device: torch.device) -> Tensor:
    """(P, 2): the steps from a patch's centre to its pixels."""
    steps = torch.arange(-radius, radius + 1, device=device)
    return torch.cartesian_prod(steps, steps)


def valid_centres(missing: Tensor, radius: int) -> Tensor:
    """(H, W) bool: centres of patches that lie within the picture and touch nothing missing."""
    beyond = F.pad(missing.to(torch.float32), (radius,) * 4, value=1.0).bool()
    return ~dilate(beyond, radius)[
        0, 0, radius : radius + missing.shape[2], radius : radius + missing.shape[3]
    ]


def _largest_radius(hole: Tensor, radius: int) -> int:
    while radius > 0 and not bool(valid_centres(hole, radius).any()):
        radius -= 1
    return radius


def _pyramid(image: Tensor, hole: Tensor, radius: int, start_depth: int) -> list[Level]:
    pyramid = [finest_level(image, hole)]
    while not is_thin(pyramid[-1].hole, start_depth):
        coarser = halve(pyramid[-1])
        if not bool(valid_centres(coarser.missing, radius).any()):
            break
        pyramid.append(coarser)
    return pyramid


def _enlarge(estimate: Tensor, level: Level) -> Tensor:
    height, width = level.image.shape[2:]
    return F.interpolate(estimate, scale_factor=2, mode="bilinear")[..., :height, :width]
