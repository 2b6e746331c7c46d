"""Writes the photographs that the structure network is trained on into a folder, all of them or none.

    apt-get download gcompris-qt-data               and so on: without its packages, the command says which
    dpkg -x gcompris-qt-data_*.deb DIR/gcompris-qt-data
    python -m tools.structure.collect --packages DIR --out PHOTOGRAPHS

A file is taken as it is, under the name package--activity--name. A photograph that is longer than 1024 pixels
is made smaller, and written as PNG: of a wallpaper at its own size, a crop that is trained on shows nothing.
"""

from __future__ import annotations

import argparse
import io
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from contextual_attention.files import check_new_folder, replace_folder

from .photographs import TrainingPhotograph, training_photographs

LONGEST = 1024


def collect(photographs: Sequence[TrainingPhotograph], packages: Path, out: Path) -> None:
    """Write photographs into a new folder, whole or not at all.

    Args:
        packages: Holds each package, unpacked into a folder of its name.
        out: Is not there, or empty; its parent is there.

    Raises:
        FileNotFoundError: A package, or a file of one, is missing.
        OSError: ``out`` is not as it should be, or cannot be written.
        ValueError: A package has other pictures than those that are listed.
    """
    try:
        check_new_folder(out)
    except OSError as error:
        raise OSError(f"--out {out}: {error}") from error
    missing = sorted({one.package for one in photographs if not (packages / one.package).is_dir()})
    if missing:
        raise FileNotFoundError(
            f"{packages} has no folder {', '.join(missing)}; for each of them, on Debian 12: "
            f"apt-get download PACKAGE; dpkg -x PACKAGE_*.deb {packages}/PACKAGE"
        )

    files = dict(_file(one, packages) for one in photographs)

    def write(folder: Path) -> None:
        for name, data in files.items():
            (folder / name).write_bytes(data)

    replace_folder(out, write)


def _file(photograph: TrainingPhotograph, packages: Path) -> tuple[str, bytes]:
    """Name and contents of what is written of a photograph."""
    name = "--".join([photograph.package, photograph.activity, photograph.name])
    data = photograph.contents(packages)
    with Image.open(io.BytesIO(data)) as image:
        too_long = max(image.size) > LONGEST
    if not too_long:
        return f"{name}{Path(photograph.inside or photograph.file).suffix}", data
    smaller = io.BytesIO()
    Image.fromarray(photograph.read(packages, LONGEST)).save(smaller, "PNG")
    return f"{name}.png", smaller.getvalue()


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tools.structure.collect", description=__doc__.split("\n")[0]
    )
    parser.add_argument("--packages", type=Path, required=True, metavar="DIR", help="where they are unpacked")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="a new folder")
    given = parser.parse_args(arguments)
    photographs = training_photographs()
    try:
        collect(photographs, given.packages, given.out)
    except (OSError, ValueError) as error:
        raise SystemExit(str(error)) from None
    print(f"{given.out}: {len(photographs)} photographs")


if __name__ == "__main__":
    main()
