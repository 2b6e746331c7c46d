"""Files of Torch7 (.t7), of the binary kind, as trees of plain values: no code is run, and none is needed.

The format, of Torch7's File.lua and Tensor.c: every value is an int32 that tells its type, and what follows
it. Strings are a length and bytes. Tables and objects have a number by which later values refer to them; an
object has its version and the name of its class too. A tensor is its sizes, strides and offset, and a
storage, which is an object of its own. Numbers are little-endian, int32, int64 ("long") or float64.

The reader is our own because the one on PyPI, torchfile 0.1.0 of 2017, trusts the file: a tensor of a damaged
one shows memory beyond its numbers, and a storage takes whatever memory it declares.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

_NIL, _NUMBER, _STRING, _TABLE, _OBJECT, _BOOLEAN = range(6)
_FUNCTIONS = (6, 7, 8)  # as Torch7 has written them through its versions
# Of CUDA the same classes have the word Cuda before their name's kind, and of floats only that.
_DTYPES = {
    "Byte": "u1",
    "Char": "i1",
    "Short": "i2",
    "Int": "i4",
    "Long": "i8",
    "Half": "f2",
    "Float": "f4",
    "Double": "f8",
}
_MOST_DIMENSIONS = 16
# Networks of networks are some ten tables deep. Each costs three calls of Python, which has a thousand.
_MOST_DEPTH = 100
# Many tensors under one long name would take more memory than the file.
_LONGEST_NAME = 200


class Torch7Object:
    """An object of Torch7: a module of a network, mostly.

    Attributes:
        kind: The name of its class.
        fields: Its variables by name.
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.fields: dict[Any, Any] = {}


def is_torch7(start: bytes) -> bool:
    """Whether a file that starts with these 8 bytes or more is of Torch7: a first table or object.

    Raises:
        ValueError: It is, but of a kind that is not read here.
    """
    if start[:4] in (b"3\n1\n", b"4\n1\n"):
        raise ValueError(
            'a Torch7 file of the kind "ascii"; load it there and save it anew: '
            'torch.save(FILE, OBJECT, "binary")'
        )
    if start[:8] in (struct.pack(">ii", kind, 1) for kind in (_TABLE, _OBJECT)):
        raise ValueError(
            "a Torch7 file of a big-endian machine; load it there and save it as ascii, then as binary"
        )
    return start[:8] in (struct.pack("<ii", kind, 1) for kind in (_TABLE, _OBJECT))


def read_torch7(path: Path) -> dict[str, Tensor]:
    """The tensors of a Torch7 file by name.

    Args:
        path: Of a table or an object, as Torch7's torch.save writes them.

    Returns:
        Tensors on the CPU. Names are fields and keys, joined by dots; of a table of modules and of other
        lists the places counted from 0: ``"model.0.weight"``, ``"1.running_var"``. What a file refers to more
        than once has the name of its first place, but for tensors, which have all of theirs. What has a name
        of more than 200 characters is left out.

    Raises:
        ValueError: It is damaged, or holds code.
        OSError: It cannot be read.
    """
    return _named_tensors(_Reader(np.fromfile(path, np.uint8)).value())


class _Reader:
    """One pass over the bytes of a file; its tensors are views of them."""

    def __init__(self, data: np.ndarray) -> None:
        self._data = data
        self._view = memoryview(data)
        self._at = 0
        self._depth = 0
        self._seen: dict[int, Any] = {}

    def value(self) -> Any:
        kind = self._int()
        if kind == _NIL:
            return None
        if kind == _NUMBER:
            return self._unpack("<d")
        if kind == _STRING:
            return self._string()
        if kind == _BOOLEAN:
            return self._int() == 1
        if kind == _TABLE:
            return self._once(self._table)
        if kind == _OBJECT:
            return self._once(self._object)
        if kind in _FUNCTIONS:
            raise ValueError(
                "it holds a Lua function, which is code; if you trust it, save its tensors alone with Torch7"
            )
        raise ValueError(f"{kind} at byte {self._at - 4} is no type of Torch7's")

    def _once(self, read: Callable[[int], Any]) -> Any:
        """A table or object by its number: read where it is first, and the same one later."""
        number = self._int()
        if number in self._seen:
            return self._seen[number]
        if self._depth == _MOST_DEPTH:
            raise ValueError(f"tables within tables, more than {_MOST_DEPTH} deep")
        self._depth += 1
        value = read(number)
        self._depth -= 1
        return value

    def _table(self, number: int) -> dict[Any, Any]:
        count = self._int()
        if count < 0:
            raise ValueError(f"a table of {count} values")
        table: dict[Any, Any] = {}
        self._seen[number] = table  # before its values, which may refer to it
        for _ in range(count):
            key, value = self.value(), self.value()
            if isinstance(key, (str, float)):  # all else that Lua allows has no name here
                table[key] = value
        return table

    def _object(self, number: int) -> Any:
        kind = self._string()
        if kind.startswith("V "):  # a version, which the oldest files have not
            kind = self._string()
        dtype, what = _tensor_class(kind)
        if what is not None:
            self._seen[number] = None  # until it is read; a tensor that holds itself has no storage then
            self._seen[number] = self._tensor() if what == "Tensor" else self._storage(np.dtype(f"<{dtype}"))
            return self._seen[number]
        module = Torch7Object(kind)
        self._seen[number] = module
        fields = self.value()
        if not isinstance(fields, dict):
            raise ValueError(f"an object of {kind[:80]!r} is not a table of fields")
        module.fields = fields
        return module

    def _tensor(self) -> Tensor | None:
        dimensions = self._int()
        if not 0 <= dimensions <= _MOST_DIMENSIONS:
            raise ValueError(f"a tensor of {dimensions} dimensions")
        sizes = [self._long() for _ in range(dimensions)]
        strides = [self._long() for _ in range(dimensions)]
        offset = self._long() - 1
        storage = self.value()
        if storage is None or not dimensions:
            return None
        if not isinstance(storage, Tensor):
            raise ValueError("a tensor without a storage")
        if offset < 0 or min(sizes) < 0 or min(strides) < 0:
            raise ValueError(f"a tensor of sizes {sizes}, strides {strides} from {offset + 1}")
        return storage.as_strided(sizes, strides, offset)  # which refuses to look beyond the storage

    def _storage(self, dtype: np.dtype) -> Tensor:
        numbers = self._take(self._long() * dtype.itemsize).view(dtype)
        # In this machine's order of bytes, and at places that its instructions take.
        return torch.from_numpy(np.require(numbers, dtype.newbyteorder("="), "A"))

    def _string(self) -> str:
        return self._take(self._int()).tobytes().decode("latin-1")  # Lua's are bytes

    def _int(self) -> int:
        return self._unpack("<i")

    def _long(self) -> int:
        return self._unpack("<q")

    def _unpack(self, form: str) -> Any:
        start = self._at
        self._advance(struct.calcsize(form))
        return struct.unpack_from(form, self._view, start)[0]

    def _take(self, length: int) -> np.ndarray:
        start = self._at
        self._advance(length)
        return self._data[start : self._at]

    def _advance(self, length: int) -> None:
        left = len(self._data) - self._at
        if not 0 <= length <= left:
            raise ValueError(f"{length:,} bytes are to follow byte {self._at:,}, and {left:,} do")
        self._at += length


def _tensor_class(kind: str) -> tuple[str, str | None]:
    """dtype and "Tensor" or "Storage" of the name of a class; None for all other classes."""
    for what in ("Tensor", "Storage"):
        if kind.startswith("torch.") and kind.endswith(what):
            name = kind.removeprefix("torch.").removesuffix(what).removeprefix("Cuda") or "Float"
            if name in _DTYPES:
                return _DTYPES[name], what
    return "", None


def _named_tensors(root: Any) -> dict[str, Tensor]:
    """The tensors of a tree by name, as `read_torch7` says."""
    named: dict[str, Tensor] = {}
    seen = set()  # else tables that refer to each other have names without end
    waiting = [("", root)]
    while waiting:
        name, value = waiting.pop()
        if len(name) > _LONGEST_NAME:
            continue
        if isinstance(value, Tensor):
            named[name] = value
        elif isinstance(value, (dict, Torch7Object)) and id(value) not in seen:
            seen.add(id(value))
            waiting += reversed(list(_parts(name, value)))
    return named


def _parts(name: str, value: dict[Any, Any] | Torch7Object) -> Iterator[tuple[str, Any]]:
    fields = value.fields if isinstance(value, Torch7Object) else value
    for key, part in fields.items():
        if isinstance(value, Torch7Object) and key == "modules":
            yield name, part
        elif isinstance(key, str):
            yield f"{name}.{key}" if name else key, part
        elif isinstance(key, float) and key.is_integer():
            yield f"{name}.{int(key) - 1}" if name else f"{int(key) - 1}", part
