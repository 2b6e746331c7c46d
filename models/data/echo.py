"""Samples that are used several times, where decoding one takes longer than learning from it.

Data echoing (Choi, Passos, Shallue, Dahl, "Faster Neural Network Training with Data Echoing",
arXiv:1907.05550), of batches: each comes again some steps later, every sample turned and mirrored anew.

Shape legend: B samples; H, W the crop, H = W where samples are turned.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from .samples import Sample

_PLANES = ("image", "mask", "discount", "drafts")
# The symmetries of a square are the sums of these.
_MIRRORED, _UPSIDE_DOWN, _TRANSPOSED = 1, 2, 4
_SYMMETRIES = 8
# A batch is used again while this many fresh ones come, or one for each use if those are more.
WINDOW = 48
# Spawn keys: these are the seeds of no sample, and of no order of samples.
_ORDER, _TURNS = 2, 3


class Echo:
    """A process's parts of batches, each batch used so many times.

    Which batch comes when depends on its number alone. Of ``times`` batches one is fresh and the others are
    earlier ones, evenly spaced, in an order of their own: else the updates of a step, of which each takes a
    batch, might see only what is fresh, or none of it. At the beginning, when there are no earlier ones, the
    fresh one stands in: the first batches are used up to 2 ``times`` - 1 times.

    Args:
        fresh: From the number of a fresh batch to this process's parts of all batches from that one on.
        times: How often each batch is used, at least 1.
        parts: What a process's part of a batch is divided into.
        seed: Of the symmetries.

    Cost: each process holds up to max(`WINDOW`, times) batches and one, and decodes them anew where a run is
    taken up again.
    """

    def __init__(self, fresh: Callable[[int], Iterator[Sample]], times: int, parts: int, seed: int) -> None:
        self.times, self.parts, self.seed = times, parts, seed
        self._fresh, self._spacing = fresh, max(1, WINDOW // max(1, times - 1))
        self._held: dict[int, list[Sample]] = {}
        self._next: int | None = None

    def part(self, batch: int, part: int, places: slice, size: int) -> Sample:
        """A part of a batch.

        Args:
            batch: Its number; those of later calls are not smaller.
            part: Which of this process's parts.
            places: Of its samples among all of the batch's.
            size: Of the batch, over all processes.
        """
        newest, turn = divmod(batch, self.times)
        self._hold(newest)
        repeat = int(torch.randperm(self.times, generator=self._generator(newest, _ORDER))[turn])
        earlier = newest - repeat * self._spacing
        sample = self._held[earlier if earlier >= 0 else newest][part]
        if not repeat:
            return sample
        symmetries = torch.randint(_SYMMETRIES, (size,), generator=self._generator(batch, _TURNS))
        return turned(sample, symmetries[places])

    def _hold(self, newest: int) -> None:
        """Decode up to a fresh batch, and let go of those that are not used again."""
        oldest = max(0, newest - (self.times - 1) * self._spacing)
        if self._next is None:
            self._next = oldest
            self._stream = self._fresh(oldest)
        while self._next <= newest:
            parts = [next(self._stream) for _ in range(self.parts)]
            self._held[self._next] = parts if self.times == 1 else [_own(each) for each in parts]
            self._next += 1
        for number in [number for number in self._held if number < oldest]:
            del self._held[number]

    def _generator(self, number: int, key: int) -> torch.Generator:
        state = np.random.SeedSequence([self.seed, number], spawn_key=(key,)).generate_state(1, np.uint64)
        return torch.Generator().manual_seed(int(state[0]))


def _own(sample: Sample) -> Sample:
    """A batch in memory of its own: that of workers is shared, and each tensor there keeps a file open."""
    tensors = {name: x.clone() for name, x in sample._asdict().items() if isinstance(x, Tensor)}
    return sample._replace(**tensors)


def turned(sample: Sample, symmetries: Tensor) -> Sample:
    """A batch, each of its samples under a symmetry of the square.

    Args:
        sample: On the CPU, square.
        symmetries: (B,) integers: the sum of 1, columns in reverse; 2, rows in reverse; 4, then rows become
            columns.
    """

    def turn(x: Tensor) -> Tensor:
        for which, change in changes:
            x = torch.where((symmetries & which).bool().view(-1, 1, 1, 1), change(x), x)
        return x

    changes = (
        (_MIRRORED, lambda x: x.flip(3)),
        (_UPSIDE_DOWN, lambda x: x.flip(2)),
        (_TRANSPOSED, lambda x: x.transpose(2, 3)),
    )
    planes = {name: turn(getattr(sample, name)) for name in _PLANES}
    return sample._replace(**planes, box=_turned_boxes(sample.box, symmetries, sample.image.shape[2]))


def _turned_boxes(boxes: Tensor, symmetries: Tensor, side: int) -> Tensor:
    """(B, 4): top, left, height, width."""
    top, left, height, width = boxes.unbind(1)
    left = torch.where((symmetries & _MIRRORED).bool(), side - left - width, left)
    top = torch.where((symmetries & _UPSIDE_DOWN).bool(), side - top - height, top)
    turned = torch.stack((top, left, height, width), 1)
    transposed = (symmetries & _TRANSPOSED).bool()[:, None]
    return torch.where(transposed, turned[:, [1, 0, 3, 2]], turned)
