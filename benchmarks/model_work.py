"""What bench_model.py measures: the generator's inference, and one training iteration of the paper.

Shape legend: B samples; (H, W) images.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import devices
import torch
import torch.nn.functional as F
from results import spread
from textbook import textbook
from torch import Tensor, nn

from contextual_attention.models import losses
from contextual_attention.models.critics import global_critic, local_critic
from contextual_attention.models.generator import InpaintGenerator
from contextual_attention.options import Options

# The layer of the network: this package's, the published form by convolutions, or none at all (features pass
# through as they are), which tells what the rest of the network takes.
FORMS = ("package", "textbook", "without")
# arXiv:1801.07892, algorithm 1 and section 4, and the authors' configuration.
_CRITIC_STEPS = 5
_PENALTY, _ADVERSARIAL, _L1, _COARSE, _GAMMA = 10.0, 0.001, 1.2, 1.2, 0.99
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
class ModelRow:
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

    @property
    def key(self) -> tuple[Any, ...]:
        """What a row is about: a second one with this key takes its place."""
        return (self.work, self.batch, self.cnum, self.device, self.threads, self.form)

    def take(self, seconds: Sequence[float]) -> None:
        self.seconds = [float(f"{x:.4g}") for x in seconds]
        self.median, self.spread = statistics.median(seconds), spread(list(seconds))


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
    """One iteration of algorithm 1 of arXiv:1801.07892, on one batch again and again."""

    def __init__(self, generator: InpaintGenerator, image: Tensor, mask: Tensor) -> None:
        self.generator, self.image, self.mask = generator, image, mask
        size, width = image.shape[-1], 2 * generator.config.cnum
        self.critics = nn.ModuleList([global_critic(size, width), local_critic(size // 2, width)])
        self.critics.to(image.device)
        self.weights = losses.discount_weights(mask, _GAMMA) * mask
        self.optimizers = [
            torch.optim.Adam(network.parameters(), 1e-4, betas=(0.5, 0.9))
            for network in (self.critics, self.generator)
        ]

    def iteration(self) -> Tensor:
        for _ in range(_CRITIC_STEPS):
            with torch.no_grad():
                completed = self.generator(self.image, self.mask).completed
            self._update(0, self._critic_loss(completed))
        result = self.generator(self.image, self.mask)
        adversarial = sum(
            losses.wasserstein_generator_loss(critic(fake))
            for critic, fake in zip(self.critics, self._views(result.completed), strict=True)
        )
        l1 = _COARSE * self._l1(result.coarse) + self._l1(result.refined)
        self._update(1, _ADVERSARIAL * adversarial + _L1 * l1)
        return result.refined.detach()

    def _critic_loss(self, completed: Tensor) -> Tensor:
        views = zip(*map(self._views, (self.image, completed, self.mask)), strict=True)
        total = self.image.new_zeros(())
        for critic, (real, fake, hole) in zip(self.critics, views, strict=True):
            total = total + losses.wasserstein_critic_loss(critic(real), critic(fake))
            total = total + _PENALTY * losses.gradient_penalty(critic, real, fake, hole)
        return total

    def _l1(self, output: Tensor) -> Tensor:
        known = 1 - self.mask
        return sum(losses.discounted_l1(output, self.image, weights) for weights in (self.weights, known))

    def _views(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The whole image and its hole."""
        quarter = x.shape[-1] // 4
        return x, x[..., quarter:-quarter, quarter:-quarter]

    def _update(self, which: int, loss: Tensor) -> None:
        self.optimizers[which].zero_grad()
        loss.backward()
        self.optimizers[which].step()


# Measuring


def seconds_of(step: Callable[[], Tensor], device: str) -> Callable[[int], float]:
    """From a number of calls to seconds a call."""

    def seconds(calls: int) -> float:
        devices.synchronize(device)
        start = time.perf_counter()
        for _ in range(calls):
            step()
        devices.synchronize(device)
        return (time.perf_counter() - start) / calls

    return seconds


def peak_bytes(work: Work, form: str, threads: int) -> int:
    """By how much memory grows at its highest while the work is done once, in this process."""
    torch.set_num_threads(threads)
    make_step(work.tiny(), form)()
    step = make_step(work, form)
    return devices.growth(work.device, step)
