"""Does training learn? The error in the hole on pictures that were not trained on, step by step.

    pip install -c constraints.txt -e ".[train,bench,demo]"
    python benchmarks/learning_curve.py                          docs/images/training.png, minutes on a CPU
    python benchmarks/learning_curve.py --steps 1000 --output mine.png

Trains the preset "small" twice, on procedural pictures and on photographs that come with scikit-image, and
compares with filling each hole with the mean colour of what is known, and with the untrained network.
"""

from __future__ import annotations

import argparse
import multiprocessing
import tempfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import skimage
import torch
from lightning_fabric import Fabric
from matplotlib import pyplot

from contextual_attention.models.config import PRESETS, TrainConfig
from contextual_attention.models.data import Samples
from contextual_attention.models.evaluate import METHODS, Scores, evaluate
from contextual_attention.models.feed import mask_drawer
from contextual_attention.models.settings import change
from contextual_attention.models.sources import (
    Cached,
    PictureFiles,
    ProceduralPictures,
    Source,
    find_pictures,
)
from contextual_attention.models.trainer import Trainer
from contextual_attention.photos import read_photo, to_uint8, write_photos

OUTPUT = Path(__file__).parents[1] / "docs" / "images" / "training.png"
MEASURE = "hole l1 %"

# Photographs of scikit-image's data folder: the left two thirds of each are trained on, the rest is held out.
PHOTOGRAPHS = (
    "astronaut.png", "brick.png", "camera.png", "chelsea.png", "coffee.png", "coins.png", "grass.png",
    "gravel.png", "hubble_deep_field.jpg", "ihc.png", "moon.png", "motorcycle_left.png", "retina.jpg",
    "rocket.jpg",
)  # fmt: skip
# Held-out crops: of each photograph, and procedural pictures.
_CROPS, _PICTURES = 5, 64


@dataclass(frozen=True)
class Experiment:
    """One training run.

    Args:
        title: Of its curve.
        config: Of the run; its data are what is trained on.
        held_out: Pictures to measure on.
        every: Steps between measurements.
        threads: Of its process.
    """

    title: str
    config: TrainConfig
    held_out: Source
    every: int
    threads: int


@dataclass
class Curve:
    """The error of one training run on held-out pictures, in percent of the range of values."""

    title: str
    mean: float
    steps: list[int]
    errors: list[float]


def main(arguments: list[str] | None = None) -> None:
    given = _arguments(arguments)
    with tempfile.TemporaryDirectory() as folder:
        experiments = list(_experiments(given, Path(folder)))
        # Networks as small as these gain little from a second thread: a process each instead.
        spawn = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(len(experiments), mp_context=spawn) as pool:
            curves = list(pool.map(run, experiments))
    plot(curves, given.output)
    print(f"written: {given.output}")


def _arguments(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=PRESETS["small"].steps)
    parser.add_argument("--every", type=int, default=100, help="steps between measurements")
    parser.add_argument("--threads", type=int, default=1, help="of each of the two runs")
    parser.add_argument("--output", type=Path, default=OUTPUT)
    return parser.parse_args(arguments)


def _experiments(given: argparse.Namespace, folder: Path) -> Iterator[Experiment]:
    config = change(PRESETS["small"], {"steps": str(given.steps)})
    held_out = ProceduralPictures(_PICTURES, config.data.size * 3 // 2, seed=1)
    yield Experiment("procedural pictures", config, held_out, given.every, given.threads)
    trained_on, others = _cut_photographs(folder)
    config = change(config, {"data.path": str(trained_on)})
    held_out = PictureFiles(find_pictures(others) * _CROPS)
    yield Experiment("photographs", config, held_out, given.every, given.threads)


def _cut_photographs(folder: Path) -> tuple[Path, Path]:
    """Folders of the left two thirds of each photograph, and of the right third."""
    parts = folder / "trained_on", folder / "held_out"
    for part in parts:
        part.mkdir()
    for name in PHOTOGRAPHS:
        photo = to_uint8(read_photo(Path(skimage.__path__[0], "data", name))[0])
        cut = photo.shape[2] * 2 // 3
        pieces = zip(parts, (photo[..., :cut], photo[..., cut:]), strict=True)
        write_photos({(part / name).with_suffix(".png"): piece for part, piece in pieces})
    return parts


def run(experiment: Experiment) -> Curve:
    """Train, and measure now and then."""
    torch.set_num_threads(experiment.threads)
    config, title = experiment.config, experiment.title
    samples = _held_out_samples(experiment)
    mean = _mean(evaluate({"mean": METHODS["mean"]}, samples), "mean")
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(config, Fabric(accelerator="cpu", devices=1), Path(folder))
        curve = Curve(title, mean, [], [])
        for until in range(0, config.steps + 1, experiment.every):
            trainer.run(until)
            curve.steps.append(until)
            curve.errors.append(_error(samples, trainer))
            print(f"{title}, step {until}: {curve.errors[-1]:.2f} %, mean colour {mean:.2f} %", flush=True)
    return curve


def _held_out_samples(experiment: Experiment) -> Samples:
    """Crops as in training, so that errors compare, from another seed."""
    data, seed = experiment.config.data, experiment.config.seed + 1
    source, draw = Cached(experiment.held_out, data.cache), mask_drawer(experiment.config.masks)
    return Samples(source, draw, (data.size, data.size), seed, data.least_crop)


def _mean(scores: Scores, method: str) -> float:
    errors = scores.values[method][MEASURE]
    return sum(errors) / len(errors)


def _error(samples: Samples, trainer: Trainer) -> float:
    generator = trainer.average.module

    def complete(image: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        return generator(image, mask).completed

    return _mean(evaluate({"network": complete}, samples, batch=16), "network")


def plot(curves: list[Curve], path: Path) -> None:
    matplotlib.use("Agg")  # no window
    figure, axes = pyplot.subplots(1, len(curves), figsize=(9, 3.6), sharey=True)
    for axis, curve in zip(axes, curves, strict=True):
        axis.plot(curve.steps, curve.errors, color="C0", label="network")
        axis.axhline(curve.errors[0], color="C7", linestyle=":", label="untrained network")
        axis.axhline(curve.mean, color="C1", linestyle="--", label="mean colour of known pixels")
        axis.set(title=curve.title, xlabel="steps", ylim=(0, None), xlim=(0, curve.steps[-1]))
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("l1 in the hole, % of the range")
    axes[0].legend(loc="lower left")
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


if __name__ == "__main__":
    main()
