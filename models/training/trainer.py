"""Training by a recipe (recipes/), on Lightning Fabric.

    for every step: for every update that the recipe's schedule has for it:
        a batch, fresh or that of the update before; its terms, their weighted sum, backward
        a step of the optimiser of the network that learns
    then the moving average of the generator

Everything random comes with the samples (data/samples.py), of which every process takes its part of each
batch: a run is its configuration and its number of steps, whatever the number of processes, and can be
stopped and taken up again anywhere. Networks with batch normalisation share its statistics between processes
(batch_norm.py).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from ...files import clear_unfinished, replace_folder
from ...photos import write_photos
from ..data.samples import Sample
from ..network.pretrained import start_from
from .batch_norm import share_statistics
from .checkpoint import Checkpoints, check_settings, load_checkpoint, taking_up
from .config import TrainConfig
from .feed import Feed, make_samples
from .gallery import Gallery
from .recipes import make_recipe
from .run_log import RunLog
from .settings import to_dict
from .stopping import StopRequest
from .updates import Terms, Update, first_not_finite, frozen, mean_terms, phase_at, step_terms, weigh
from .validation import Validation

MODEL, BEST = "model", "best"
CHECKPOINTS = "checkpoints"
_PICTURES = "samples"

# Called after each step, in the first process: its number, its terms, and figures of `validation.HEADLINE`
# where they were measured.
Report = Callable[[int, Mapping[str, float]], None]


class NotFinite(RuntimeError):
    """A loss or a weight is NaN or infinite; nothing was saved since, so the last checkpoint is good."""


class Trainer:
    """One training run, in a folder of its own.

    Args:
        config: What to train, on what, how.
        fabric: Launched; it decides devices, processes and precision.
        out: The run's folder, seen by every process: losses.jsonl, validation.jsonl, tensorboard/, samples/,
            checkpoints/, model/, the averaged generator for `InpaintGenerator.from_pretrained`, and best/,
            the one of the least validation error so far.
        resume: Go on from the newest checkpoint in ``out``, of which model/ and best/ are made once more: the
            run may have been killed between them.

    Attributes:
        recipe: Of the configuration.
        step: Steps so far.
        generator, critics: The networks themselves, without what Fabric wraps around them.
        average: The moving average of the generator, whose weights are what a run is for.
        validation: Its figures, and the best so far.
        is_late: Whether the last `run` ended since its time was over.

    Raises:
        ValueError: Nothing to resume, or a checkpoint where there should be none; a batch that the processes
            cannot share; data that are not there; data or settings that are not those of the checkpoint.
        CheckpointError: The newest checkpoint is damaged, or of another run.
        OSError: The folder cannot be written to.
    """

    def __init__(self, config: TrainConfig, fabric: Fabric, out: Path, resume: bool = False) -> None:
        self.config, self.fabric, self.out = config, fabric, out
        self.recipe = make_recipe(config)
        self.checkpoints = Checkpoints(out / CHECKPOINTS, config.keep)
        newest = self.checkpoints.start(resume)
        state = None if newest is None else load_checkpoint(newest)
        if state is not None:  # before anything of a size that a damaged file names
            check_settings(state, config, newest)
        self.samples = make_samples(config, print if fabric.is_global_zero else None)
        self.gallery = Gallery(self.samples, self.recipe.complete) if fabric.is_global_zero else None
        self.validation = Validation(config, fabric)
        self._make_networks(is_new=state is None)
        self.step, self.is_late, position = 0, False, 0
        if fabric.is_global_zero:
            for folder in (out, self.checkpoints.folder, out / _PICTURES, out / MODEL, out / BEST):
                clear_unfinished(folder)
        if state is not None:
            position = self._restore(state, newest)
        self.feed = Feed(self.samples, config, fabric, position)

    def _make_networks(self, is_new: bool) -> None:
        torch.manual_seed(self.config.seed)
        self.generator, self.critics = self.recipe.make_generator(), self.recipe.make_critics()
        if self.config.start and is_new:
            start_from(self.generator, self.config.start)
        if self.fabric.world_size > 1:
            share_statistics(self.generator)
            share_statistics(self.critics)
        make = self.config.optimiser.make
        # Fabric's wrappers share the weights with the networks, and the gradients between processes.
        self.shared_generator, self.generator_optimiser = self.fabric.setup(
            self.generator, make("generator", self.generator.parameters())
        )
        self.shared_critics, self.critic_optimiser = self.fabric.setup(
            self.critics, make("critics", self.critics.parameters())
        )
        self._rates = [[group["lr"] for group in optimiser.param_groups] for optimiser in self._optimisers()]
        decay = get_ema_multi_avg_fn(self.config.optimiser.average)
        # It is looked at and never trained: its batch normalisation must take statistics, not make them.
        self.average = AveragedModel(self.generator, multi_avg_fn=decay).eval()
        self.phases = self.recipe.phases()

    def _optimisers(self) -> tuple[Any, Any]:
        return self.generator_optimiser, self.critic_optimiser

    # The loop

    def run(self, until: int | None = None, report: Report | None = None, ends: float | None = None) -> bool:
        """Train up to ``until`` steps in all.

        SIGTERM or Ctrl-C lets the step end, saves and leaves; a second Ctrl-C ends the process at once.

        Args:
            until: Default: config.steps.
            report: Called after each step with its number and terms, in the first process.
            ends: When to stop as if asked to, by the first process's `time.monotonic`. Default: never.

        Returns:
            Whether it got there; False: it was asked to stop, or its time was over (`is_late`).

        Raises:
            NotFinite: Names the step and the term.
            DataError: The pictures cannot be read.
        """
        until = self.config.steps if until is None else until
        self.out.mkdir(parents=True, exist_ok=True)
        log = RunLog(self.out, self.step) if self.fabric.is_global_zero else None
        try:
            with StopRequest(ends) as request:
                stopped = self.is_late = False
                while self.step < until and not stopped:
                    start = time.perf_counter()
                    updates = self.updates()
                    terms, asked, self.is_late = self._share(updates, self.iterate(), request)
                    if log is not None:
                        self._note(terms, time.perf_counter() - start, log)
                    figures = self.validation.after(self.step, self.average.module, log)
                    if log is not None and report is not None:
                        report(self.step, terms | figures)
                    stopped = asked or self.is_late
                    if stopped or self.step == until or self.step % self.config.save_every == 0:
                        self.save()
                return self.step >= until
        finally:
            if log is not None:
                log.close()

    def updates(self) -> tuple[Update, ...]:
        """Those of the next step."""
        return phase_at(self.phases, self.step).updates

    def iterate(self) -> list[Terms]:
        """One step; the terms of each of its updates in order, means over this process's samples."""
        share = self.config.optimiser.rate_share(self.step)
        for optimiser, rates in zip(self._optimisers(), self._rates, strict=True):
            for group, rate in zip(optimiser.param_groups, rates, strict=True):
                group["lr"] = share * rate
        terms: list[Terms] = []
        parts: list[Sample] = []
        for update in self.updates():
            if update.fresh:
                parts = [self.feed.next() for _ in range(self.config.optimiser.accumulate)]
            terms.append(self._update(update, parts))
        self.average.update_parameters(self.generator)
        self.step += 1
        return terms

    def _update(self, update: Update, parts: list[Sample]) -> Terms:
        """A step of an optimiser on the parts of a batch; the means of its terms."""
        if update.learner == "generator":
            learner, other, optimiser = self.shared_generator, self.critics, self.generator_optimiser
            networks = learner, other
        else:
            learner, other, optimiser = self.shared_critics, self.generator, self.critic_optimiser
            networks = other, learner
        collected: list[Terms] = []
        with frozen(other):
            for number, sample in enumerate(parts, 1):
                # Processes exchange gradients once, after the last part.
                with self.fabric.no_backward_sync(learner, enabled=number < len(parts)):
                    with self.fabric.autocast():
                        terms = update.terms(*networks, sample)
                    self.fabric.backward(weigh(terms, update.weights) / len(parts))
                collected.append({name: term.detach() for name, term in terms.items()})
        optimiser.step()
        optimiser.zero_grad()
        if update.after is not None:
            update.after(getattr(self, update.learner))
        return mean_terms(collected)

    def _share(
        self, updates: tuple[Update, ...], terms: list[Terms], request: StopRequest
    ) -> tuple[dict[str, float], bool, bool]:
        """The terms of the whole batch, whether any process was asked to stop, and whether the time is over
        by the first one's clock: one exchange a step.
        """
        flat = [term for each in terms for term in each.values()]
        late = self.fabric.is_global_zero and request.is_late
        vector = torch.stack([*flat, *(torch.full_like(flat[0], each) for each in (request.is_set, late))])
        *means, stops, lates = self.fabric.all_reduce(vector, reduce_op="mean").cpu()
        shared = iter(means)
        terms = [{name: next(shared) for name in each} for each in terms]
        learners = [update.learner for update in updates]
        bad = first_not_finite(learners, terms)
        if bad is not None:
            raise NotFinite(f"step {self.step}: {bad}; nothing is saved")
        logged = self.recipe.logged(step_terms(learners, terms))
        return {name: float(term) for name, term in logged.items()}, bool(stops > 0), bool(lates > 0)

    def _note(self, terms: Mapping[str, float], seconds: float, log: RunLog) -> None:
        log.losses(self.step, terms, seconds)
        if self.step % self.config.show_every == 0:
            picture = self.gallery.draw(self.average.module, self.fabric.device)
            folder = self.out / _PICTURES
            folder.mkdir(exist_ok=True)
            write_photos({folder / f"step_{self.step:09d}.png": picture})
            log.picture(self.step, picture)

    # Checkpoints

    def save(self) -> None:
        """Write a checkpoint, the averaged generator and the best one; each file appears whole or not at all.

        Raises:
            NotFinite: A weight is; nothing is written.
        """
        if bad := self._not_finite():
            raise NotFinite(f"step {self.step}: the weight {bad} is not finite; nothing is saved")
        if self.fabric.is_global_zero:
            self.checkpoints.save(self.step, self._state())
            self._save_models()
        self.fabric.barrier()

    def _save_models(self) -> None:
        replace_folder(self.out / MODEL, self.average.module.save_pretrained)
        if self.validation.best is not None:
            self.validation.best.save(self.out / BEST)

    def _not_finite(self) -> str | None:
        """The name of a weight that is NaN or infinite; None if there is none."""
        networks = (self.generator, self.critics, self.average)
        named = (each for network in networks for each in network.named_parameters())
        return next((name for name, weight in named if not weight.isfinite().all()), None)

    def _state(self) -> dict[str, Any]:
        return {
            "config": to_dict(self.config),
            "step": self.step,
            "position": self.feed.position,
            "pictures": len(self.samples),
            "best": None if self.validation.best is None else self.validation.best.state(),
            "generator": self.generator.state_dict(),
            "critics": self.critics.state_dict(),
            "average": self.average.state_dict(),
            "generator_optimiser": self.generator_optimiser.state_dict(),
            "critic_optimiser": self.critic_optimiser.state_dict(),
            # Samples bring their own random numbers; these are torch's, for whatever else may draw some.
            "random": torch.get_rng_state(),
            "random_cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        }

    def _restore(self, state: Mapping[str, Any], path: Path) -> int:
        """Take up the state of a checkpoint; the position of its stream."""
        with taking_up(path):
            self.step, position, pictures = (int(state[name]) for name in ("step", "position", "pictures"))
            for name in ("generator", "critics", "average", "generator_optimiser", "critic_optimiser"):
                getattr(self, name).load_state_dict(state[name])
            self.validation.restore(state["best"], self.average.module)
            if bad := self._not_finite():
                raise ValueError(f"its weight {bad} is not finite")
            torch.set_rng_state(state["random"])
            if torch.cuda.is_available() and len(state["random_cuda"]) == torch.cuda.device_count():
                torch.cuda.set_rng_state_all(state["random_cuda"])
        _check_count("data: the run was trained", pictures, len(self.samples))
        if self.validation.best is not None and self.validation.pictures:
            before = self.validation.best.pictures
            _check_count("validation: the run was measured", before, self.validation.pictures)
        if self.fabric.is_global_zero:  # a kill may have come between the checkpoint and its models
            self._save_models()
        return position


def _check_count(happened: str, before: int, now: int) -> None:
    if before != now:
        raise ValueError(
            f"{happened} on {before} pictures, but there are {now}; restore them, or start a new run"
        )
