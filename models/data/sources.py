"""Where training pictures come from: files, a published or Hugging Face dataset, or a procedural set."""

from __future__ import annotations

import codecs
import glob
import io
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from ...opening import may_be_picture
from ...photos import PhotoError, read_pixels, to_uint8
from .data_sets import ALL, TRAIN, VALIDATION, DataSet, told
from .dead_leaves import dead_leaves
from .listing import Paths, files_below
from .recognising import AUTO, PLAIN, recognise
from .scenes import draw_scene

Draw = Callable[[tuple[int, int], torch.Generator], Tensor]

SCENES = "scenes"
# The procedural sets by name: how each draws a picture of a size (H, W).
PROCEDURAL: dict[str, Draw] = {"procedural": dead_leaves, SCENES: draw_scene}
_HUB = "hf:"
_LISTS = (".txt", ".flist")
_EXPECTED = (
    f"a folder, a glob pattern, a list file ({' or '.join(_LISTS)}), {_HUB}owner/name[:split], "
    f"{' or '.join(f'{name}[:SEED]' for name in PROCEDURAL)}"
)


class Source(Protocol):
    """Pictures by number."""

    def __len__(self) -> int: ...

    def read(self, index: int) -> Tensor:
        """Picture ``index``: (3, H, W) uint8, RGB.

        Raises:
            PhotoError: It cannot be read; the message names it.
        """
        ...


class PictureFiles:
    """Files that Pillow decodes, in the order of ``paths``."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self.paths = paths

    def __len__(self) -> int:
        return len(self.paths)

    def read(self, index: int) -> Tensor:
        return read_pixels(self.paths[index])[0]


class ProceduralPictures:
    """``count`` drawn pictures of ``side`` x ``side`` pixels; number and seed are the picture."""

    def __init__(self, count: int, side: int, seed: int = 0, draw: Draw = dead_leaves) -> None:
        self.count, self.side, self.seed, self.draw = count, side, seed, draw

    def __len__(self) -> int:
        return self.count

    def read(self, index: int) -> Tensor:
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + index)
        return to_uint8(self.draw((self.side, self.side), generator))


class HubPictures:
    """The first column of pictures of a split of a Hugging Face dataset.

    Args:
        name: Of the dataset, such as ``"owner/name"``, or ``"owner/name:split"``; default split ``"train"``.

    Raises:
        ValueError: The package datasets is missing, or the dataset has no column of pictures, or no rows.
    """

    def __init__(self, name: str) -> None:
        try:
            import datasets
        except ModuleNotFoundError as error:
            raise ValueError("data: Hugging Face datasets need a package: pip install datasets") from error
        name, _, split = name.partition(":")
        rows = datasets.load_dataset(name, split=split or "train")
        self.name = name
        columns = [key for key, feature in rows.features.items() if isinstance(feature, datasets.Image)]
        if not columns:
            raise ValueError(f"data: {name} has no column of pictures, only {', '.join(rows.features)}")
        if not len(rows):
            raise ValueError(f"data: the split {split or 'train'!r} of {name} is empty")
        self.column = columns[0]
        # Bytes in place of decoded pictures: a damaged one then fails where it is counted.
        self.rows = rows.cast_column(self.column, datasets.Image(decode=False))

    def __len__(self) -> int:
        return len(self.rows)

    def read(self, index: int) -> Tensor:
        cell: dict[str, Any] = self.rows[index][self.column]
        file = io.BytesIO(cell["bytes"]) if cell["bytes"] is not None else Path(cell["path"])
        try:
            return read_pixels(file)[0]
        except PhotoError as error:
            raise PhotoError(f"{self.name}, row {index}: {error}") from error


class Mixed:
    """The pictures of one source, and after them those of another."""

    def __init__(self, first: Source, second: Source) -> None:
        self.first, self.second = first, second

    def __len__(self) -> int:
        return len(self.first) + len(self.second)

    def read(self, index: int) -> Tensor:
        beyond = index - len(self.first)
        return self.first.read(index) if beyond < 0 else self.second.read(beyond)


class Cached:
    """Keeps pictures decoded until ``limit`` bytes are spent; later ones are read every time.

    A small set is decoded once and not once an epoch.
    """

    def __init__(self, source: Source, limit: int) -> None:
        self.source, self.left = source, limit
        self.kept: dict[int, Tensor] = {}

    def __len__(self) -> int:
        return len(self.source)

    def read(self, index: int) -> Tensor:
        pixels = self.kept.get(index)
        if pixels is None:
            pixels = self.source.read(index)
            if pixels.numel() <= self.left:
                self.kept[index] = pixels
                self.left -= pixels.numel()
        return pixels


def open_source(
    data: str,
    size: int,
    count: int = 10_000,
    split: str = TRAIN,
    layout: str = AUTO,
    say: Callable[[str], None] | None = None,
) -> Source:
    """The pictures that ``data`` names.

    Args:
        data: A folder (searched with its subfolders), a glob pattern, a list file (.txt or .flist, a path a
            line, relative to the list; UTF-8 or UTF-16), ``"hf:owner/name"`` or ``"hf:owner/name:split"``, or
            drawn ones: ``"procedural"``, dead leaves, or ``"scenes"``, simplified photographs, each also with
            ``:SEED``, SEED >= 0: other pictures for another one, default 0.
        size: Side of the crops that will be taken, in pixels: procedural pictures are half as large again.
        count: Number of pictures, where they are procedural.
        split: Of a published data set that the folder is found to hold: "train", "val", "test", "all", and of
            DTD "train2" and so on. Anything else has no splits here and is "train" and "all" as a whole.
        layout: Of the data set, one of `recognising.LAYOUTS`: "auto" recognises it, "plain" takes a folder
            for a folder.
        say: Told in a line which data set, split and pictures were chosen, where that was a choice.

    Raises:
        ValueError: Nothing of the kind is there.
    """
    found = data_set(data, layout)
    if found is not None:
        part = found.pictures(split)
        if say is not None:
            say(f"data: {told(found, split, part)}")
        return PictureFiles(Paths(found.root, part.names))
    if split not in (TRAIN, ALL):
        raise ValueError(
            f"split: no published data set is recognised at {data!r}, so that there is no split {split!r}; "
            f"expected {TRAIN} or {ALL}, which take every picture"
        )
    kind, colon, seed = data.partition(":")
    if kind in PROCEDURAL:
        return procedural(kind, size, count, _seed(kind, seed) if colon else 0)
    if data.startswith(_HUB):
        return HubPictures(data.removeprefix(_HUB))
    return PictureFiles(find_pictures(data))


def procedural(kind: str, size: int, count: int, seed: int = 0) -> ProceduralPictures:
    """A set of `PROCEDURAL` for crops of ``size`` pixels a side, half as large again."""
    return ProceduralPictures(count, math.ceil(1.5 * size), seed, PROCEDURAL[kind])


def data_set(data: str, layout: str = AUTO) -> DataSet | None:
    """The published data set that ``data`` names; None for anything else. See `open_source`.

    Raises:
        ValueError: As `recognising.recognise`.
    """
    is_no_file = data.partition(":")[0] in PROCEDURAL or data.startswith(_HUB)
    return None if is_no_file and layout in (AUTO, PLAIN) else recognise(Path(data), layout)


def held_out_split(data: str, layout: str = AUTO) -> str:
    """The split to measure on unless another is asked for: "val" of a published data set, else "all".

    Raises:
        ValueError: As `recognising.recognise`.
    """
    return ALL if data_set(data, layout) is None else VALIDATION


def _seed(kind: str, text: str) -> int:
    if not (text.isascii() and text.isdecimal()):
        raise ValueError(f"data: expected {kind}:SEED with a whole number >= 0, got {kind}:{text}")
    return int(text)


def find_pictures(where: Path | str, name: str = "data", expected: str = _EXPECTED) -> list[Path]:
    """The picture files of a folder, a glob pattern or a list file, sorted; see `open_source`.

    Of a folder, files that have the name of a picture or begin as one; whether they are whole shows when they
    are read.

    Args:
        where: What to look at.
        name, expected: Of the setting that it comes from, and what that admits: for the message.

    Raises:
        ValueError: There are none.
    """
    files = _listed(where)
    if not files:
        raise ValueError(f"{name}: no pictures at {str(where)!r}; expected {expected}")
    return files


def _listed(where: Path | str) -> list[Path]:
    path = Path(where)
    if path.is_dir():
        # In the order of paths, by which seeds find pictures again.
        names = sorted(files_below(path), key=lambda name: name.replace("/", "\0"))
        return [file for file in map(path.joinpath, names) if may_be_picture(file)]
    if path.is_file() and path.suffix in _LISTS:
        return [path.parent / line.strip() for line in _text(path).splitlines() if line.strip()]
    files = map(Path, glob.glob(str(where), recursive=True))
    return sorted(file for file in files if file.is_file())


def _text(path: Path) -> str:
    """A file of text in UTF-8, or in UTF-16 with the mark at its beginning that Windows writes."""
    content = path.read_bytes()
    encoding = "utf-16" if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig"
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path}: a list of pictures in {encoding} cannot be read ({error.reason})"
        ) from error
