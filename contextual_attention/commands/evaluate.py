"""``evaluate``: models and methods that need none measured on the same pictures and holes."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ..files import check_distinct, check_writable, replace_file
from .arguments import add_split, count, device
from .errors import CommandError
from .needs import need
from .progress import progress

HELP = "Measure how well models fill holes: l1, l2, PSNR, TV and SSIM."
_DRAWN = (
    "box", "boxes", "free-form", "box-and-strokes", "yu2019", "mmagic-irregular", "mmagic-box", "otenim-box",
    "centre", "region", "varied",
)  # fmt: skip
# Of a model's folder, and of the run that has it.
_CONFIGURATIONS = ("config.json", "model/config.json")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", required=True, help="as for the command train")
    add_split(parser, "of a published data set: val (default), train, test, all; of DTD also val2 ...")
    parser.add_argument(
        "--model", action="append", default=[], metavar="DIR",
        help="a run of the command train, a folder of save_pretrained, a repository of huggingface.co, or "
        "structure, the network that comes with the package, alone; may be repeated",
    )  # fmt: skip
    parser.add_argument(
        "--method", action="append", default=[], metavar="NAME",
        help="a method that needs no --model, such as structure, exemplar or mean; may be repeated",
    )  # fmt: skip
    parser.add_argument("--size", type=count, default=256, help="side of the pictures (default: %(default)s)")
    parser.add_argument("--masks", default="box", help=f"{', '.join(_DRAWN)}, or a folder of masks")
    parser.add_argument("--box", type=count, help="side of a box (default: half the size, as in the paper)")
    parser.add_argument("--limit", type=count, metavar="N", help="take the first N pictures")
    parser.add_argument("--batch", type=count, default=8, help="pictures at a time (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of crops and holes (default: %(default)s)")
    parser.add_argument(
        "--device", type=device, default="cpu", help="where to compute (default: %(default)s)"
    )
    parser.add_argument(
        "--output", action="append", default=[], type=Path, metavar="FILE",
        help="write the table as .md, .csv or .json; may be repeated",
    )  # fmt: skip


def run(given: argparse.Namespace) -> None:
    """Measure, print the table, and write it."""
    evaluation = need("models.evaluation.evaluate", "train")
    configurations = [Path(folder, place) for folder in given.model for place in _CONFIGURATIONS]
    check_distinct(
        {f"table {number}": path for number, path in enumerate(given.output, 1)},
        {f"the model's own {file}": file for file in configurations},
    )
    for path in given.output:
        if path.suffix not in evaluation.WRITERS:
            raise CommandError(f"--output {path}: expected one of {', '.join(evaluation.WRITERS)}")
        try:
            check_writable(path)
        except OSError as error:
            raise CommandError(f"--output {path}: {error}") from error
    try:
        methods = _methods(given, evaluation)
        samples = _samples(given)
        with progress("measuring") as advance:
            scores = evaluation.evaluate(methods, samples, given.limit, given.batch, given.device, advance)
    # ValueError: what was given. RuntimeError: out of memory.
    except (ValueError, RuntimeError) as error:
        raise CommandError(str(error)) from error
    for message in scores.broken:
        print(f"left out: {message}")
    rows = scores.table()
    print(evaluation.to_markdown(rows))
    for path in given.output:
        text = evaluation.WRITERS[path.suffix](rows)
        replace_file(path, lambda file, text=text: file.write(text.encode()))
        print(f"written: {path}")


def _methods(given: argparse.Namespace, evaluation: Any) -> dict[str, Any]:
    unknown = [name for name in given.method if name not in evaluation.METHODS]
    if unknown:
        raise CommandError(f"--method {unknown[0]}: expected one of {', '.join(evaluation.METHODS)}")
    names = [*given.method, *given.model]
    for name in names:
        if names.count(name) > 1:
            raise CommandError(f"{name}: given twice; the rows of the table have it for their name")
    methods = {name: evaluation.METHODS[name] for name in given.method}
    methods |= {path: evaluation.model_method(path, given.device) for path in given.model}
    if not methods:
        raise CommandError("nothing to measure: give at least one --model or --method")
    return methods


def _samples(given: argparse.Namespace) -> Any:
    """The whole pictures, as far as they are square, in their order."""
    config, feed = need("models.training.config", "train"), need("models.training.feed", "train")
    kind, folder = (given.masks, "") if given.masks in _DRAWN else ("folder", given.masks)
    if folder and not Path(folder).is_dir():
        raise CommandError(f"--masks {folder}: expected {', '.join(_DRAWN)}, or a folder of masks")
    masks = config.MaskConfig(kind=kind, box=given.box or given.size // 2, folder=folder)
    sources = need("models.data.sources", "train")
    split = given.split or sources.held_out_split(given.data, given.layout)
    data = config.DataConfig(
        path=given.data, size=given.size, least_crop=1.0, flip=False, split=split, layout=given.layout
    )
    return feed.make_samples(config.TrainConfig(data=data, masks=masks, seed=given.seed), print)
