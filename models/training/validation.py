"""Validation: the averaged generator on pictures that are never trained on, crops and holes always the same.

Shape legend: B samples; H, W the crop.
"""

from __future__ import annotations

import copy
import json
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor

from ...files import replace_folder
from ..data.samples import Place, Sample, Samples, collate
from ..data.sources import held_out_split
from ..network.folders import FolderOfWeights
from .config import DataConfig, TrainConfig
from .feed import make_samples, on_device
from .recipes import make_recipe
from .recipes.base import hole_l1
from .run_log import RunLog

# Of crops and holes, whatever the run's own seed: the figures of two runs compare.
_SEED = 20180124
_BATCH = 16
# In [-1, 1] the range of values is 2; an error of a hundred thousandth of it, 100 dB, is as good as none.
_RANGE, _LEAST = 2.0, 1e-5
# What the best generator's folder has besides.
FIGURES = "validation.json"
# How figures are shown while the run goes on, as the recipe's terms are.
HEADLINE = {"validation_hole_l1": "validation: hole l1 {:.2f} %", "validation_hole_psnr": "{:.2f} dB"}


@dataclass(frozen=True)
class Best:
    """The averaged generator that was best so far: its hole l1 was the least.

    Attributes:
        step: After which it was so.
        figures: Its own, of `Validation.measure`.
        pictures: How many there were to take crops of.
        network: It, on the CPU.
    """

    step: int
    figures: dict[str, float]
    pictures: int
    network: FolderOfWeights

    def state(self) -> dict[str, Any]:
        """For a checkpoint."""
        weights = self.network.state_dict()
        return {"step": self.step, "figures": self.figures, "pictures": self.pictures, "weights": weights}

    def save(self, folder: Path) -> None:
        """Write it as ``save_pretrained`` does, with its step and figures in validation.json."""
        text = json.dumps({"step": self.step, **self.figures, "pictures": self.pictures}, indent=1) + "\n"

        def write(folder: Path) -> None:
            self.network.save_pretrained(folder)
            (folder / FIGURES).write_text(text, encoding="utf-8")

        replace_folder(folder, write)


def held_out_samples(config: TrainConfig, say: Callable[[str], None] | None = None) -> Samples | None:
    """What a run is validated on, cropped as in training but neither mirrored nor changed; None: nothing.

    Args:
        config: Of the run.
        say: Told what was chosen of a published data set.

    Raises:
        ValueError: The pictures or masks are not there.
    """
    asked = config.validation
    if not asked.path:
        return None
    try:
        data = DataConfig(
            path=asked.path,
            size=config.data.size,
            least_crop=config.data.least_crop,
            flip=False,
            pictures=asked.samples,
            split=asked.split or held_out_split(asked.path, asked.layout),
            layout=asked.layout,
        )
        return make_samples(replace(config, data=data, seed=_SEED), say)
    except ValueError as error:
        raise ValueError(f"validation: {error}") from error


class Validation:
    """The figures of a run's averaged generator as training goes on, and the best one so far.

    Every process has one; the first measures, on samples that it reads once and keeps.

    Args:
        config: Of the run. Of its pictures each is taken once before any is taken again, with another crop
            and another hole.
        fabric: Launched.

    Attributes:
        best: The best so far, in the first process; None before anything was measured.
        pictures: How many there are to take crops of; 0: none, and nothing is measured.

    Raises:
        ValueError: The pictures are not there.
        DataError: They cannot be read.
    """

    def __init__(self, config: TrainConfig, fabric: Fabric) -> None:
        self.fabric, self.every = fabric, config.validation.every
        self.complete = make_recipe(config).complete
        samples = held_out_samples(config, print if fabric.is_global_zero else None)
        self.pictures = 0 if samples is None else len(samples)
        self.batches: list[Sample] = []
        self.best: Best | None = None
        if samples is not None and fabric.is_global_zero:
            self.batches = list(_batches(samples, config.validation.samples))

    def after(self, step: int, network: FolderOfWeights, log: RunLog | None) -> dict[str, float]:
        """Measure, where a step is one to measure after; all processes wait for the first.

        Args:
            step: That has been taken.
            network: The averaged generator.
            log: Of the run, in the first process.

        Returns:
            The figures by their names in `HEADLINE`, in the first process; nothing elsewhere and otherwise.
        """
        if not self.pictures or step % self.every:
            return {}
        figures: dict[str, float] = {}
        if log is not None:
            start = time.perf_counter()
            figures = self.measure(network)
            if figures["hole_l1"] < (math.inf if self.best is None else self.best.figures["hole_l1"]):
                self.best = Best(step, figures, self.pictures, copy.deepcopy(network).cpu())
            log.validation(step, figures, time.perf_counter() - start)
        self.fabric.barrier()
        return {f"validation_{name}": figure for name, figure in figures.items()}

    @torch.no_grad()
    def measure(self, network: FolderOfWeights) -> dict[str, float]:
        """How far completed crops are from the original in their holes.

        Args:
            network: A generator on the device of the run, in evaluation mode; it computes in float32.

        Returns:
            "hole_l1", in percent of the range of values, and "hole_psnr", in dB; means over the samples.
        """
        sums, count = torch.zeros(2, dtype=torch.float64), 0
        for batch in self.batches:
            sample = on_device(batch, self.fabric)
            completed = self.complete(network, sample).completed
            means = torch.stack([hole_l1(sample, completed), hole_psnr(sample, completed)])
            sums += len(sample.image) * means.cpu()
            count += len(sample.image)
        l1, psnr = (sums / count).tolist()
        return {"hole_l1": l1, "hole_psnr": psnr}

    def restore(self, state: Mapping[str, Any] | None, like: FolderOfWeights) -> None:
        """Take up the best so far of a checkpoint, `Best.state`; its network is like another."""
        if state is not None:
            network = copy.deepcopy(like).cpu()
            network.load_state_dict(state["weights"])
            self.best = Best(int(state["step"]), dict(state["figures"]), int(state["pictures"]), network)


def _batches(samples: Samples, count: int) -> Iterator[Sample]:
    told: set[str] = set()
    for start in range(0, count, _BATCH):
        places = (divmod(number, len(samples)) for number in range(start, min(start + _BATCH, count)))
        batch = collate([samples[Place(*place)] for place in places])
        for message in sorted(set(batch.broken) - told):
            print(f"validation: skipped: {message}", flush=True)
        told |= set(batch.broken)
        yield batch


def hole_psnr(sample: Sample, output: Tensor) -> Tensor:
    """The mean over the samples of 10 log10(D^2 / mean of (x - y)^2 in the hole), in dB; D = 2, the range.

    Args:
        sample: A batch.
        output: (B, 3, H, W), what is to be compared with its images.

    Returns:
        A scalar; a sample counts at most 100 dB, also one without a hole.
    """
    count = output.shape[1] * sample.mask.sum((1, 2, 3))
    squares = ((output - sample.image).square() * sample.mask).sum((1, 2, 3)) / count.clamp_min(1)
    return (20 * torch.log10(_RANGE / squares.sqrt().clamp_min(_LEAST * _RANGE))).mean()
