"""``inpaint``: remove what a mask marks from photographs, one or a folder of them."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path

from .. import files
from .arguments import byte_count, count, device
from .errors import CommandError
from .fill import Task, outcomes_of
from .model import check_model
from .needs import need
from .photographs import by_stem, is_many, photographs_of

HELP = "Remove what a mask marks from photographs."
# inpaint's own, which is not imported for a help text; the first is the default.
METHODS = ("structure", "exemplar", "patchmatch", "model")
_ALPHA = "alpha"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    _add_files(parser)
    parser.add_argument(
        "--method", choices=METHODS, default=METHODS[0],
        help="structure (default): patches of the photograph itself, corrected by a small network that "
        "comes with the package; exemplar: contextual attention to the photograph itself; patchmatch: the "
        "reference, several times faster; these two need no network; model: a trained network alone",
    )  # fmt: skip
    parser.add_argument(
        "--model", metavar="PATH_OR_REPO",
        help="of --method model: a run of the command train, a folder of save_pretrained, or a repository "
        "of huggingface.co; of --method structure: one of a structure network, in place of the package's",
    )  # fmt: skip
    parser.add_argument(
        "--feather", type=_size, default=0, metavar="N",
        help="let the filling fade out over N pixels around the hole, which are changed, too",
    )  # fmt: skip
    parser.add_argument(
        "--poisson", action="store_true",
        help="of --method model: keep the steps from pixel to pixel of what it fills in, and take the levels "
        "from the photograph around it",
    )  # fmt: skip
    parser.add_argument(
        "--sketch", metavar="FILE",
        help="of --method model with a network that is guided: a picture of the photograph's size that marks "
        "the lines to draw in the hole, read like a mask; or a folder or glob",
    )  # fmt: skip
    parser.add_argument("--seed", type=int, default=0, help="of the random search (default: %(default)s)")
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
        help="a picture of the photograph's size that marks what is missing: what is drawn, if on "
        "transparency; else the lighter one of two colours; else what is light or coloured. Or a folder or "
        "glob with one of the same name for each photograph",
    )  # fmt: skip
    parser.add_argument(
        "--mask", choices=[_ALPHA], dest="own_mask",
        help="in place of MASK: what is not fully opaque is missing",
    )  # fmt: skip
    parser.add_argument(
        "--threshold", type=float, metavar="N",
        help="missing is what has a grey value above N, in the mask's own numbers (0 to 255, or to 65535 of "
        "16 bits), whatever its colours and transparency",
    )  # fmt: skip
    parser.add_argument(
        "--invert", action="store_true",
        help="missing is what the mask does not mark, such as black on white, or a hole erased from a copy",
    )  # fmt: skip
    parser.add_argument(
        "--grow", type=_size, default=0, metavar="N", help="grow the mask by N pixels, as over a soft edge"
    )
    parser.add_argument(
        "--resize-mask", action="store_true", help="bring a mask of another size to the photograph's"
    )
    parser.add_argument(
        "-o", "--output", required=True, type=Path,
        help="a file, of a format that its name ends in and that can hold the photograph; for many "
        "photographs a folder, where whole pictures that are there already are not made again",
    )  # fmt: skip
    parser.add_argument(
        "--format", metavar="ENDING",
        help="write the results of many photographs as .png, .tiff, ... (default: as each one's name ends)",
    )  # fmt: skip
    parser.add_argument(
        "--attention-map", type=Path, metavar="FILE", help="draw where each patch came from, as a picture"
    )
    parser.add_argument(
        "--report", type=Path, metavar="FILE", help="write what became of each photograph, as JSON"
    )


def run(given: argparse.Namespace) -> None:
    """Inpaint one photograph, or every one of a folder; a failure leaves the others to be done."""
    if (given.mask is None) == (given.own_mask is None):
        raise CommandError("give either a MASK or --mask alpha")
    if given.own_mask is not None and given.threshold is not None:
        raise CommandError("--threshold is for a MASK, and not for --mask alpha")
    check_model(given)
    for name in ("poisson", "sketch"):
        if getattr(given, name) and given.method != "model":
            raise CommandError(f"--{name} is for --method model")
    photos = need("photos", "demo")
    tasks, many = _tasks(given)
    if given.attention_map is not None and many:
        raise CommandError("--attention-map is for a single photograph")
    _check_distinct(tasks, given)
    if not many:
        photos.check_writable(given.output)
    if given.attention_map is not None:
        photos.check_writable(given.attention_map, "RGB")
    if given.report is not None:
        files.check_writable(given.report)
    outcomes = list(outcomes_of(tasks, given, many))
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


def _tasks(given: argparse.Namespace) -> tuple[list[Task], bool]:
    """The tasks, and whether the image was given as many."""
    if not is_many(given.image):
        if given.mask is not None and is_many(given.mask):
            raise CommandError(f"one photograph needs one mask, got {given.mask}")
        if given.format is not None:
            raise CommandError("--format is for many photographs; one is written as --output ends")
        if given.sketch is not None and is_many(given.sketch):
            raise CommandError(f"one photograph needs one sketch, got {given.sketch}")
        mask, sketch = (name and Path(name) for name in (given.mask, given.sketch))
        return [Task(Path(given.image), mask, given.output, sketch)], False
    images = photographs_of(given.image)
    if not given.output.is_dir():
        raise CommandError(f"many photographs need an existing folder as --output, got {given.output}")
    masks, sketches = _beside("mask", given.mask, images), _beside("sketch", given.sketch, images)
    outputs = [_output(given, image) for image in images]
    return [Task(*paths) for paths in zip(images, masks, outputs, sketches, strict=True)], True


def _output(given: argparse.Namespace, image: Path) -> Path:
    if given.format is None:
        return given.output / image.name
    path = given.output / f"{image.stem}.{given.format.removeprefix('.')}"
    need("formats", "demo").format_of(path)
    return path


def _beside(kind: str, where: str | None, images: list[Path]) -> list[Path | None]:
    """For each image the mask or sketch of its name without its ending; one, or none, is for all."""
    if where is None or not is_many(where):
        return [where and Path(where)] * len(images)
    named = by_stem(photographs_of(where))
    if lacking := [image for image in images if image.stem not in named]:
        raise CommandError(f"{lacking[0]}: no {kind} named {lacking[0].stem}.* in {where}")
    return [named[image.stem] for image in images]


def _check_distinct(tasks: list[Task], given: argparse.Namespace) -> None:
    """Refuse a result in the place of a photograph, of a mask or of another result."""
    read = {f"the mask {task.mask}": task.mask for task in tasks if task.mask is not None}
    read |= {f"the sketch {task.sketch}": task.sketch for task in tasks if task.sketch is not None}
    read |= {f"the photograph {task.image}": task.image for task in tasks}
    written = {f"the result of {task.image}": task.output for task in tasks}
    named = {"--attention-map": given.attention_map, "--report": given.report}
    files.check_distinct(written | {name: path for name, path in named.items() if path is not None}, read)
