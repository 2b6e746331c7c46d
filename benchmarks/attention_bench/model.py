"""What bench_model.py measures: the generator's inference, and one training iteration of the paper.

Shape legend: B samples; (H, W) images.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from contextual_attention.models.data.discount import discount_weights
from contextual_attention.models.data.samples import Sample
from contextual_attention.models.network.generator import InpaintGenerator
from contextual_attention.models.training.config import DataConfig, MaskConfig, TrainConfig
from contextual_attention.models.training.recipes.wasserstein import (
    CriticConfig,
    Critics,
    critic_weights,
    generator_terms,
    generator_weights,
)
from contextual_attention.models.training.updates import frozen, weigh
from contextual_attention.options import Options

from . import devices
from .forms import textbook
from .measure import in_fresh_process, interleave
from .results import Sampled, circumstances

# The layer of the network: this package's, the published form by convolutions, or none at all (features pass
# through as they are), which tells what the rest of the network takes.
FORMS = ("package", "textbook", "without")
_FEATURES = 4  # pixels of the image to one of the features


@dataclass(frozen=True)
class Work:
    """One thing to time; can be sent to another process.

    Args:
        task: "inference" or "training": one iteration, 5 critic updates and a generator update.
        size: (H, W); square for training.
        batch: B.
        cnum: Of the generator; the critics have twice that.
        device: Where to run.
    """

    task: str
    size: tuple[int, int]
    batch: int = 1
    cnum: int = 32
    device: str = "cpu"

    @property
    def name(self) -> str:
        return "{}-{}x{}".format(self.task, *self.size)

    def tiny(self) -> Work:
        """The same on images of 64 pixels: loads libraries and starts threads."""
        return replace(self, size=(64, 64))


WORKS = {
    work.name: work
    for work in (
        Work("inference", (256, 256)),
        Work("inference", (512, 680)),
        Work("training", (256, 256)),
    )
}
QUICK = tuple(
    replace(work, size=size, cnum=8)
    for work, size in zip(WORKS.values(), ((64, 64), (128, 170), (64, 64)), strict=True)
)


@dataclass
class ModelRow(Sampled):
    """One form on one work; None where something was not measured, and `note` says why."""

    work: str
    batch: int
    cnum: int
    device: str
    threads: int
    form: str
    seconds: list[float] = field(default_factory=list)  # every sample
    median: float | None = None
    spread: float | None = None  # half the distance of the quartiles, over the median
    peak_bytes: int | None = None  # beyond the weights and the input
    ratio: float | None = None  # the textbook form's time over this one's
    attention_share: float | None = None  # of this form's time: what it takes more than "without"
    note: str | None = None
    load: float | None = None  # of the machine, over the minute before
    commit: str | None = None
    date: str | None = None

    @classmethod
    def of(cls, work: Work, form: str) -> ModelRow:
        about = (work.name, work.batch, work.cnum, work.device, torch.get_num_threads(), form)
        return cls(*about, **circumstances())

    @property
    def key(self) -> tuple[Any, ...]:
        """What a row is about: a second one with this key takes its place."""
        return (self.work, self.batch, self.cnum, self.device, self.threads, self.form)


def compare(rows: Sequence[ModelRow]) -> None:
    """Ratios and shares, from the times of the rows of one work."""
    medians = {row.form: row.median for row in rows}
    whole, rest = medians.get("textbook"), medians.get("without")
    for row in rows:
        if row.median is not None:
            row.ratio = whole and whole / row.median
            # Where there is little attention, noise can make the difference negative.
            row.attention_share = None if rest is None else max(0.0, 1 - rest / row.median)


# The forms of the layer


class _Textbook(nn.Module):
    """The textbook form in the place of the package's layer, with a mask of the size of the image."""

    def forward(self, foreground: Tensor, background: Tensor, mask: Tensor, **_: Any) -> Tensor:
        missing = F.max_pool2d(mask, _FEATURES)
        return textbook(foreground, background, missing, Options())


class _Without(nn.Module):
    def forward(self, foreground: Tensor, *_: Any, **__: Any) -> Tensor:
        return foreground


def make_generator(work: Work, form: str) -> InpaintGenerator:
    """The same weights for every form."""
    torch.manual_seed(0)
    generator = InpaintGenerator(cnum=work.cnum).to(work.device)
    if form != "package":
        generator.refinement.attention.layer = _Textbook() if form == "textbook" else _Without()
    return generator


def make_inputs(work: Work) -> tuple[Tensor, Tensor]:
    """Images (B, 3, H, W) in [-1, 1] and a hole of half their sides in the middle, (B, 1, H, W)."""
    generator = torch.Generator().manual_seed(1)
    height, width = work.size
    image = torch.rand(work.batch, 3, height, width, generator=generator) * 2 - 1
    mask = torch.zeros(work.batch, 1, height, width)
    mask[..., height // 4 : height - height // 4, width // 4 : width - width // 4] = 1
    return image.to(work.device), mask.to(work.device)


# One step of a work


def make_step(work: Work, form: str) -> Callable[[], Tensor]:
    """A function that does the work once, and returns the refined images."""
    generator = make_generator(work, form)
    image, mask = make_inputs(work)
    if work.task == "training":
        return Training(generator, image, mask).iteration

    def infer() -> Tensor:
        with torch.no_grad():
            return generator(image, mask).refined

    return infer


class Training:
    """An iteration of algorithm 1 as trainer.py takes it, on the same batch: no time goes to data."""

    def __init__(self, generator: InpaintGenerator, image: Tensor, mask: Tensor) -> None:
        size, cnum = image.shape[-1], generator.config.cnum
        self.config = TrainConfig(
            data=DataConfig(size=size),
            masks=MaskConfig(box=size // 2),
            critics=CriticConfig(
                local=tuple(2 * cnum * each for each in (1, 2, 4, 8)),
                whole=tuple(2 * cnum * each for each in (1, 2, 4, 4)),
            ),
        )
        self.generator, self.critics = generator, Critics(self.config).to(image.device)
        self.sample = _sample(image, mask, self.config.loss.gamma)
        self.optimizers = {
            network: torch.optim.Adam(network.parameters(), 1e-4, betas=(0.5, 0.9))
            for network in (self.critics, self.generator)
        }

    def iteration(self) -> Tensor:
        sample, loss = self.sample, self.config.loss
        for _ in range(self.config.optimiser.critic_updates):
            with torch.no_grad():
                completed = self.generator(sample.image, sample.mask).completed
            self._update(self.critics, weigh(self.critics(sample, completed), critic_weights(loss)))
        with frozen(self.critics):
            result = self.generator(sample.image, sample.mask)
            terms = generator_terms(sample, result, self.critics.scores(sample, result.completed))
            self._update(self.generator, weigh(terms, generator_weights(loss)))
        return result.refined.detach()

    def _update(self, network: nn.Module, loss: Tensor) -> None:
        loss.backward()
        self.optimizers[network].step()
        self.optimizers[network].zero_grad()


def _sample(image: Tensor, mask: Tensor, gamma: float) -> Sample:
    """A batch whose boxes are its holes, in the middle of square images."""
    batch, side = len(image), image.shape[-1]
    box = torch.tensor([side // 4, side // 4, side // 2, side // 2], device=image.device).repeat(batch, 1)
    blend = torch.linspace(0.2, 0.8, batch, device=image.device)
    return Sample(
        image,
        mask != 0,
        discount_weights(mask, gamma),
        box,
        blend,
        image.new_zeros(len(image), 0, *image.shape[2:]),
        (),
    )


# Measuring


def disagreement(work: Work) -> float:
    """The largest difference of a pixel between the package's layer and the textbook's."""
    image, mask = make_inputs(work)
    with torch.no_grad():
        package, other = (make_generator(work, form)(image, mask).refined for form in FORMS[:2])
    return (package - other).abs().max().item()


def measure(work: Work, budget: float, tell: Callable[[str], None]) -> list[ModelRow]:
    """A row for every form; `tell` is told what is being done."""
    rows = [ModelRow.of(work, form) for form in FORMS]
    runs = {form: partial(devices.mean_seconds, work.device, make_step(work, form)) for form in FORMS}
    tell(f"{work.name}: first runs")
    first = {form: run(1) for form, run in runs.items()}
    samples = interleave(runs, first, set(FORMS), budget, 3, lambda form: tell(f"{work.name}: {form}"))
    runs.clear()
    for row in rows:
        row.take(samples[row.form])
        tell(f"{work.name}: memory of {row.form}")
        grown = in_fresh_process(peak_bytes, work, row.form)
        row.peak_bytes, row.note = (None, grown) if isinstance(grown, str) else (grown, None)
    compare(rows)
    return rows


def peak_bytes(work: Work, form: str) -> int:
    """By how much memory grows at its highest while the work is done once, in this process."""
    make_step(work.tiny(), form)()
    step = make_step(work, form)
    return devices.growth(work.device, step)
