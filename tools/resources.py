"""Files inside a Qt resource file (.rcc), format 1 to 3, as far as they are kept uncompressed.

The file has a table of nodes, each a folder or a file, a table of names in UTF-16, and the contents; all
numbers are big-endian.
"""

from __future__ import annotations

import struct
from pathlib import Path


def read_resource(path: Path, name: str) -> bytes:
    """The contents of one file, by its path in the resource file.

    Raises:
        FileNotFoundError: There is none of that name.
        ValueError: This is no resource file, or the contents are compressed.
    """
    data = path.read_bytes()
    if data[:4] != b"qres":
        raise ValueError(f"{path}: expected a Qt resource file, which starts with qres, got {data[:4]!r}")
    version, tree, contents, names = struct.unpack_from(">4I", data, 4)
    size = 14 if version == 1 else 22  # of a node: later formats add the time of the last change
    node = tree
    for part in name.split("/"):
        count, first = struct.unpack_from(">II", data, node + 6)
        children = range(tree + first * size, tree + (first + count) * size, size)
        found = [child for child in children if _name(data, names, child) == part]
        if not found:
            raise FileNotFoundError(f"{path}: has no {name}")
        node = found[0]
    flags = struct.unpack_from(">H", data, node + 4)[0]
    if flags:
        raise ValueError(f"{path}: {name} is a folder or compressed (flags {flags}), which is not read here")
    start = contents + struct.unpack_from(">I", data, node + 10)[0]
    (length,) = struct.unpack_from(">I", data, start)
    return data[start + 4 : start + 4 + length]


def _name(data: bytes, names: int, node: int) -> str:
    start = names + struct.unpack_from(">I", data, node)[0]
    (length,) = struct.unpack_from(">H", data, start)
    return data[start + 6 : start + 6 + 2 * length].decode("utf-16-be")
