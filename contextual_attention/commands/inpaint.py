"""``inpaint``: remove what a mask marks from photographs, one or a folder of them."""

from __future__ import annotations

import argparse
import glob
import json
import multiprocessing
import os
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from ..visualize import offsets_to_image
from .arguments import byte_count, count, device
from .errors import CommandError
from .model import check_model
from .needs import need

HELP = "Remove what a mask marks from photographs."
METHODS = ("exemplar", "patchmatch", "model")
# What is looked for in folders.
_ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp")
_ALPHA = "alpha"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    _add_files(parser)
    parser.add_argument(
        "--method", choices=METHODS, default="exemplar",
        help="exemplar (default): contextual attention to the photograph itself; patchmatch: random search, "
        "the reference; both need no weights; model: a trained network",
    )  # fmt: skip
    parser.add_argument(
        "--model", metavar="PATH_OR_REPO",
        help="of --method model: a run of the command train, a folder of save_pretrained, or a repository "
        "of huggingface.co",
    )  # fmt: skip
    parser.add_argument(
        "--feather", type=_size, default=0, metavar="N",
        help="let the filling fade out over N pixels around the hole, which are changed, too",
    )  # fmt: skip
    parser.add_argument("--seed", type=int, default=0, help="of --method patchmatch (default: %(default)s)")
    parser.add_argument(
        "--device", type=device, default="cpu", help="where to compute (default: %(default)s)"
    )
    parser.add_argument("--workspace", type=byte_count, metavar="BYTES", help="bound on scratch, such as 64M")
    parser.add_argument(
        "--jobs", type=count, default=1, metavar="N", help="photographs at a time (default: %(default)s)"
    )


def _add_files(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("image", help="a photograph; or a folder, or a glob in quotes, of many")
    parser.add_argument(
        "mask", nargs="?",
        help="a picture of the photograph's size, white where something is missing; or a folder or glob with "
        "one of the same name for each photograph",
    )  # fmt: skip
    parser.add_argument(
        "--mask", choices=[_ALPHA], dest="own_mask",
        help="in place of MASK: what is not fully opaque is missing",
    )  # fmt: skip
    parser.add_argument("--invert", action="store_true", help="the mask has black where something is missing")
    parser.add_argument(
        "--grow", type=_size, default=0, metavar="N", help="grow the mask by N pixels, as over a soft edge"
    )
    parser.add_argument(
        "--resize-mask", action="store_true", help="bring a mask of another size to the photograph's"
    )
    parser.add_argument(
        "-o", "--output", required=True, type=Path,
        help="a file; for many photographs a folder, where what is there already is not made again",
    )  # fmt: skip
    parser.add_argument(
        "--attention-map", type=Path, metavar="FILE", help="draw where each patch came from, as a picture"
    )
    parser.add_argument(
        "--report", type=Path, metavar="FILE", help="write what became of each photograph, as JSON"
    )


@dataclass(frozen=True)
class Task:
    """One photograph, its mask (None: its own opacity) and where the result goes."""

    image: Path
    mask: Path | None
    output: Path


@dataclass(frozen=True)
class Outcome:
    """What became of a task: done, skipped (finished before) or failed, with the reason and seconds."""

    image: str
    output: str
    status: str
    seconds: float = 0.0
    error: str | None = None


def run(given: argparse.Namespace) -> None:
    """Inpaint one photograph, or every one of a folder; a failure leaves the others to be done."""
    if (given.mask is None) == (given.own_mask is None):
        raise CommandError("give either a MASK or --mask alpha")
    check_model(given)
    photos = need("photos", "demo")
    tasks, many = _tasks(given)
    if given.attention_map is not None:
        if many:
            raise CommandError("--attention-map is for a single photograph")
        photos.check_writable(given.attention_map)
        if given.attention_map.resolve() == given.output.resolve():
            raise CommandError(f"--attention-map {given.attention_map}: is the --output as well")
    if given.report is not None and not given.report.parent.is_dir():
        raise CommandError(f"--report {given.report}: there is no folder {given.report.parent}")
    if not many:
        photos.check_writable(given.output)
    outcomes = list(_outcomes(tasks, given, many))
    if given.report is not None:
        text = json.dumps([asdict(outcome) for outcome in outcomes], indent=2)
        photos.write_atomically(given.report, text.encode())
    failed = [outcome for outcome in outcomes if outcome.status == "failed"]
    if failed:
        counted = f"{len(failed)} of {len(outcomes)} photographs failed; " if many else ""
        raise CommandError(f"{counted}{failed[0].error}")


def _size(text: str) -> int:
    if not text.isdecimal() or int(text) > 1000:
        raise argparse.ArgumentTypeError(f"expected 0 to 1000 pixels, got {text!r}")
    return int(text)


# ------------------------------------------------------------------------------------------------------------
# What there is to do


def _tasks(given: argparse.Namespace) -> tuple[list[Task], bool]:
    """The tasks, and whether the image was given as many."""
    if not _is_many(given.image):
        if given.mask is not None and _is_many(given.mask):
            raise CommandError(f"one photograph needs one mask, got {given.mask}")
        return [Task(Path(given.image), given.mask and Path(given.mask), given.output)], False
    images = _files(given.image)
    if not given.output.is_dir():
        raise CommandError(f"many photographs need an existing folder as --output, got {given.output}")
    outputs = [given.output / image.name for image in images]
    if clashes := [path for path in outputs if outputs.count(path) > 1]:
        raise CommandError(f"two photographs would be written to {clashes[0]}")
    if reads := [
        str(path) for path, image in zip(outputs, images, strict=True) if path.resolve() == image.resolve()
    ]:
        raise CommandError(f"{reads[0]} would be overwritten by its own result; choose another --output")
    masks = _masks(given.mask, images)
    return [Task(*paths) for paths in zip(images, masks, outputs, strict=True)], True


def _masks(mask: str | None, images: list[Path]) -> list[Path | None]:
    """For each image the mask of its name without its ending; one mask, or none, is for all."""
    if mask is None or not _is_many(mask):
        return [mask and Path(mask)] * len(images)
    named = {path.stem: path for path in _files(mask)}
    if lacking := [image for image in images if image.stem not in named]:
        raise CommandError(f"{lacking[0]}: no mask named {lacking[0].stem}.* in {mask}")
    return [named[image.stem] for image in images]


def _is_many(path: str) -> bool:
    return os.path.isdir(path) or (glob.has_magic(path) and not os.path.exists(path))


def _files(path: str) -> list[Path]:
    """The pictures of a folder or a glob, by name."""
    found: Iterable[Path] = Path(path).iterdir() if os.path.isdir(path) else map(Path, glob.glob(path))
    files = sorted(file for file in found if file.suffix.lower() in _ENDINGS and file.is_file())
    if not files:
        raise CommandError(f"{path}: no photographs there ({', '.join(_ENDINGS)})")
    return files


# ------------------------------------------------------------------------------------------------------------
# Doing it


def _outcomes(tasks: list[Task], given: argparse.Namespace, many: bool) -> Iterator[Outcome]:
    """Work through the tasks; results that are there already are not made again when there are many."""
    waiting = [task for task in tasks if not (many and task.output.exists())]
    for task in tasks:
        if task not in waiting:
            yield _told(Outcome(str(task.image), str(task.output), "skipped"))
    if given.jobs == 1 or len(waiting) < 2:
        yield from (_told(_attempt(task, given)) for task in waiting)
        return
    # Spawned, not forked: a forked copy of torch's thread pool does not work.
    context = multiprocessing.get_context("spawn")
    threads = max(1, torch.get_num_threads() // given.jobs)
    with ProcessPoolExecutor(given.jobs, context, _start_worker, (threads,)) as pool:
        for task, future in [(task, pool.submit(_attempt, task, given)) for task in waiting]:
            try:
                outcome = future.result()
            except BrokenProcessPool:
                reason = f"{task.image}: its process was ended from outside, perhaps for want of memory"
                outcome = Outcome(str(task.image), str(task.output), "failed", error=reason)
            yield _told(outcome)


def _start_worker(threads: int) -> None:
    torch.set_num_threads(threads)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A worker of a killed run would wait for its next task for ever."""
    multiprocessing.parent_process().join()
    os._exit(1)


def _told(outcome: Outcome) -> Outcome:
    words = {"done": f"written in {outcome.seconds:.1f} s", "skipped": "there already", "failed": "failed"}
    print(f"{outcome.output}: {words[outcome.status]}", flush=True)
    return outcome


def _attempt(task: Task, given: argparse.Namespace) -> Outcome:
    start = time.perf_counter()
    names = str(task.image), str(task.output)
    try:
        _inpaint(task, given)
    # ValueError, TypeError: what the methods refuse. RuntimeError: out of memory.
    except (CommandError, OSError, ValueError, TypeError, RuntimeError, MemoryError) as error:
        reason = str(error) or type(error).__name__
        message = reason if str(task.image) in reason else f"{task.image}: {reason}"
        return Outcome(*names, "failed", error=message)
    return Outcome(*names, "done", round(time.perf_counter() - start, 3))


def _inpaint(task: Task, given: argparse.Namespace) -> None:
    from ..models.filling.inpaint import inpaint

    photos = need("photos", "demo")
    photo = photos.open_photo(task.image)
    hole = _hole(photos, photo.image, task, given)
    flattened = given.own_mask is not None and not photos.can_be_transparent(task.output)
    mode = photo.image.mode.removesuffix("A") if flattened else photo.image.mode
    photos.check_encodable(mode, task.output)
    picture, offsets = inpaint(
        photo.image, hole, given.method,
        model=given.model, feather=given.feather, seed=given.seed, device=given.device,
        workspace=given.workspace, progress=_progress(), return_offsets=True,
    )  # fmt: skip
    if flattened:
        picture = picture.convert(mode)  # nothing is transparent any more
    photos.write_photo(photo.with_image(picture), task.output)
    if given.attention_map is not None:
        size = picture.size[::-1]
        photos.write_photos({given.attention_map: offsets_to_image(offsets, size)[0].cpu()})


def _hole(photos: ModuleType, image: Any, task: Task, given: argparse.Namespace) -> torch.Tensor:
    """What is missing, (1, 1, H, W) bool."""
    from ..models.filling.pyramid import dilate

    if task.mask is None:
        if image.mode not in ("LA", "RGBA"):
            raise CommandError(f"{task.image}: has no transparency to take as a mask")
        hole = photos.transparent(image)
    else:
        hole = photos.read_mask(task.mask, image.size if given.resize_mask else None)
    if tuple(hole.shape[2:]) != image.size[::-1]:
        raise CommandError(
            f"{task.mask}: the mask has {hole.shape[3]}x{hole.shape[2]} pixels, the photograph {task.image} "
            f"{image.size[0]}x{image.size[1]}; --resize-mask brings it to that size"
        )
    hole = ~hole if given.invert else hole
    return dilate(hole, given.grow) if given.grow else hole


def _progress() -> Any:
    """A line that counts up to 100 %, where someone is watching."""
    if not sys.stderr.isatty():
        return None

    def show(done: float) -> None:
        print(f"\r{done:4.0%}", end="\n" if done >= 1 else "", file=sys.stderr, flush=True)

    return show
