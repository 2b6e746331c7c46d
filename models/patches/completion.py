"""Holes filled with patches of the picture, from coarse to fine: what the methods have in common.

The scheme of Wexler et al., "Space-Time Completion of Video", PAMI 2007: at every scale of a pyramid rounds
of search and vote, and each scale begins with what the coarser one before has found.

Shape legend: C channels; H, W the picture.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch

from .scales import Scale, whole_patches
from .search import Preferences, Search

Progress = Callable[[float], None]
Begin = Callable[[Search], None]
Advance = Callable[[Scale], None]

# A scale with fewer patches to borrow from has nothing to choose from.
_FEWEST_SOURCES = 64
# How far votes are drawn to the guide: at coarse scales, and at the finest, where texture counts too.
_GUIDED_COARSE, _GUIDED_FINE = 0.9, 0.5
# A last search, as votes have changed what is compared.
_LAST_ITERATIONS, _LAST_REACH = 2, 4


@dataclass(frozen=True)
class Settings:
    """How to complete.

    Args:
        radius: Patches are 2 * radius + 1 pixels a side.
        candidates: Sources kept for each patch.
        rounds: Of search and vote at the coarsest scale; each finer one has two less, at least 3. With 0,
            patches are only found.
        iterations: Of a scale's first search; the others have half as many.
        start_depth: A scale is coarse enough to begin with if no pixel of the hole is deeper inside.
        sharpening: How much sharper the votes of a round are than those of the one before.
        preferences: Of the search and the votes.
        seed: Of the random numbers.
    """

    radius: int
    candidates: int
    rounds: int
    iterations: int
    start_depth: int
    sharpening: float
    preferences: Preferences
    seed: int


@torch.no_grad()
def complete(
    finest: Scale, attempts: Sequence[Settings], begin: Begin, progress: Progress | None = None
) -> Search:
    """Fill the hole of the finest scale, and return what was found for it.

    Of several attempts the likeliest at half the resolution is gone on with.

    Args:
        finest: The picture; what is in its hole is changed.
        attempts: At least one.
        begin: Fills the hole of a coarsest scale for the first time.
        progress: Called after every round with the share of the work that is done, in (0, 1].
    """
    scales = _pyramid(finest, attempts)
    starts = [_start(scales, attempt) for attempt in attempts]
    if 0 in starts:  # thin from the beginning: nothing to choose from
        attempts, starts = [attempts[starts.index(0)]], [0]
    advance = _meter(scales, attempts, starts, progress)
    found = [
        _work_coarsely(scales[1 : start + 1], attempt, begin, advance)
        for attempt, start in zip(attempts, starts, strict=True)
    ]
    best = _likeliest(found) if len(found) > 1 else 0
    coarser, found, scales = found[best], [], []  # the rest of them makes room
    search = _work(finest, attempts[best], starts[best], coarser, begin, advance)
    if progress is not None:
        progress(1.0)
    return search


def _pyramid(finest: Scale, attempts: Sequence[Settings]) -> list[Scale]:
    """The finest scale first, the last one so coarse that the hole is thin to every attempt."""
    radius = max(attempt.radius for attempt in attempts)
    depth = min(attempt.start_depth for attempt in attempts)
    scales = [finest]
    while not _is_thin(scales[-1], depth):
        coarser = scales[-1].halve()
        if int(whole_patches(coarser.missing, radius).count_nonzero()) < _FEWEST_SOURCES:
            break
        scales.append(coarser)
    return scales


def _start(scales: Sequence[Scale], attempt: Settings) -> int:
    """The finest scale at which the hole is thin, else the coarsest."""
    thin = [_is_thin(scale, attempt.start_depth) for scale in scales]
    return thin.index(True) if True in thin else len(scales) - 1


def _is_thin(scale: Scale, depth: int) -> bool:
    """Whether every pixel of the hole is at most so many pixels away from a known one."""
    return scale.deepest <= depth


def _rounds(attempt: Settings, scale: Scale, start: int) -> int:
    return max(min(3, attempt.rounds), attempt.rounds - 2 * (start - scale.depth))


def _work_coarsely(
    scales: Sequence[Scale], attempt: Settings, begin: Begin, advance: Advance
) -> Search | None:
    """What an attempt finds at one scale after the other, the last one first; None: there is none."""
    search = None
    for scale in reversed(scales):
        own = replace(scale, features=scale.features.clone())
        search = _work(own, attempt, scales[-1].depth, search, begin, advance)
    return search


def _work(
    scale: Scale, attempt: Settings, start: int, coarser: Search | None, begin: Begin, advance: Advance
) -> Search:
    """Rounds of search and vote at one scale."""
    seed = attempt.seed + 1000 * scale.depth
    search = Search(scale, attempt.radius, attempt.candidates, attempt.preferences, seed)
    guided = _GUIDED_COARSE if scale.depth else _GUIDED_FINE
    search.start(coarser)
    if coarser is None:
        begin(search)
    else:
        search.paste()
        scale.mix_guide(search.pixels.long(), guided)
    wide = max(scale.hole.shape)
    near = wide if coarser is None else max(4, wide // 4)
    for round_ in range(_rounds(attempt, scale, start)):
        if round_ == 0:
            search.improve(attempt.iterations, wide)
        else:
            search.improve(max(1, attempt.iterations // 2), near)
        search.vote(attempt.sharpening**round_)
        scale.mix_guide(search.pixels.long(), guided)
        advance(scale)
    search.improve(_LAST_ITERATIONS, _LAST_REACH)
    return search


def _meter(
    scales: Sequence[Scale], attempts: Sequence[Settings], starts: Sequence[int], progress: Progress | None
) -> Advance:
    """What to call after each round at a scale: it tells ``progress`` how much of all rounds is done."""
    if progress is None:
        return lambda scale: None
    sizes = [int(scale.hole.count_nonzero()) for scale in scales]
    shares = [
        [_rounds(attempt, scale, start) * sizes[scale.depth] for scale in scales[: start + 1]]
        for attempt, start in zip(attempts, starts, strict=True)
    ]
    # Which attempt is gone on with is not known yet: as if the longest.
    total = sum(sum(share[1:]) for share in shares) + max(share[0] for share in shares)
    done = 0

    def advance(scale: Scale) -> None:
        nonlocal done
        done += sizes[scale.depth]
        progress(min(1.0, done / max(1, total)))

    return advance


def _likeliest(found: Sequence[Search]) -> int:
    """Which search has found what is most like a photograph, of several of one scale.

    Costs alone would choose what is blurred: it is like everything. Here count as much, each relative to its
    mean over all: how often neighbours come from different places; how far away from; how badly copies that
    lie side by side fit together; and the costs.
    """
    marks = torch.stack([_marks(search) for search in found])
    mean = marks.mean(0).clamp(min=torch.finfo(marks.dtype).tiny)
    return int((marks / mean).sum(1).argmin())


def _marks(search: Search) -> torch.Tensor:
    hole, offsets = search.scale.hole, search.offsets()[0]
    breaks = 0
    for here, beside in _pairs(hole, ((0, 1), (1, 0))):
        differ = (offsets[(slice(None), *here)] != offsets[(slice(None), *beside)]).any(0)
        breaks += int((differ & hole[beside]).sum())
    far = offsets[:, hole].double().norm(dim=0).mean()
    seams = _mismatch(search, offsets)
    return torch.tensor([float(breaks), float(far), seams, float(search.costs[:, 0].double().mean())])


def _mismatch(search: Search, offsets: torch.Tensor) -> float:
    """By how much the colours of copies differ from what lies beside them, a pixel of the hole."""
    features = search.scale.features[..., : search.scale.colours]
    hole = search.scale.hole
    height, width = hole.shape
    total = 0
    for here, beside in _pairs(hole, ((0, 1), (1, 0), (0, -1), (-1, 0))):
        # What follows where the copy comes from, against what is copied to the neighbour, or known there.
        follows = [at + move for at, move in zip(beside, offsets[(slice(None), *here)], strict=True)]
        copied = [at + move for at, move in zip(beside, offsets[(slice(None), *beside)], strict=True)]
        usable = (follows[0] >= 0) & (follows[0] < height) & (follows[1] >= 0) & (follows[1] < width)
        one, other = (features[at[0][usable], at[1][usable]] for at in (follows, copied))
        total += int((one.short() - other.short()).abs().sum())
    return total / int(hole.count_nonzero())


_Places = tuple[torch.Tensor, torch.Tensor]


def _pairs(hole: torch.Tensor, moves: Sequence[tuple[int, int]]) -> Iterator[tuple[_Places, _Places]]:
    """For every move down and right, the pixels of a hole and those that they lead to, rows and columns."""
    rows, columns = hole.nonzero().T
    for down, right in moves:
        row, column = rows + down, columns + right
        inside = (row >= 0) & (row < hole.shape[0]) & (column >= 0) & (column < hole.shape[1])
        yield (rows[inside], columns[inside]), (row[inside], column[inside])
