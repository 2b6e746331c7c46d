"""Filling holes in photographs without training, with patches of the photograph itself.

Every patch that touches the hole attends to known patches, and is replaced by the most alike: contextual
attention with the picture as foreground and background. At a coarse scale all scores are computed, by the
layer; at finer ones the best are searched for around what was found before. Where edges are sure to go on,
they guide the filling.

Shape legend: C channels; H, W the picture; N patches that touch the hole.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from numbers import Integral
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..patches.blank import blank
from ..patches.completion import Progress, Settings, complete
from ..patches.pyramid import smooth_fill
from ..patches.rings import fill_rings
from ..patches.scales import Guide, finest_scale
from ..patches.search import Preferences, Search
from .blend import blend_copies, copy_pixels
from .edges import continue_edges
from .thin import fill_thin, thin_part

# Which share of the time the search takes, about.
_SEARCHING, _SEARCHING_THIN = 0.9, 0.3


@dataclass(frozen=True)
class ExemplarOptions:
    """How `fill_exemplar` searches.

    Args:
        radius: Patches are 2 * radius + 1 pixels a side, from 0 to 10; default 3. Where a picture has no such
            patch to borrow, the largest that it has.
        candidates: Sources that are kept for each patch and vote, 1 to 64; default 1. More are closer to the
            mean of what might be there, and have less grain.
        rounds: Of search and vote at the coarsest scale, at least 1; default 12. Each finer scale has two
            less, at least 3.
        iterations: Propagations and random searches in a scale's first search, at least 1; default 4.
        start_depths: What is begun with, an attempt each: the finest scale at which no pixel of the hole is
            deeper inside than this, in pixels, at least 1. The attempt that comes out likeliest is gone on
            with. Default 10, 5 and 7: edges are lost at coarse scales, and what repeats is seen there.
        proximity: What a source as far away as the picture is long costs, as a squared difference of
            8-bit features a pixel, from 0 to 100,000; default 600. No more than the patch's own variance
            counts.
        trust: How many times more a patch counts in a vote than one a pixel deeper in the hole, at least 1;
            default 3.
        full_search: Scores, patches of a ring times pixels, up to which the layer computes them all for the
            first filling, at least 0; default 4e6. Above it, these patches are searched for too.
        guide: Whether edges that end at the hole are continued, see `continue_edges`; default True.
        blend: Whether the levels of the copies are adapted to each other and to what is known, see
            `blend_copies`, and what is thin is predicted, see `fill_thin`; default True. False: every pixel
            is a copy of a known one.
        seed: Of the random numbers; default 0.
        workspace: As in `contextual_attention`.
        backend: As in `contextual_attention`.
    """

    radius: int = 3
    candidates: int = 1
    rounds: int = 12
    iterations: int = 4
    start_depths: tuple[int, ...] = (10, 5, 7)
    proximity: int = 600
    trust: float = 3.0
    full_search: float = 4e6
    guide: bool = True
    blend: bool = True
    seed: int = 0
    workspace: int | None = None
    backend: str | None = None

    def __post_init__(self) -> None:
        require(0 <= self.radius <= 10, "radius", "from 0 to 10", self.radius)
        require(1 <= self.candidates <= 64, "candidates", "from 1 to 64", self.candidates)
        require(self.rounds >= 1, "rounds", "at least 1", self.rounds)
        require(self.iterations >= 1, "iterations", "at least 1", self.iterations)
        depths = self.start_depths
        require(len(depths) > 0 and min(depths) >= 1, "start_depths", "some, each at least 1", depths)
        require(0 <= self.proximity <= 100_000, "proximity", "from 0 to 100,000", self.proximity)
        require(self.trust >= 1, "trust", "at least 1", self.trust)
        require(self.full_search >= 0, "full_search", "at least 0", self.full_search)
        require_seed(self.seed)

    def attempts(self) -> list[Settings]:
        """One for each of the start depths."""
        return [
            Settings(
                radius=self.radius,
                candidates=self.candidates,
                rounds=self.rounds,
                iterations=self.iterations,
                start_depth=depth,
                sharpening=1.0,
                preferences=Preferences(self.proximity, self.trust),
                seed=int(self.seed) + 100_000 * number,
            )
            for number, depth in enumerate(self.start_depths)
        ]

    def begin(self, search: Search) -> None:
        layer = {"workspace": self.workspace, "backend": self.backend}
        fill_rings(search, self.full_search, layer)


def require(holds: bool, name: str, expected: str, given: object) -> None:
    """Refuse an option out of its range."""
    if not holds:
        raise ValueError(f"{name}: expected {expected}, got {given!r}")


def require_seed(seed: int) -> None:
    """Refuse what the random numbers cannot begin with."""
    whole = isinstance(seed, Integral) and not isinstance(seed, bool)
    require(whole and -(2**62) <= seed <= 2**62, "seed", "a whole number from -2**62 to 2**62", seed)


class Filled(NamedTuple):
    """A filled picture.

    Attributes:
        image: (1, C, H, W); known pixels are those that came in, bit for bit.
        offsets: (1, 2, H, W) int64: (row, column) from each filled pixel to where it was copied from; 0
            elsewhere.
    """

    image: Tensor
    offsets: Tensor


@torch.no_grad()
def fill_exemplar(
    image: Tensor,
    hole: Tensor,
    options: ExemplarOptions | None = None,
    progress: Progress | None = None,
    guide: Guide | None = None,
) -> Filled:
    """Fill the holes of a picture with its own patches; needs no weights.

    The coarse-to-fine scheme of Wexler et al., "Space-Time Completion of Video", PAMI 2007. The coarsest
    scale is first filled ring by ring from the border of the hole by contextual attention (Yu et al. 2018,
    arXiv:1801.07892, section 3.2) to the picture; then, and at each finer scale, patches are searched for
    (PatchMatch: Barnes et al. 2009) and vote. At last the copies are joined by `blend_copies`. What is thin,
    such as scratches and text, is then filled by `fill_thin` instead, and its offsets say what is alike.
    Random numbers are those of the seed: the same result on every run.

    Args:
        image: (1, C, H, W) float32 in [-1, 1]; patches are compared by the first 6 channels.
        hole: (1, 1, H, W) bool: pixels to fill; at least one pixel is known.
        options: Default: ``ExemplarOptions()``.
        progress: Called now and then with the share of the work that is done, in (0, 1].
        guide: What is known beforehand of the colours in the holes, on the CPU: patches are chosen that are
            like it. Default: of `continue_edges`, unless the options say otherwise.

    Returns:
        Filled.

    Raises:
        ValueError: Shapes that do not fit, nothing known, an option out of its range, or a workspace that is
            too small.

    Computed on the CPU; the tensors of another device are brought there, and the result back.
    Cost: time goes with N, and some passes over the picture. Memory: about 50 bytes a pixel of the picture.

    Examples:
        >>> image = torch.linspace(-9, 9, 48).sin().expand(1, 3, 48, 48).contiguous()
        >>> hole = torch.zeros(1, 1, 48, 48, dtype=torch.bool)
        >>> hole[..., 20:28, 20:28] = True
        >>> bool((fill_exemplar(image, hole).image - image).abs().max() < 0.1)  # all rows are alike
        True
    """
    options = options or ExemplarOptions()

    @cache
    def thin() -> Tensor:
        return thin_part(hole.cpu())

    def search(image: Tensor, hole: Tensor) -> Search:
        only_thin = options.blend and torch.equal(thin(), hole)
        edges = continue_edges(image, hole) if options.guide and guide is None and not only_thin else guide
        finest = finest_scale(image, hole, edges)
        attempts = options.attempts()
        if only_thin:  # what is found says where patches are alike, and pastes nothing
            alike = Preferences(proximity=0, trust=options.trust)
            attempts = [replace(attempts[0], rounds=0, preferences=alike)]
        share = _SEARCHING_THIN if only_thin else _SEARCHING
        partly = None if progress is None else lambda done: progress(share * done)
        return complete(finest, attempts, options.begin, partly)

    def place(image: Tensor, hole: Tensor, offsets: Tensor, radius: int) -> Tensor:
        if not options.blend:
            return copy_pixels(image, hole, offsets)
        if options.radius and not radius:
            # With no patch to borrow, such as of every second row, all is predicted.
            return fill_thin(image, hole, smooth_fill(image, hole))
        joined = blend_copies(image, hole, offsets)
        return fill_thin(joined, thin(), joined) if bool(thin().any()) else joined

    return fill(image, hole, search, place, progress)


def fill(
    image: Tensor,
    hole: Tensor,
    search: Callable[[Tensor, Tensor], Search],
    place: Callable[[Tensor, Tensor, Tensor, int], Tensor],
    progress: Progress | None,
) -> Filled:
    """The picture filled on the CPU: what is found is placed, by its offsets and its patches' radius."""
    check_picture(image, hole)
    home, image, hole = image.device, image.cpu(), hole.cpu()
    if bool(hole.any()):
        found = search(image, hole)
        offsets, radius = found.offsets(), found.radius
        del found  # makes room
        placed = place(image, hole, offsets, radius)
        image = torch.where(hole, placed, image, out=placed)
    else:
        offsets = blank((1, 2, *image.shape[2:]), np.int64)
    if progress is not None:
        progress(1.0)
    return Filled(image.to(home), offsets.to(home))


def check_picture(image: Tensor, hole: Tensor) -> None:
    """Refuse what no method can fill."""
    if image.dim() != 4 or image.shape[0] != 1 or 0 in image.shape:
        raise ValueError(f"image: expected shape (1, C, H, W), got {tuple(image.shape)}")
    if image.dtype != torch.float32:
        raise ValueError(f"image: expected float32 in [-1, 1], got {image.dtype}; convert it")
    if hole.dtype != torch.bool or hole.shape != (1, 1, *image.shape[2:]):
        raise ValueError(
            f"hole: expected bool of shape {(1, 1, *image.shape[2:])}, got {hole.dtype}, {tuple(hole.shape)}"
        )
    if bool(hole.all()):
        raise ValueError("hole: every pixel is missing, there is nothing to fill it with")
