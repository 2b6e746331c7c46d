"""What the command inpaint does with each photograph, one after the other or several at a time."""

from __future__ import annotations

import argparse
import multiprocessing
import os
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from ..visualize import offsets_to_image
from .errors import CommandError
from .needs import need
from .progress import Advance, progress

_OPAQUE = 255


@dataclass(frozen=True)
class Task:
    """One photograph, its mask (None: its own opacity), where the result goes, and lines to follow."""

    image: Path
    mask: Path | None
    output: Path
    sketch: Path | None = None


@dataclass(frozen=True)
class Outcome:
    """What became of a task.

    Attributes:
        image, output: Of the task.
        status: done, skipped (finished before) or failed.
        seconds: That it took.
        missing: The share of the photograph that was.
        lost: What the file said about the photograph and the result's format has no place for.
        error: Why it failed.
    """

    image: str
    output: str
    status: str
    seconds: float = 0.0
    missing: float = 0.0
    lost: tuple[str, ...] = ()
    error: str | None = None

    def told(self) -> str:
        if self.status != "done":
            return f"{self.output}: {'there already' if self.status == 'skipped' else 'failed'}"
        lost = (
            f", without its {' and '.join(self.lost)}, for which the format has no place" if self.lost else ""
        )
        return f"{self.output}: written in {self.seconds:.1f} s, {self.missing:.1%} of it filled{lost}"


def outcomes_of(tasks: list[Task], given: argparse.Namespace, many: bool) -> Iterator[Outcome]:
    """Work through the tasks and tell of each; whole results that are there already are not made again."""
    is_whole = need("opening", "demo").is_whole
    waiting = []
    with progress("looking at what is there already" if many else "filling") as advance:
        for task in tasks:
            if many and task.output.is_file() and is_whole(task.output):
                yield _told(Outcome(str(task.image), str(task.output), "skipped"))
            else:
                waiting.append(task)
        attempts = _one_by_one if given.jobs == 1 or len(waiting) < 2 else _side_by_side
        for outcome in attempts(waiting, given, advance):
            yield _told(outcome)


def _told(outcome: Outcome) -> Outcome:
    print(outcome.told(), flush=True)
    return outcome


def _one_by_one(tasks: list[Task], given: argparse.Namespace, advance: Advance) -> Iterator[Outcome]:
    for done, task in enumerate(tasks):
        words = f"filling {task.image.name}"
        advance(done / len(tasks), words)
        yield _attempt(task, given, lambda share, done=done: advance((done + share) / len(tasks)))


def _side_by_side(tasks: list[Task], given: argparse.Namespace, advance: Advance) -> Iterator[Outcome]:
    # Spawned, not forked: a forked copy of torch's thread pool does not work.
    context = multiprocessing.get_context("spawn")
    threads = max(1, torch.get_num_threads() // given.jobs)
    with ProcessPoolExecutor(given.jobs, context, _start_worker, (threads,)) as pool:
        for done, (task, future) in enumerate([(task, pool.submit(_attempt, task, given)) for task in tasks]):
            advance(done / len(tasks), f"filling {task.image.name}")
            try:
                yield future.result()
            except BrokenProcessPool:
                reason = f"{task.image}: its process was ended from outside, perhaps for want of memory"
                yield Outcome(str(task.image), str(task.output), "failed", error=reason)


def _start_worker(threads: int) -> None:
    torch.set_num_threads(threads)
    warnings.filterwarnings("ignore", module=r"PIL\.")  # of damaged files, which the outcome names
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A worker of a killed run would wait for its next task for ever."""
    multiprocessing.parent_process().join()
    os._exit(1)


def _attempt(
    task: Task, given: argparse.Namespace, advance: Callable[[float], None] | None = None
) -> Outcome:
    start = time.perf_counter()
    names = str(task.image), str(task.output)
    try:
        missing, lost = _inpaint(task, given, advance)
    # ValueError, TypeError: what the methods refuse. RuntimeError: out of memory.
    except (CommandError, OSError, ValueError, TypeError, RuntimeError, MemoryError) as error:
        reason = str(error) or type(error).__name__
        message = reason if str(task.image) in reason else f"{task.image}: {reason}"
        return Outcome(*names, "failed", error=message)
    return Outcome(*names, "done", round(time.perf_counter() - start, 3), round(missing, 6), tuple(lost))


def _inpaint(
    task: Task, given: argparse.Namespace, advance: Callable[[float], None] | None
) -> tuple[float, list[str]]:
    """Do it; the share that was missing, and what could not be kept."""
    from ..models.filling.inpaint import inpaint

    photos = need("photos", "demo")
    photo = photos.open_photo(task.image)
    hole = _hole(photos, photo.image, task, given)
    photo = _flattened(photo, hole, task.output)
    photos.check_encodable(photo, task.output)
    sketch = None if task.sketch is None else _lines(photos, photo.image, task, given)
    picture, offsets = inpaint(
        photo.image, hole, given.method,
        model=given.model, sketch=sketch, feather=given.feather, poisson=given.poisson, seed=given.seed,
        device=given.device, workspace=given.workspace, progress=advance, return_offsets=True,
    )  # fmt: skip
    lost = photos.write_photo(photo.with_image(picture), task.output)
    if given.attention_map is not None:
        size = picture.size[::-1]
        photos.write_photos({given.attention_map: offsets_to_image(offsets, size)[0].cpu()})
    return float(hole.float().mean()), lost


def _hole(photos: ModuleType, image: Any, task: Task, given: argparse.Namespace) -> torch.Tensor:
    """What is missing, (1, 1, H, W) bool."""
    from ..models.patches.pyramid import dilate

    missing, seen = _marks(photos, image, task, given)
    if missing.shape != image.size[::-1]:
        raise CommandError(_of_another_size(task.mask, "mask", missing, task.image, image))
    missing = ~missing if given.invert else missing
    if missing.all() or not missing.any():
        way_out = "--threshold N takes what is lighter than N, " if task.mask else ""
        raise CommandError(
            f"{task.mask or task.image}: marks {'everything' if missing.any() else 'nothing'} as missing: "
            f"{seen}; {way_out}--invert takes what is left unmarked"
        )
    hole = torch.from_numpy(missing)[None, None]
    return dilate(hole, given.grow) if given.grow else hole


def _of_another_size(path: Path | None, kind: str, marks: Any, photo: Path, image: Any) -> str:
    return (
        f"{path}: the {kind} has {marks.shape[1]}x{marks.shape[0]} pixels, the photograph {photo} "
        f"{image.size[0]}x{image.size[1]}; --resize-mask brings it to that size"
    )


def _lines(photos: ModuleType, image: Any, task: Task, given: argparse.Namespace) -> Any:
    """What a sketch marks: (H, W) bool."""
    lines, seen = photos.read_mask(task.sketch, image.size if given.resize_mask else None)
    if lines.shape != image.size[::-1]:
        raise CommandError(_of_another_size(task.sketch, "sketch", lines, task.image, image))
    if lines.all():
        raise CommandError(f"{task.sketch}: marks everything as lines: {seen}")
    return lines


def _marks(photos: ModuleType, image: Any, task: Task, given: argparse.Namespace) -> Any:
    if task.mask is not None:
        return photos.read_mask(task.mask, image.size if given.resize_mask else None, given.threshold)
    if image.mode not in ("LA", "RGBA"):
        raise CommandError(f"{task.image}: has no transparency to take as a mask")
    opacity = photos.opacity(image)
    seen = f"its opacity runs from {opacity.min()} to {opacity.max()} of {_OPAQUE}"
    return opacity < _OPAQUE, seen


def _flattened(photo: Any, hole: torch.Tensor, output: Path) -> Any:
    """The photograph without its opacity, where the result's format has none and all would be opaque."""
    mode = photo.image.mode
    if mode not in ("LA", "RGBA") or mode in need("formats", "demo").format_of(output).modes:
        return photo
    known = need("photos", "demo").opacity(photo.image)[~hole[0, 0].numpy()]
    is_opaque = bool((known == _OPAQUE).all())
    return photo.with_image(photo.image.convert(mode.removesuffix("A"))) if is_opaque else photo
