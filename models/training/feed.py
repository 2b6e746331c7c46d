"""From a configuration to batches on the device of each process."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from lightning_fabric import Fabric

from ..data.echo import Echo
from ..data.mask_kinds import mask_drawer
from ..data.samples import Sample, Samples, Stream, make_loader
from ..data.sources import SCENES, Cached, Mixed, Source, open_source, procedural
from .config import TrainConfig
from .recipes import make_recipe


def make_samples(config: TrainConfig, say: Callable[[str], None] | None = None) -> Samples:
    """The samples of a run.

    Args:
        config: Of the run.
        say: Told what was chosen of a published data set.

    Raises:
        ValueError: Its pictures or masks are not there.
    """
    data, recipe = config.data, make_recipe(config)
    opened: Source = open_source(data.path, data.size, data.pictures, data.split, data.layout, say)
    if data.scenes:
        opened = Mixed(opened, procedural(SCENES, data.size, data.scenes))
    source = Cached(opened, data.cache)
    draw, size = mask_drawer(config.masks), (data.size, data.size)
    return Samples(
        source,
        draw,
        size,
        config.seed,
        data.least_crop,
        data.flip,
        recipe.gamma,
        data.rotate,
        data.most_enlarged,
        data.colour,
        recipe.draft,
    )


# Boxes stay on the CPU, where they are read as numbers.
_ON_DEVICE = ("image", "mask", "discount", "blend", "drafts")


class Feed:
    """This process's part of the stream of samples, on its device.

    Args:
        samples: Of the run.
        config: Of the run.
        fabric: Knows the processes and the device.
        position: Where to start, in samples.

    Attributes:
        position: Of the next batch; of all processes together.

    Raises:
        ValueError: A batch that does not divide into the parts of the processes.
    """

    def __init__(self, samples: Samples, config: TrainConfig, fabric: Fabric, position: int) -> None:
        self.fabric, self.position = fabric, position
        batch, parts = config.optimiser.batch, config.optimiser.accumulate
        self._batch, self._chunk = batch, _chunk(batch, fabric.world_size, parts)
        turns = self._chunk, fabric.world_size, fabric.global_rank
        workers, pin_memory = config.data.workers, fabric.device.type == "cuda"

        # Does not refer to self: in a circle of references the loader would outlive the feed, and its
        # workers, which take no signals, would be waited for.
        def fresh(first: int) -> Iterator[Sample]:
            stream = Stream(len(samples), config.seed, *turns, position=first * batch)
            return iter(make_loader(samples, stream, workers, pin_memory))

        self._echo = Echo(fresh, config.data.echo, parts, config.seed)
        self._broken: set[str] = set()

    def next(self) -> Sample:
        """The next part of a batch.

        Raises:
            DataError: The pictures cannot be read.
        """
        batch, done = divmod(self.position, self._batch)
        processes = self.fabric.world_size
        start = done + self.fabric.global_rank * self._chunk
        places = slice(start, start + self._chunk)
        sample = self._echo.part(batch, done // (self._chunk * processes), places, self._batch)
        self.position += self._chunk * processes
        for message in set(sample.broken) - self._broken:
            self._broken.add(message)
            print(f"skipped, {len(self._broken)} so far: {message}", flush=True)
        return on_device(sample, self.fabric)


def on_device(sample: Sample, fabric: Fabric) -> Sample:
    """A batch on the device of this process, but for its boxes."""
    return sample._replace(**fabric.to_device({name: getattr(sample, name) for name in _ON_DEVICE}))


def _chunk(batch: int, processes: int, accumulate: int) -> int:
    chunk, rest = divmod(batch, processes * accumulate)
    if rest or not chunk:
        raise ValueError(
            f"optimiser.batch: expected a multiple of processes x optimiser.accumulate = {processes} x "
            f"{accumulate}, got {batch}"
        )
    return chunk
