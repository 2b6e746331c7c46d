"""Files of Torch7 as its torch.save writes them, from the description of their format."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

CLASSES = {
    "u1": "Byte",
    "i1": "Char",
    "i2": "Short",
    "i4": "Int",
    "i8": "Long",
    "f2": "Half",
    "f4": "Float",
    "f8": "Double",
}


class Module(NamedTuple):
    """An object of a class: its fields are written as a table."""

    kind: str
    fields: dict[Any, Any]
    version: str | None = "V 1"


class Cuda(NamedTuple):
    """An array as a tensor of a GPU."""

    array: np.ndarray


class Writer:
    """The bytes of one file."""

    def __init__(self) -> None:
        self.bytes = bytearray()
        self._numbers: dict[int, int] = {}
        self._kept: list[Any] = []  # an object that is gone leaves its id to another

    def value(self, value: Any) -> None:
        if value is None:
            self._int(0)
        elif isinstance(value, bool):
            self._int(5, value)
        elif isinstance(value, (int, float)):
            self._int(1)
            self.bytes += struct.pack("<d", value)
        elif isinstance(value, str):
            self._int(2)
            self._string(value)
        elif isinstance(value, (dict, list)):
            if self._is_first(3, value):
                self._table(value)
        elif isinstance(value, Module):
            if self._is_first(4, value):
                self._class(value.kind, value.version)
                self.value(value.fields)
        else:
            self._tensor(value)

    def _table(self, value: Any) -> None:
        items = value.items() if isinstance(value, dict) else enumerate(value, 1)
        self._int(len(items) if isinstance(value, dict) else len(value))
        for key, each in items:
            self.value(key)
            self.value(each)

    def _tensor(self, value: Any) -> None:
        if not self._is_first(4, value):
            return
        array = value.array if isinstance(value, Cuda) else value
        name = CLASSES[array.dtype.str[1:]]
        if isinstance(value, Cuda):
            name = "Cuda" if name == "Float" else f"Cuda{name}"
        base = array.base if isinstance(array.base, np.ndarray) else array
        start = array.__array_interface__["data"][0] - base.__array_interface__["data"][0]
        self._class(f"torch.{name}Tensor")
        self._int(array.ndim)
        self._long(*array.shape, *(each // array.itemsize for each in array.strides))
        self._long(start // array.itemsize + 1)
        if self._is_first(4, base if base is not array else (base,)):
            self._class(f"torch.{name}Storage")
            self._long(base.size)
            self.bytes += base.tobytes()

    def _is_first(self, kind: int, value: Any) -> bool:
        number = self._numbers.get(id(value))
        self._int(kind, number or len(self._numbers) + 1)
        if number is None:
            self._numbers[id(value)] = len(self._numbers) + 1
            self._kept.append(value)
        return number is None

    def _class(self, name: str, version: str | None = "V 1") -> None:
        if version is not None:
            self._string(version)
        self._string(name)

    def _string(self, text: str) -> None:
        self._int(len(text))
        self.bytes += text.encode("latin-1")

    def _int(self, *numbers: int) -> None:
        self.bytes += struct.pack(f"<{len(numbers)}i", *numbers)

    def _long(self, *numbers: int) -> None:
        self.bytes += struct.pack(f"<{len(numbers)}q", *numbers)


def t7(value: Any) -> bytes:
    """A whole file."""
    writer = Writer()
    writer.value(value)
    return bytes(writer.bytes)


def modules(weights: dict[str, np.ndarray], places: int, kind_of: Callable[[int], str]) -> list[Module]:
    """Modules of an nn.Sequential: those that have weights with these, and all others without."""
    listed = [Module("nn.ReLU", {"inplace": True, "train": False}) for _ in range(places)]
    for place in {int(name.partition(".")[0]) for name in weights}:
        start = f"{place}."
        fields = {name.removeprefix(start): x for name, x in weights.items() if name.startswith(start)}
        listed[place] = Module(kind_of(place), fields | {"gradInput": np.empty(0, np.float32)}, "V 2")
    return listed
