"""What a published data set is, unpacked in a folder: splits, the pictures of each, and what is missing."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import ClassVar, NamedTuple

from .listing import list_pictures

TRAIN, VALIDATION, TEST, ALL = "train", "val", "test", "all"
_NAMED_ABSENT = 3


def lines(path: Path) -> Iterator[str]:
    """The lines of a list that is published in ASCII, without those that are empty."""
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        yield from filter(None, map(str.strip, file))


class Part(NamedTuple):
    """The pictures of a split that are there.

    Attributes:
        names: Relative to the root of the data set, sorted.
        expected: How many the split has as it is published.
        by: The folder or the list that says which they are.
        notes: What a user may not expect of it.
    """

    names: list[str]
    expected: int
    by: str
    notes: tuple[str, ...] = ()


class DataSet(ABC):
    """A published data set that was found in a folder.

    Args:
        root: The folder that its names are relative to.

    Attributes:
        layout: The name of its layout.
        title: For people.
        published: How many pictures each split has.
    """

    layout: ClassVar[str]
    title: ClassVar[str]
    published: ClassVar[dict[str, int]]

    def __init__(self, root: Path) -> None:
        self.root = root

    @classmethod
    @abstractmethod
    def found(cls, folder: Path, is_named: bool) -> Iterator[DataSet]:
        """What of this layout is in a folder.

        Args:
            folder: What a user gives.
            is_named: Whether they name the layout too: then the folder of the pictures itself will do.
        """

    @abstractmethod
    def folders(self) -> list[str]:
        """The folders of its pictures that are there, relative to the root."""

    @abstractmethod
    def part(self, split: str) -> Part:
        """The pictures of a split.

        Raises:
            ValueError: There is no such split, or what says which they are is missing.
        """

    def listed(self, split: str) -> Iterable[str] | None:
        """The names that a split has as it is published; None where nothing says so."""
        return None

    def unlisted(self, split: str) -> str:
        """Why `listed` has no names."""
        return "the archives come with no list of them"

    def pictures(self, split: str) -> Part:
        """The pictures of a split, or all that are there.

        Raises:
            ValueError: The data set has no such split, or nothing of it is there.
        """
        part = self._all() if split == ALL else self.part(split)
        if not part.names:
            nothing = f"data: {self.title} in {self.root} has no pictures of the split {split}"
            raise ValueError("; ".join([nothing, *part.notes]))
        return part

    def _all(self) -> Part:
        names = [name for folder in self.folders() for name in list_pictures(self.root, folder)]
        return Part(sorted(names), sum(self.published.values()), ", ".join(self.folders()))

    def refuse(self, split: str) -> ValueError:
        """The error for a split that the data set does not have."""
        splits = ", ".join([*self.published, ALL])
        return ValueError(f"split: {self.title} has the splits {splits}; got {split!r}")


def told(found: DataSet, split: str, part: Part) -> str:
    """One line on what was chosen."""
    there, expected = len(part.names), part.expected
    of = f" of {expected:,}" if there < expected else ""
    more = f" ({there - expected:,} more than were published)" if there > expected else ""
    line = f"{found.title}, split {split}: {there:,}{of} pictures{more}, by {part.by}"
    return "; ".join([line, *part.notes])


def report(found: DataSet, split: str) -> Iterator[str]:
    """Lines on a split, or on each: how much of it is there, and what is missing."""
    for each in found.published if split == ALL else [split]:
        try:
            part = found.part(each)
        except ValueError as error:
            yield str(error)
            continue
        yield told(found, each, part)
        yield from _absent(found, each, part)


def _absent(found: DataSet, split: str, part: Part) -> Iterator[str]:
    listed = found.listed(split)
    if listed is None:
        if len(part.names) < part.expected:
            yield f"  missing: {part.expected - len(part.names):,}; {found.unlisted(split)}"
        return
    there = set(part.names)
    absent = [name for name in listed if name not in there]
    if absent:
        more = ", ..." if len(absent) > _NAMED_ABSENT else ""
        yield f"  missing: {len(absent):,}: {', '.join(absent[:_NAMED_ABSENT])}{more}"
