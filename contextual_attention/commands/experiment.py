"""``experiment``: how well holes are filled, by their size, by the texture around them, beside a replica.

The experiments of section 2 of the report by Dumont and Guédon (2020), its figures 8 to 10.
"""

from __future__ import annotations

import argparse
import functools
import json
import re
from pathlib import Path
from types import ModuleType
from typing import Any

from ..files import check_distinct
from .arguments import count, device
from .errors import CommandError
from .inpaint import METHODS
from .model import check_model, read_model
from .needs import need
from .photographs import by_stem, photographs_of
from .progress import Advance, progress

HELP = "Repeat the report's experiments: size of holes, texture, a replica beside the picture, artifacts."
# Each with the column by which its rows are averaged over the photographs.
PER_PHOTOGRAPH = {"sizes": "side", "textures": "texture", "replication": "background"}
EXPERIMENTS = (*PER_PHOTOGRAPH, "artifacts")
_REPORTS_SIZE = (512, 680)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("experiment", choices=EXPERIMENTS)
    parser.add_argument(
        "--image", type=Path, metavar="PATH",
        help="a photograph, or a folder of them (default: those of scikit-image and scikit-learn)",
    )  # fmt: skip
    parser.add_argument("--method", choices=METHODS, default="exemplar", help="default: %(default)s")
    parser.add_argument("--model", help="for --method model or structure: its folder or repository")
    parser.add_argument(
        "--device", type=device, default="cpu", help="where to compute (default: %(default)s)"
    )
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help="an existing folder")
    size = parser.add_mutually_exclusive_group()
    size.add_argument(
        "--resize", type=_size, default=_REPORTS_SIZE, metavar="HxW",
        help="bring every photograph to this size, whatever its shape (default: 512x680, the report's)",
    )  # fmt: skip
    size.add_argument(
        "--max-size", type=count, metavar="N",
        help="keep the shape, and reduce photographs to N pixels on the longest side if they are larger",
    )  # fmt: skip


def run(given: argparse.Namespace) -> None:
    """Run one experiment on every photograph; write its table and figures."""
    check_model(given)
    if not given.output.is_dir():
        raise CommandError(f"--output {given.output}: there is no such folder")
    files = _files(given.image)
    _check_outputs(given, files)
    photos = need("photos", "demo")
    pictures = {name: _read(photos, path, given) for name, path in files.items()}
    fill = functools.partial(
        need("models.filling.inpaint", "demo").inpaint,
        method=given.method, model=read_model(given.model), device=given.device, return_offsets=True,
    )  # fmt: skip
    rows: list[dict[str, Any]] = []
    holes = len(pictures) * need("models.evaluation.experiments", "demo").HOLES.get(given.experiment, 1)
    with progress(f"filling {holes} holes") as advance:
        for name, found in _results(given.experiment, pictures, _counted(fill, holes, advance)):
            rows += found.rows
            _write_figure(_figure(given, name), found.figure)
    _write_tables(given, rows)


def _counted(fill: Any, total: int, advance: Advance) -> Any:
    """A method that tells, while it fills, how much of ``total`` holes is filled."""
    before = 0

    def counted(photo: Any, hole: Any) -> Any:
        nonlocal before
        result = fill(photo, hole, progress=lambda share: advance((before + share) / total))
        before += 1
        return result

    return counted


def _check_outputs(given: argparse.Namespace, files: dict[str, Path]) -> None:
    """Refuse a photograph in the place of a figure or a table."""
    figures = [given.experiment]
    if given.experiment in PER_PHOTOGRAPH:
        figures = [f"{given.experiment}-{name}" for name in files]
    written = [*(_figure(given, name) for name in figures), *_tables(given)]
    check_distinct(
        {f"the result {path.name}": path for path in written},
        {f"the photograph {path.name}": path for path in files.values()},
    )


def _figure(given: argparse.Namespace, name: str) -> Path:
    return given.output / f"{name}.jpg"


def _tables(given: argparse.Namespace) -> tuple[Path, Path]:
    return given.output / f"{given.experiment}.json", given.output / f"{given.experiment}.md"


def _results(experiment: str, pictures: dict[str, Any], fill: Any) -> Any:
    """What was found, with the name of its figure: for each photograph, or once for all."""
    try:
        if experiment == "artifacts":
            yield experiment, need("models.evaluation.artifacts", "demo").artifacts(pictures, fill)
            return
        examine = getattr(need("models.evaluation.experiments", "demo"), experiment)
        for name, picture in pictures.items():
            found = examine(picture, fill)
            rows = [{"photo": name, **row} for row in found.rows]
            yield f"{experiment}-{name}", found._replace(rows=rows)
    # ValueError: a photograph that is too small for the holes. RuntimeError: no such device, out of memory.
    except (ValueError, RuntimeError) as error:
        raise CommandError(str(error)) from error


def _read(photos: ModuleType, path: Path, given: argparse.Namespace) -> Any:
    return photos.read_photo(path, given.max_size, None if given.max_size else given.resize)


def _files(path: Path | None) -> dict[str, Path]:
    """The photographs by name."""
    if path is None:
        return need("models.data.bundled", "demo").bundled_photographs()
    if not path.is_dir():
        return {path.stem: path}
    return by_stem(photographs_of(str(path)))


def _write_figure(target: Path, figure: Any) -> None:
    figures = need("models.evaluation.figures", "demo")
    need("photos", "demo").write_atomically(target, figures.to_jpeg(figures.draw(figure)))
    print(f"written: {target}", flush=True)


def _write_tables(given: argparse.Namespace, rows: list[dict[str, Any]]) -> None:
    """All rows as JSON; as Markdown, means over the photographs first, then all rows."""
    tables, write = need("models.evaluation.tables", "demo"), need("photos", "demo").write_atomically
    by = PER_PHOTOGRAPH.get(given.experiment)
    mean = tables.means(rows, by) if by else [tables.mean(rows)]
    summary = (
        f"Means over the photographs ({len({row['photo'] for row in rows})}):\n\n{tables.to_markdown(mean)}"
    )
    text = f"# {given.experiment}\n\n{summary}\n\nEach photograph:\n\n{tables.to_markdown(rows)}\n"
    for path, content in zip(_tables(given), (json.dumps(rows, indent=2) + "\n", text), strict=True):
        write(path, content.encode())
    print(f"{summary}\nwritten: {given.output / given.experiment}.json, .md")


def _size(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"([1-9]\d*)x([1-9]\d*)", text)
    if match is None:
        raise argparse.ArgumentTypeError(f"expected HEIGHTxWIDTH in pixels, such as 512x680, got {text!r}")
    return int(match[1]), int(match[2])
