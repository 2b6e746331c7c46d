"""Qt resource files with a few files in them."""

from __future__ import annotations

import struct
from collections.abc import Mapping


def resource_file(version: int, files: Mapping[str, tuple[bytes, int]]) -> bytes:
    """An .rcc of folder/name: (contents, flags)."""
    names, starts = b"", []
    for name in ("", "folder", *files):
        starts.append(len(names))
        names += struct.pack(">HI", len(name), 0) + name.encode("utf-16-be")
    later = b"" if version == 1 else bytes(8)
    tree = struct.pack(">IHII", starts[0], 2, 1, 1) + later
    tree += struct.pack(">IHII", starts[1], 2, len(files), 2) + later
    data = b""
    for start, (contents, flags) in zip(starts[2:], files.values(), strict=True):
        tree += struct.pack(">IHHHI", start, flags, 0, 0, len(data)) + later
        data += struct.pack(">I", len(contents)) + contents
    head = struct.pack(">4s4I", b"qres", version, 20, 20 + len(tree), 20 + len(tree) + len(data))
    return head + tree + data + names
