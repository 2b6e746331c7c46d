"""Photographs that a command is given: one, or all of a folder or of a glob pattern."""

from __future__ import annotations

import glob
import os
from pathlib import Path

from .errors import CommandError
from .needs import need

_SHOWN = 5


def is_many(where: str) -> bool:
    """Whether a folder or a glob pattern is meant and not a file."""
    return os.path.isdir(where) or (glob.has_magic(where) and not os.path.exists(where))


def photographs_of(where: str) -> list[Path]:
    """The pictures of a folder, without its subfolders, or of a glob pattern, by name; others are told.

    Raises:
        CommandError: There are none.
    """
    may_be_picture = need("opening", "demo").may_be_picture
    there = sorted(Path(where).iterdir() if os.path.isdir(where) else map(Path, glob.glob(where)))
    found = [path for path in there if path.is_file() and may_be_picture(path)]
    kept = set(found)
    if skipped := [path.name for path in there if path not in kept]:
        more = f" and {len(skipped) - _SHOWN} more" if len(skipped) > _SHOWN else ""
        print(f"{where}: skipped what is no picture: {', '.join(skipped[:_SHOWN])}{more}", flush=True)
    if not found:
        raise CommandError(f"{where}: no photographs there")
    return found


def by_stem(files: list[Path]) -> dict[str, Path]:
    """Files by their names without endings.

    Raises:
        CommandError: Two have the same, and no one could tell which is meant.
    """
    named: dict[str, Path] = {}
    for file in files:
        if file.stem in named:
            raise CommandError(f"{named[file.stem]} and {file}: the same name but for the ending; rename one")
        named[file.stem] = file
    return named
