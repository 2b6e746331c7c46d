"""Training samples: crops of pictures with a hole each, in an order that can be taken up again anywhere.

All that is random about a sample comes from (seed, epoch, index) of its picture. The stream of samples is
therefore the same whatever the numbers of workers and processes are, and its position is a single number.
What is used more than once is turned anew each time (echo.py).

Shape legend: B samples; H, W the crop; a box is (top, left, height, width).
"""

from __future__ import annotations

import functools
import math
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset, Sampler

from ...photos import PhotoError, to_features
from .augment import recolour, turned_crop, turned_extents
from .discount import discount_weights
from .draws import uniform
from .masks import Masks, Size
from .sources import Source

DrawMasks = Callable[[int, Size, torch.Generator], Masks]

# With half of the files broken this many in a row never come; with all of them they come at once.
_ATTEMPTS = 50
# Seconds that a worker may take for one batch: a file system that hangs stops the run with a message.
_WORKER_TIMEOUT = 600


class DataError(RuntimeError):
    """The data cannot be trained on."""


class Place(NamedTuple):
    """Where a sample stands in the stream: which pass over the pictures, and which of them."""

    epoch: int
    index: int


class Sample(NamedTuple):
    """One sample, or a batch of them with B in front.

    Attributes:
        image: (3, H, W) float32 in [-1, 1].
        mask: (1, H, W) bool, True = missing.
        discount: (1, H, W) float32, the weights of `discount_weights`, which are made on the CPU.
        box: (4,) int64, the local critic's region.
        blend: () float32 in [0, 1), where on the line between real and completed the gradient is penalised.
        drafts: (n, H, W) float32, fillings that the network starts from; of most networks n is 0.
        broken: Messages about files that could not be read, in whose place this one stands.
    """

    image: Tensor
    mask: Tensor
    discount: Tensor
    box: Tensor
    blend: Tensor
    drafts: Tensor
    broken: tuple[str, ...]


class Samples(Dataset[Sample]):
    """The sample at each `Place`.

    Args:
        source: The pictures.
        draw_masks: Draws a mask for each sample, as the functions of masks.py with their options bound.
        size: (H, W) of the crops in pixels.
        seed: Of everything random.
        least_crop: Least side of a crop, in shares of the largest that the picture admits; 1.0: always that.
        flip: Whether half of the crops are mirrored.
        gamma: Base of the discount, in (0, 1].
        rotate: Crops are turned by up to so many degrees either way.
        most_enlarged: How many times a crop may be enlarged, as far as the picture admits; 0: any number.
        colour: Strength of `augment.recolour`, 0 to 1.
        draft: Of images (B, 3, H, W) and masks the fillings that a network starts from, (B, n, H, W); None:
            there are none.
    """

    def __init__(
        self,
        source: Source,
        draw_masks: DrawMasks,
        size: Size,
        seed: int,
        least_crop: float = 1.0,
        flip: bool = False,
        gamma: float = 1.0,
        rotate: float = 0.0,
        most_enlarged: float = 0.0,
        colour: float = 0.0,
        draft: Callable[[Tensor, Tensor], Tensor] | None = None,
    ) -> None:
        self.source, self.draw_masks, self.size, self.seed = source, draw_masks, size, seed
        self.least_crop, self.flip, self.gamma = least_crop, flip, gamma
        self.rotate, self.most_enlarged, self.colour = rotate, most_enlarged, colour
        self.draft = draft

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, place: tuple[int, int]) -> Sample:
        """Read, crop and mask one picture.

        Raises:
            DataError: Neither the picture nor any of those taken in its place can be read.
        """
        with _one_thread():
            return self._sample(*place)

    def _sample(self, epoch: int, index: int) -> Sample:
        generator = sample_generator(self.seed, epoch, index)
        picture, broken = self._read(index, generator)
        crop = random_crop(
            picture, self.size, self.least_crop, self.flip, generator, self.rotate, self.most_enlarged
        )
        image = recolour(crop, self.colour, generator)
        mask, boxes = self.draw_masks(1, self.size, generator)
        discount = discount_weights(mask, self.gamma)
        blend = torch.rand((), generator=generator)
        drafts = image.new_zeros(0, *self.size) if self.draft is None else self.draft(image[None], mask)[0]
        return Sample(image, mask[0], discount[0], boxes[0], blend, drafts, broken)

    def _read(self, index: int, generator: torch.Generator) -> tuple[Tensor, tuple[str, ...]]:
        """The picture, or in place of one that cannot be read another at random."""
        broken: list[str] = []
        while len(broken) < _ATTEMPTS:
            try:
                return self.source.read(index), tuple(broken)
            except PhotoError as error:
                broken.append(str(error))
                index = int(torch.randint(len(self.source), (), generator=generator))
        raise DataError(f"data: {_ATTEMPTS} pictures one after the other cannot be read, last {broken[-1]}")


@contextmanager
def _one_thread() -> Iterator[None]:
    """As workers have: how many threads share a sum decides its last bits."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def sample_generator(seed: int, epoch: int, index: int) -> torch.Generator:
    """The random numbers of one sample, independent of those of every other."""
    state = np.random.SeedSequence([seed, epoch, index]).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(state[0]))


def random_crop(
    picture: Tensor,
    size: Size,
    least: float,
    flip: bool,
    generator: torch.Generator,
    rotate: float = 0.0,
    most_enlarged: float = 0.0,
) -> Tensor:
    """A crop of a picture (3, h, w) uint8, of uniform size and place, as (3, H, W) float32 in [-1, 1].

    The crop has the shape of ``size``, and for ``least`` = 1 is as large as the picture admits, turned by
    uniform +-``rotate`` degrees if at all. It is resized bilinearly, antialiased; small ones are enlarged.
    Where larger crops are enlarged less, those that would be by more than ``most_enlarged`` (0: any number)
    are not drawn.
    """
    draws = torch.rand(4, generator=generator, dtype=torch.float64).tolist()
    angle = math.radians(uniform(-rotate, rotate, generator)) if rotate else 0.0
    extents = turned_extents(size, angle)
    largest = min(length / extent for length, extent in zip(picture.shape[1:], extents, strict=True))
    if most_enlarged:
        least = max(least, min(1.0, 1 / (most_enlarged * largest)))
    scale = (least + (1 - least) * draws[0]) * largest
    if rotate:
        centre = [
            scale * extent / 2 + draw * (length - scale * extent)
            for draw, length, extent in zip(draws[1:3], picture.shape[1:], extents, strict=True)
        ]
        crop = turned_crop(picture, size, scale, angle, (centre[0], centre[1]))
    else:
        crop = _upright_crop(picture, size, scale, draws[1:3])
    return crop.flip(2) if flip and draws[3] < 0.5 else crop


def _upright_crop(picture: Tensor, size: Size, scale: float, draws: list[float]) -> Tensor:
    """A crop of whole pixels; the draws, row and column, say where in what is left over of the picture."""
    sides = [max(1, round(scale * side)) for side in size]
    top, left = (
        int(draw * (length - side + 1))
        for draw, length, side in zip(draws, picture.shape[1:], sides, strict=True)
    )
    crop = to_features(picture[:, top : top + sides[0], left : left + sides[1]])
    if tuple(sides) != tuple(size):
        crop = F.interpolate(crop[None], size, mode="bilinear", align_corners=False, antialias=True)[0]
    return crop


class Stream(Sampler[list[Place]]):
    """The endless order of samples, from any position on, dealt out to processes.

    Every epoch is a permutation of the pictures, drawn from (seed, epoch). A position counts samples from the
    beginning: epoch and place within it are its quotient and remainder by the number of pictures.

    Args:
        pictures: How many there are.
        seed: Of the permutations.
        chunk: Samples in what a process gets at once.
        processes: How many take turns; the chunks of all of them are consecutive.
        process: Which one this is, from 0.
        position: Of the first sample of the first process.
    """

    def __init__(
        self, pictures: int, seed: int, chunk: int, processes: int = 1, process: int = 0, position: int = 0
    ) -> None:
        self.pictures, self.seed, self.chunk = pictures, seed, chunk
        self.processes, self.process, self.position = processes, process, position

    def __iter__(self) -> Iterator[list[Place]]:
        order = functools.lru_cache(maxsize=2)(self._order)  # a chunk may reach into the next epoch
        first = self.position + self.process * self.chunk
        while True:
            places = (divmod(n, self.pictures) for n in range(first, first + self.chunk))
            yield [Place(epoch, int(order(epoch)[rank])) for epoch, rank in places]
            first += self.processes * self.chunk

    def _order(self, epoch: int) -> Tensor:
        # A spawn key, so that this is no sample's seed.
        state = np.random.SeedSequence([self.seed, epoch], spawn_key=(1,)).generate_state(1, np.uint64)
        return torch.randperm(self.pictures, generator=torch.Generator().manual_seed(int(state[0])))


def make_loader(samples: Samples, stream: Stream, workers: int, pin_memory: bool) -> DataLoader:
    """Batches of the stream, for ever, decoded by worker processes (0: by this one)."""
    return DataLoader(
        samples,
        batch_sampler=stream,
        num_workers=workers,
        collate_fn=collate,
        pin_memory=pin_memory,
        timeout=_WORKER_TIMEOUT if workers else 0,
        worker_init_fn=_leave_signals_to_the_trainer,
        # Else the seed of its workers would come from torch's own generator, whose state a checkpoint holds.
        generator=torch.Generator(),
    )


def collate(samples: list[Sample]) -> Sample:
    """A batch: tensors stacked, messages joined."""
    *tensors, broken = zip(*samples, strict=True)
    return Sample(*map(torch.stack, tensors), broken=sum(broken, ()))


def _leave_signals_to_the_trainer(_worker: int) -> None:
    """Both reach whole groups of processes, and the trainer needs its workers to end the step and save.

    Workers end when the loader does, or when they find that their parent is gone.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
