"""``experiment``: how well holes are filled, by their size, by the texture around them, and beside a replica.

The experiments of section 2 of the report by Dumont and Guédon (2020), its figures 8 to 10.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from .arguments import count
from .errors import CommandError
from .needs import need

HELP = "Repeat the report's experiments: holes of growing size, textures, a replica beside the picture."
EXPERIMENTS = ("sizes", "textures", "replication")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("experiment", choices=EXPERIMENTS)
    parser.add_argument(
        "--image", type=Path, required=True, metavar="PATH", help="a photograph, or a folder of them"
    )
    parser.add_argument(
        "--method", choices=("exemplar", "patchmatch"), default="exemplar", help="default: %(default)s"
    )
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help="an existing folder")
    parser.add_argument(
        "--max-size", type=count, default=680, metavar="N",
        help="reduce larger photographs to N pixels on the longest side (default: %(default)s, the report's)",
    )  # fmt: skip


def run(given: argparse.Namespace) -> None:
    """Run one experiment on every photograph; write its table and figure."""
    photos, experiments = need("photos", "demo"), need("models.experiments", "demo")
    if not given.output.is_dir():
        raise CommandError(f"--output {given.output}: there is no such folder")
    rows: list[dict[str, Any]] = []
    for path in _files(given.image):
        photo = photos.read_photo(path, given.max_size)
        try:
            found = getattr(experiments, given.experiment)(photo, given.method)
        # A photograph that is too small for the holes.
        except ValueError as error:
            raise CommandError(f"{path}: {error}") from error
        rows += [{"photo": path.name, **row} for row in found.rows]
        figure = given.output / f"{given.experiment}-{path.stem}.jpg"
        photos.write_photos({figure: photos.to_uint8(found.figure)[0]})
        print(f"written: {figure}")
    table = given.output / f"{given.experiment}.json"
    photos.write_atomically(table, json.dumps(rows, indent=2).encode())
    print(experiments.to_markdown(rows))
    print(f"written: {table}")


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    files = sorted(file for file in path.iterdir() if file.suffix.lower() in (".png", ".jpg", ".jpeg"))
    if not files:
        raise CommandError(f"--image {path}: no .png or .jpg there")
    return files
