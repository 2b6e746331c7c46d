"""Published data sets whose splits are folders: Places2 and ImageNet."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import ClassVar

from .data_sets import TEST, TRAIN, VALIDATION, DataSet, Part, lines
from .listing import list_pictures

# Enough of a folder to see whose pictures these are.
_FEW = 20


class ByFolder(DataSet):
    """A data set whose splits are folders.

    Attributes:
        candidates: The names that the folder of each split has.
    """

    candidates: ClassVar[dict[str, tuple[str, ...]]]

    def folders(self) -> list[str]:
        return [name for split in self.candidates for name in self._folders_of(split)]

    def _folders_of(self, split: str) -> list[str]:
        """The first of the candidates, as far as any is there."""
        return [name for name in self.candidates[split] if (self.root / name).is_dir()][:1]

    def part(self, split: str) -> Part:
        if split not in self.candidates:
            raise self.refuse(split)
        folders = self._folders_of(split)
        if not folders:
            expected = " or ".join(self.candidates[split])
            raise ValueError(
                f"data: the split {split} of {self.title} is missing: no folder {expected} in {self.root} "
                f"({self.published[split]:,} pictures)"
            )
        names = list_pictures(self.root, folders[0])
        return Part(names, self.published[split], folders[0])


class Places2(ByFolder):
    """Places365-Standard, the pictures of 2016 and later (Zhou et al., TPAMI 2017), in large size.

    The archives unpack to data_large and val_large; torchvision renames the former. The lists of
    filelist_places365-standard.tar are looked for beside them.
    """

    layout = "places2"
    title = "Places2, large"
    published: ClassVar[dict[str, int]] = {TRAIN: 1_803_460, VALIDATION: 36_500, TEST: 328_500}
    candidates: ClassVar[dict[str, tuple[str, ...]]] = {
        TRAIN: ("data_large", "data_large_standard"),
        VALIDATION: ("val_large",),
        TEST: ("test_large",),
    }
    lists: ClassVar[dict[str, str]] = {
        TRAIN: "places365_train_standard.txt",
        VALIDATION: "places365_val.txt",
        TEST: "places365_test.txt",
    }

    @classmethod
    def found(cls, folder: Path, is_named: bool) -> Iterator[DataSet]:
        candidate = cls(folder)
        if candidate.folders():
            yield candidate

    def listed(self, split: str) -> Iterable[str] | None:
        lists = [self.root / self.lists[split], self.root / "filelist_places365-standard" / self.lists[split]]
        folders = self._folders_of(split)
        for path in lists:
            if folders and path.is_file():
                # A line: /a/airfield/00000001.jpg 0
                return (f"{folders[0]}/{line.split()[0].lstrip('/')}" for line in lines(path))
        return None

    def unlisted(self, split: str) -> str:
        return f"{self.lists[split]} would name them, and is not in {self.root}"


class Places2Small(Places2):
    """The same in 256 x 256 pixels."""

    layout = "places2-256"
    title = "Places2, 256 x 256"
    candidates: ClassVar[dict[str, tuple[str, ...]]] = {
        TRAIN: ("data_256", "data_256_standard"),
        VALIDATION: ("val_256",),
        TEST: ("test_256",),
    }


class Places2Folders(ByFolder):
    """The same as train and val with a folder for each category: places365standard_easyformat.tar."""

    layout = "places2-folders"
    title = "Places2, train and val"
    published = Places2.published
    candidates: ClassVar[dict[str, tuple[str, ...]]] = {split: (split,) for split in Places2.published}

    @classmethod
    def found(cls, folder: Path, is_named: bool) -> Iterator[DataSet]:
        for root in (folder, folder / "places365_standard"):
            candidate = cls(root)
            if candidate.folders() and (is_named or candidate._is_of_places()):
                yield candidate

    def _is_of_places(self) -> bool:
        marks = [*Places2.lists.values(), "categories_places365.txt", "train/airfield", "val/airfield"]
        return any((self.root / mark).exists() for mark in marks) or any(
            name.startswith("Places365_val_") for name in _few_names(self.root / VALIDATION)
        )


class ImageNet(ByFolder):
    """ILSVRC2012 (Russakovsky et al., IJCV 2015), val with or without a folder for each class."""

    layout = "imagenet"
    title = "ImageNet"
    published: ClassVar[dict[str, int]] = {TRAIN: 1_281_167, VALIDATION: 50_000, TEST: 100_000}
    candidates: ClassVar[dict[str, tuple[str, ...]]] = {
        TRAIN: ("train", "ILSVRC2012_img_train"),
        VALIDATION: ("val", "ILSVRC2012_img_val"),
        TEST: ("test", "ILSVRC2012_img_test"),
    }
    _CLASS = re.compile(r"n\d{8}")

    @classmethod
    def found(cls, folder: Path, is_named: bool) -> Iterator[DataSet]:
        for root in (folder, folder / "Data/CLS-LOC", folder / "ILSVRC/Data/CLS-LOC"):
            candidate = cls(root)
            names = [name for each in candidate.folders() for name in _few_names(root / each)]
            if names and (is_named or any(cls._is_of_imagenet(name) for name in names)):
                yield candidate

    @classmethod
    def _is_of_imagenet(cls, name: str) -> bool:
        return bool(cls._CLASS.match(name)) or name.startswith(("ILSVRC2012_val_", "ILSVRC2012_test_"))

    def part(self, split: str) -> Part:
        part = super().part(split)
        packed = len(list((self.root / part.by).glob("n*.tar")))
        notes = (f"{packed} archives of {part.by} are still to be unpacked",) if packed else ()
        return part._replace(notes=notes)


def _few_names(folder: Path) -> list[str]:
    """Some names in a folder, and in the first of its folders."""
    if not folder.is_dir():
        return []
    with os.scandir(folder) as entries:
        first = list(itertools.islice(entries, _FEW))
    names = [entry.name for entry in first]
    inner = next((entry.path for entry in first if entry.is_dir()), None)
    if inner is not None:
        with os.scandir(inner) as entries:
            names += [entry.name for entry in itertools.islice(entries, _FEW)]
    return names
