"""Does training learn? The error in the hole on pictures that were not trained on, step by step.

    pip install -c constraints.txt -e ".[train,bench]"
    python -m tools.docs.learning_curve                         docs/images/training.png, training.json
    python -m tools.docs.learning_curve --steps 3000 --output mine.png

Trains the preset "small" twice, on procedural pictures and on photographs that come with scikit-image and
scikit-learn, and compares with filling each hole with the mean colour of what is known, and with the
untrained network.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import tempfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import skimage
import sklearn.datasets
import torch
from lightning_fabric import Fabric

from contextual_attention.files import replace_file
from contextual_attention.models.data.mask_kinds import mask_drawer
from contextual_attention.models.data.samples import Samples
from contextual_attention.models.data.sources import (
    Cached,
    PictureFiles,
    ProceduralPictures,
    Source,
    find_pictures,
)
from contextual_attention.models.evaluation.evaluate import METHODS, Scores, evaluate
from contextual_attention.models.training.config import TrainConfig
from contextual_attention.models.training.gallery import Gallery
from contextual_attention.models.training.presets import PRESETS
from contextual_attention.models.training.settings import change
from contextual_attention.models.training.trainer import Trainer
from contextual_attention.photos import read_pixels, write_photos

from ..curves import over_steps, picture_of_axes

OUTPUT = Path(__file__).parents[1] / "docs" / "images" / "training.png"
MEASURE = "hole l1 %"

# Of scikit-image and scikit-learn. The left two thirds of each are trained on, the rest is held out.
PHOTOGRAPHS = (
    "astronaut.png", "brick.png", "camera.png", "chelsea.png", "china.jpg", "coffee.png", "coins.png",
    "flower.jpg", "grass.png", "gravel.png", "hubble_deep_field.jpg", "ihc.png", "moon.png",
    "motorcycle_left.png", "retina.jpg", "rocket.jpg",
)  # fmt: skip
_FOLDERS = (Path(skimage.__path__[0], "data"), Path(sklearn.datasets.__path__[0], "images"))
# Held-out crops of each photograph, and procedural pictures.
_CROPS, _PICTURES = 5, 64
_EXAMPLES = 3


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
    """The error of one training run on held-out pictures, in percent of the range of values.

    Attributes:
        title: Of the run.
        mean: Error of the mean colour.
        steps, errors: Of the network, the first untrained.
        examples: (rows, columns, 3) uint8: input, coarse, completed, original, attention after the last step.
    """

    title: str
    mean: float
    steps: list[int] = field(default_factory=list)
    errors: list[float] = field(default_factory=list)
    examples: Any = None


def main(arguments: list[str] | None = None) -> None:
    given = _arguments(arguments)
    with tempfile.TemporaryDirectory() as folder:
        experiments = list(_experiments(given, Path(folder)))
        # Networks as small as these gain little from a second thread: a process each instead.
        spawn = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(len(experiments), mp_context=spawn) as pool:
            curves = list(pool.map(run, experiments))
    plot(curves, given.output)
    write_numbers(curves, given.output.with_suffix(".json"))
    print(f"written: {given.output}, {given.output.with_suffix('.json')}")


def _arguments(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=PRESETS["small"].steps)
    parser.add_argument("--every", type=int, default=100, help="steps between measurements")
    parser.add_argument("--threads", type=int, default=1, help="of each of the two runs")
    parser.add_argument("--output", type=Path, default=OUTPUT, help="picture; its numbers go beside it")
    return parser.parse_args(arguments)


def _experiments(given: argparse.Namespace, folder: Path) -> Iterator[Experiment]:
    config = change(PRESETS["small"], {"steps": str(given.steps)})
    held_out = ProceduralPictures(_PICTURES, config.data.size * 3 // 2, seed=1)
    yield Experiment("procedural pictures", config, held_out, given.every, given.threads)
    trained_on, others = cut_photographs(folder)
    config = change(config, {"data.path": str(trained_on)})
    held_out = PictureFiles(find_pictures(others) * _CROPS)
    yield Experiment("photographs", config, held_out, given.every, given.threads)


def cut_photographs(folder: Path) -> tuple[Path, Path]:
    """Folders of the left two thirds of each photograph, and of the right third."""
    parts = folder / "trained_on", folder / "held_out"
    for part in parts:
        part.mkdir()
    for name in PHOTOGRAPHS:
        photo = _read(name)
        cut = photo.shape[2] * 2 // 3
        pieces = zip(parts, (photo[..., :cut], photo[..., cut:]), strict=True)
        write_photos({(part / name).with_suffix(".png"): piece for part, piece in pieces})
    return parts


def _read(name: str) -> torch.Tensor:
    (path,) = (folder / name for folder in _FOLDERS if (folder / name).is_file())
    return read_pixels(path)[0]


def run(experiment: Experiment) -> Curve:
    """Train, and measure now and then."""
    torch.set_num_threads(experiment.threads)
    config, title = experiment.config, experiment.title
    samples = _samples(config, experiment.held_out)
    curve = Curve(title, _mean(evaluate({"mean": METHODS["mean"]}, samples), "mean"))
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(config, Fabric(accelerator="cpu", devices=1), Path(folder))
        for until in range(0, config.steps + 1, experiment.every):
            trainer.run(until)
            curve.steps.append(until)
            curve.errors.append(_error(samples, trainer))
            print(
                f"{title}, step {until}: {curve.errors[-1]:.2f} %, mean colour {curve.mean:.2f} %", flush=True
            )
        drawn = Gallery(samples, trainer.recipe.complete, _EXAMPLES).draw(
            trainer.average.module, torch.device("cpu")
        )
    curve.examples = drawn.permute(1, 2, 0).numpy()
    return curve


def _samples(config: TrainConfig, source: Source) -> Samples:
    """Crops as in training, so that errors compare, from another seed."""
    data, size = config.data, (config.data.size, config.data.size)
    draw = mask_drawer(config.masks)
    return Samples(Cached(source, data.cache), draw, size, config.seed + 1, data.least_crop)


def _mean(scores: Scores, method: str) -> float:
    errors = scores.values[method][MEASURE]
    return sum(errors) / len(errors)


def _error(samples: Samples, trainer: Trainer) -> float:
    generator = trainer.average.module

    def complete(image: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        return generator(image, mask).completed

    return _mean(evaluate({"network": complete}, samples, batch=16), "network")


def plot(curves: list[Curve], path: Path) -> None:
    """The curves, and under each what the network makes of a few holes at the end."""
    with picture_of_axes(path, 2, len(curves), (4 * len(curves), 5.6)) as axes:
        for (axis, below), curve in zip(axes.T, curves, strict=True):
            axis.plot(curve.steps, curve.errors, color="C0", label="network")
            axis.axhline(curve.errors[0], color="C7", linestyle=":", label="untrained network")
            axis.axhline(curve.mean, color="C1", linestyle="--", label="mean colour of known pixels")
            over_steps(axis, curve.steps[-1], title=curve.title, ylim=(0, None))
            below.imshow(curve.examples)
            below.set_title("input, coarse, completed, original, attention", fontsize=8)
            below.axis("off")
        axes[0, 0].set_ylabel("l1 in the hole, % of the range")
        axes[0, 0].legend(loc="lower left")


def write_numbers(curves: list[Curve], path: Path) -> None:
    """What is drawn, as JSON."""
    numbers = [{name: x for name, x in asdict(curve).items() if name != "examples"} for curve in curves]
    text = json.dumps({"measure": MEASURE, "curves": numbers}, indent=1) + "\n"
    replace_file(path, lambda file: file.write(text.encode()))


if __name__ == "__main__":
    main()
