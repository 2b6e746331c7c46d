"""``check-data``: which pictures of a set can be trained on."""

from __future__ import annotations

import argparse
import os
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from .arguments import add_split, count
from .errors import CommandError
from .needs import need
from .progress import progress

HELP = "Report sizes, broken files and too-small pictures of a data set."
_SHOWN = 20
_MOST_THREADS = 8
# Pictures that wait for a thread: a million would take memory of their own.
_AT_ONCE = 1000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("data", metavar="DATA", help="as for the command train")
    parser.add_argument(
        "--size", type=count, default=256, metavar="N",
        help="side of the crops; smaller pictures would be enlarged (default: %(default)s)",
    )  # fmt: skip
    add_split(parser, "of a published data set: all (default), train, val, test; of DTD also train2 ...")


def run(given: argparse.Namespace) -> None:
    """Decode every picture and say what was found."""
    sources = need("models.data.sources", "train")
    split = given.split or "all"
    try:
        data_set = sources.data_set(given.data, given.layout)
        if data_set is not None:
            _tell(data_set, split)
        source = sources.open_source(given.data, given.size, split=split, layout=given.layout)
    except ValueError as error:
        raise CommandError(str(error)) from error
    sizes: Counter[tuple[int, int]] = Counter()
    broken: list[str] = []
    with progress("reading") as advance:
        for number, found in enumerate(_decoded(source), 1):
            if isinstance(found, str):
                broken.append(found)
            else:
                sizes[found] += 1
            advance(number / len(source))
    _report(sizes, broken, given.size)
    folder = Path(given.data)
    if data_set is None and folder.is_dir():
        others = sum(path.is_file() for path in folder.rglob("*")) - len(source)
        if others > 0:
            print(f"other files, which are no pictures: {others}")


def _tell(data_set: Any, split: str) -> None:
    """Say which data set it is, and of each split how much is there, before the pictures are read."""
    data_sets = need("models.data.data_sets", "train")
    print(f"data set: {data_set.title} (layout {data_set.layout}) in {data_set.root}")
    with progress("listing"):
        lines = list(data_sets.report(data_set, split))
    print("\n".join(f"  {line}" for line in lines), flush=True)


def _decoded(source: Any) -> Iterator[tuple[int, int] | str]:
    """Height and width of each picture, or what is wrong with it."""

    def decode(index: int) -> tuple[int, int] | str:
        # OSError: photos.PhotoError, whose message names the file.
        try:
            return tuple(source.read(index).shape[1:])
        except OSError as error:
            return " ".join(str(error).split())  # names of files may hold line breaks

    # Pillow decodes outside Python's lock. Each thread keeps some memory of the largest picture that it met.
    with ThreadPoolExecutor(min(os.cpu_count() or 1, _MOST_THREADS)) as pool:
        for first in range(0, len(source), _AT_ONCE):
            yield from pool.map(decode, range(first, min(first + _AT_ONCE, len(source))))


def _report(sizes: Counter[tuple[int, int]], broken: list[str], least: int) -> None:
    small = sum(number for size, number in sizes.items() if min(size) < least)
    print(f"pictures: {sizes.total()}")
    for (height, width), number in sizes.most_common(_SHOWN):
        print(f"  {width} x {height}: {number}")
    if len(sizes) > _SHOWN:
        print(f"  and {len(sizes) - _SHOWN} other sizes")
    print(f"smaller than {least} pixels on a side: {small}")
    print(f"broken: {len(broken)}")
    for message in broken[:_SHOWN]:
        print(f"  {message}")
    if len(broken) > _SHOWN:
        print(f"  and {len(broken) - _SHOWN} more")
    if not sizes:
        raise CommandError("none of the pictures can be read")
