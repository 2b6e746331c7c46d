"""Published data sets whose splits are lists or numbers: CelebA, CelebA-HQ and DTD."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import ClassVar

from .data_sets import TEST, TRAIN, VALIDATION, DataSet, Part, lines
from .listing import list_pictures

# Of list_eval_partition.txt, in the order of the splits.
_CODES = (["0"], ["1"], ["2"])
# What CelebA-HQ is there in: CelebAMask-HQ (from 0.jpg), copies, and what the authors' tool and others write
# (from 00001.jpg).
_SIDES = (64, 128, 256, 512, 1024)
_HQ_FOLDERS = (
    "CelebA-HQ-img", *(f"celeba_hq_{side}" for side in _SIDES), *(f"data{side}x{side}" for side in _SIDES)
)  # fmt: skip


class CelebA(DataSet):
    """img_align_celeba, whose splits list_eval_partition.txt says (Liu et al., ICCV 2015)."""

    layout = "celeba"
    title = "CelebA"
    published: ClassVar[dict[str, int]] = {TRAIN: 162_770, VALIDATION: 19_867, TEST: 19_962}
    _FOLDERS = ("img_align_celeba/img_align_celeba", "img_align_celeba", "Img/img_align_celeba")
    _LISTS = ("list_eval_partition.txt", "Eval/list_eval_partition.txt", "list_eval_partition.csv")

    def __init__(self, root: Path, folder: str) -> None:
        super().__init__(root)
        self.folder = folder

    @classmethod
    def found(cls, folder: Path, is_named: bool) -> Iterator[DataSet]:
        for root in (folder, folder / "celeba"):
            there = [name for name in cls._FOLDERS if (root / name).is_dir()]
            if there:
                yield cls(root, there[0])
                return
        if is_named:
            yield cls(folder, "")

    def folders(self) -> list[str]:
        return [self.folder]

    def part(self, split: str) -> Part:
        if split not in self.published:
            raise self.refuse(split)
        splits, by = self._splits()
        names = list_pictures(self.root, self.folder)
        own = [name for name in names if splits.get(Path(name).stem) == split]
        unlisted = sum(Path(name).stem not in splits for name in names)
        notes = (f"{unlisted} pictures belong to no split and are left out",) if unlisted else ()
        return Part(own, self.published[split], by, notes)

    def listed(self, split: str) -> Iterable[str]:
        names = list_pictures(self.root, self.folder)
        ending = Path(names[0]).suffix if names else ".jpg"
        prefix = f"{self.folder}/" if self.folder else ""
        return (f"{prefix}{stem}{ending}" for stem, own in self._splits()[0].items() if own == split)

    def _splits(self) -> tuple[dict[str, str], str]:
        """The split of each picture by the stem of its name, and what says so."""
        names = list(self.published)
        for path in (self.root / name for name in self._LISTS):
            if path.is_file():
                # A line: 000001.jpg 0; of Kaggle's list 000001.jpg,0 after a line of names.
                rows = (line.replace(",", " ").split() for line in lines(path))
                listed = {Path(row[0]).stem: names[int(row[1])] for row in rows if row[1:] in _CODES}
                return listed, path.relative_to(self.root).as_posix()
        numbers = iter(range(1, sum(self.published.values()) + 1))
        splits = {
            f"{next(numbers):06}": split for split, count in self.published.items() for _ in range(count)
        }
        return splits, f"number, since {self._LISTS[0]} is missing"


class CelebAHQ(DataSet):
    """The 30,000 pictures of CelebA-HQ by their numbers (Karras et al., ICLR 2018).

    It is published without splits. By convention of this project, and of none other that is binding, the
    first 28,000 by number are for training and the last 2,000 for validation: as many as publications on
    inpainting hold out, which draw them at random, as Yu et al. do (their lists can be given as data), or
    follow the splits of CelebA.
    """

    layout = "celeba-hq"
    title = "CelebA-HQ"
    published: ClassVar[dict[str, int]] = {TRAIN: 28_000, VALIDATION: 2_000}
    _NUMBER = re.compile(r"(?:img)?(\d+)\.\w+")

    def __init__(self, root: Path, folder: str) -> None:
        super().__init__(root)
        self.folder = folder

    @classmethod
    def found(cls, folder: Path, is_named: bool) -> Iterator[DataSet]:
        there = [
            cls(root, name)
            for root in (folder, folder / "CelebAMask-HQ")
            for name in _HQ_FOLDERS
            if (root / name).is_dir()
        ]
        yield from there
        if is_named and not there:
            yield cls(folder, "")

    def folders(self) -> list[str]:
        return [self.folder]

    def part(self, split: str) -> Part:
        if split not in self.published:
            raise self.refuse(split)
        numbers = self._numbers()
        first, last = self._range(split, numbers.values())
        names = [name for name, number in numbers.items() if first <= number <= last]
        return Part(names, self.published[split], f"number ({first} to {last}) of {self.folder or self.root}")

    def listed(self, split: str) -> Iterable[str]:
        numbers = self._numbers()
        first, last = self._range(split, numbers.values())
        names = {number: name for name, number in numbers.items()}
        return (names.get(number, f"number {number}") for number in range(first, last + 1))

    def _numbers(self) -> dict[str, int]:
        """The pictures that have a number for a name, and it."""
        names = list_pictures(self.root, self.folder)
        matches = ((name, self._NUMBER.fullmatch(Path(name).name)) for name in names)
        return {name: int(match[1]) for name, match in matches if match}

    def _range(self, split: str, numbers: Iterable[int]) -> tuple[int, int]:
        """The first and last number of a split: what the authors' tools write begins with 1."""
        there = set(numbers)
        begin = int(0 not in there and (self.folder.startswith("data") or 30_000 in there))
        first = begin if split == TRAIN else begin + self.published[TRAIN]
        return first, first + self.published[split] - 1


class DTD(DataSet):
    """The Describable Textures Dataset, whose labels divide it in ten ways (Cimpoi et al., CVPR 2014).

    The splits are "train", "val" and "test" of the first way, "train2" and so on of the others.
    """

    layout = "dtd"
    title = "DTD"
    published: ClassVar[dict[str, int]] = {TRAIN: 1_880, VALIDATION: 1_880, TEST: 1_880}
    _SPLIT = re.compile(r"(train|val|test)([1-9]|10)?")

    @classmethod
    def found(cls, folder: Path, is_named: bool) -> Iterator[DataSet]:
        for root in (folder, folder / "dtd", folder / "dtd/dtd"):
            classes = root / "images"
            if (root / "labels/train1.txt").is_file() or (
                (classes / "banded").is_dir() and (classes / "zigzagged").is_dir()
            ):
                yield cls(root)

    def folders(self) -> list[str]:
        return ["images"] if (self.root / "images").is_dir() else []

    def part(self, split: str) -> Part:
        path = self._list(split)
        there = set(list_pictures(self.root, "images")) if self.folders() else set()
        names = sorted(there.intersection(self.listed(split)))
        return Part(names, self.published[split.rstrip("0123456789")], path.relative_to(self.root).as_posix())

    def listed(self, split: str) -> Iterable[str]:
        # A line: banded/banded_0002.jpg
        return (f"images/{line}" for line in lines(self._list(split)))

    def refuse(self, split: str) -> ValueError:
        return ValueError(f"{super().refuse(split)}; a number, such as train2, says which of ten divisions")

    def _list(self, split: str) -> Path:
        match = self._SPLIT.fullmatch(split)
        if not match:
            raise self.refuse(split)
        path = self.root / "labels" / f"{match[1]}{match[2] or 1}.txt"
        if not path.is_file():
            raise ValueError(
                f"data: {path} is missing, which lists the split {split} of {self.title}; expected the "
                "folder labels of its archive beside images"
            )
        return path
