"""Does training learn? The error in the hole on pictures that were not trained on, step by step.

    pip install -c constraints.txt -e ".[train,bench,demo]"
    python benchmarks/learning_curve.py                          docs/images/training.png, minutes on a CPU
    python benchmarks/learning_curve.py --steps 1000 --output mine.png

Trains the preset "small" twice, on procedural pictures and on photographs that come with scikit-image, and
compares with filling each hole with the mean colour of what is known, and with the untrained network.
"""

from __future__ import annotations

import argparse
import functools
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import skimage
import torch
from lightning_fabric import Fabric
from rich.console import Console

from contextual_attention.models.config import PRESETS, TrainConfig, change
from contextual_attention.models.data import Samples
from contextual_attention.models.evaluate import METHODS, evaluate
from contextual_attention.models.feed import mask_drawer
from contextual_attention.models.sources import Cached, PictureFiles, ProceduralPictures, Source
from contextual_attention.models.trainer import Trainer

OUTPUT = Path(__file__).parents[1] / "docs" / "images" / "training.png"
MEASURE = "hole l1 %"

# Photographs of scikit-image's data folder; none of those held out shows what another one shows.
TRAINED_ON = (
    "astronaut.png", "brick.png", "camera.png", "coffee.png", "coins.png", "grass.png",
    "hubble_deep_field.jpg", "ihc.png", "motorcycle_left.png", "retina.jpg",
)  # fmt: skip
HELD_OUT = ("chelsea.png", "gravel.png", "moon.png", "rocket.jpg")
_CROPS = 64


@dataclass
class Curve:
    """The error of one training run on held-out pictures, in percent of the range of values."""

    title: str
    mean: float
    steps: list[int]
    errors: list[float]


def main(arguments: list[str] | None = None) -> None:
    given = _arguments(arguments)
    torch.set_num_threads(given.threads)
    console = Console()
    with tempfile.TemporaryDirectory() as folder:
        curves = [
            _train(title, config, held_out, given, console)
            for title, config, held_out in _experiments(Path(folder), given)
        ]
    _plot(curves, given.output)
    console.print(f"written: {given.output}")


def _arguments(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=PRESETS["small"].steps)
    parser.add_argument("--every", type=int, default=25, help="steps between measurements")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--output", type=Path, default=OUTPUT)
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="as in train")
    return parser.parse_args(arguments)


def _experiments(
    folder: Path, given: argparse.Namespace
) -> Iterator[tuple[str, tuple[TrainConfig, Path], Source]]:
    """Title, configuration and run folder, and held-out pictures of each run."""
    settings = {"steps": str(given.steps)} | dict(setting.split("=", 1) for setting in given.set)
    config = change(PRESETS["small"], settings)
    side = config.data.size * 3 // 2
    yield "procedural pictures", (config, folder / "procedural"), ProceduralPictures(_CROPS, side, seed=1)
    photos = Path(skimage.__path__[0], "data")
    names = folder / "photographs.txt"
    names.write_text("\n".join(str(photos / name) for name in TRAINED_ON))
    held_out = [photos / name for name in HELD_OUT] * (_CROPS // len(HELD_OUT))
    on_photos = change(config, {"data.path": str(names)})
    yield "photographs", (on_photos, folder / "photographs"), PictureFiles(held_out)


def _train(
    title: str, run: tuple[TrainConfig, Path], held_out: Source, given: argparse.Namespace, console: Console
) -> Curve:
    config, folder = run
    size, data = (config.data.size, config.data.size), config.data
    # Another seed than the run's; crops as in training, so that errors compare.
    samples = Samples(
        Cached(held_out, data.cache), mask_drawer(config.masks), size, config.seed + 1, data.least_crop
    )
    trainer = Trainer(config, Fabric(accelerator="cpu", devices=1), folder)
    measure = functools.partial(_error, samples, trainer)
    mean = evaluate({"mean": METHODS["mean"]}, samples).values["mean"][MEASURE]
    curve = Curve(title, sum(mean) / len(mean), [0], [measure()])
    for until in range(given.every, config.steps + 1, given.every):
        trainer.run(until)
        curve.steps.append(until)
        curve.errors.append(measure())
        console.print(
            f"{title}, step {until}: {MEASURE} {curve.errors[-1]:.2f} (mean colour {curve.mean:.2f})"
        )
    return curve


def _error(samples: Samples, trainer: Trainer) -> float:
    generator = trainer.average.module

    def complete(image: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        return generator(image, mask).completed

    values = evaluate({"network": complete}, samples, batch=16).values["network"][MEASURE]
    return sum(values) / len(values)


def _plot(curves: list[Curve], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

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
