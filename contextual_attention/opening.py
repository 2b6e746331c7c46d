"""Files of pictures, opened with care: whatever is wrong with one is a PhotoError that names it.

Needs Pillow.
"""

from __future__ import annotations

import functools
import os
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from PIL import Image, ImageFile

from .formats import PhotoError

_MP_ENTRIES = 0xB002  # the tag of CIPA DC-007, Multi-Picture Format


@contextmanager
def opened(path: Path | BinaryIO) -> Iterator[Image.Image]:
    """The picture in a file, not decoded yet; whatever goes wrong with it inside becomes a PhotoError."""
    try:
        # Reading a pipe or a device would wait for ever.
        if isinstance(path, Path) and not stat.S_ISREG(os.stat(path).st_mode):
            raise ValueError("not a regular file")
        with Image.open(path) as file, _BUDGET.spent_on(file.width * file.height):
            _check_size(file)
            _check_single(file)
            yield file
    except FileNotFoundError as error:
        raise PhotoError(f"{path}: no such file") from error
    # Pillow's decoders raise whatever the damaged bytes lead them to (SyntaxError, struct.error, ...).
    except Exception as error:
        raise PhotoError(f"{path}: cannot be read as a picture ({error})") from error


def may_be_picture(path: Path) -> bool:
    """Whether a file has the name of a picture, or begins as one, that Pillow can read here."""
    if path.suffix.lower() in _readable_endings():
        return True
    try:
        with Image.open(path) as file:
            return not _is_stub(type(file))
    # What is recognised but too large is a picture; reading it says why it is refused.
    except Image.DecompressionBombError:
        return True
    # Pillow's readers raise whatever bytes that are no picture lead them to.
    except Exception:
        return False


@functools.cache
def _readable_endings() -> frozenset[str]:
    """Of formats that Pillow has a reader for, and not only a name."""
    endings = Image.registered_extensions()  # first: this is what loads Pillow's readers
    readers = {name: reader for name, (reader, _) in Image.OPEN.items() if not _is_stub(reader)}
    return frozenset(ending for ending, name in endings.items() if name in readers)


def _is_stub(reader: Any) -> bool:
    return isinstance(reader, type) and issubclass(reader, ImageFile.StubImageFile)


def is_whole(path: Path) -> bool:
    """Whether a file holds a picture that can be read to its end."""
    try:
        with opened(path) as file:
            file.load()
    except PhotoError:
        return False
    return True


class _Budget:
    """Of pixels that the threads of a process decode at once; a picture of more is decoded alone."""

    def __init__(self, pixels: int) -> None:
        self.whole = self.left = pixels
        self.changed = threading.Condition()

    @contextmanager
    def spent_on(self, pixels: int) -> Iterator[None]:
        pixels = min(pixels, self.whole)
        with self.changed:
            self.changed.wait_for(lambda: pixels <= self.left)
            self.left -= pixels
        try:
            yield
        finally:
            with self.changed:
                self.left += pixels
                self.changed.notify_all()


# With the copies that are made of them on the way, a gigabyte.
_BUDGET = _Budget(2**26)


def _check_size(file: Image.Image) -> None:
    """Refuse what Pillow only warns of; a filter of warnings would be that of all threads."""
    pixels, most = file.width * file.height, Image.MAX_IMAGE_PIXELS
    if most is not None and pixels > most:
        raise ValueError(f"it has {pixels:,} pixels, more than {most:,}: perhaps a trap for the memory")


def _check_single(file: Image.Image) -> None:
    """Refuse an animation, pages, or an icon of several sizes: one of them would silently stand for all."""
    if file.format == "PSD":  # Pillow counts layers, and reads what they make together
        return
    count = getattr(file, "n_frames", 1)
    if file.format in ("ICO", "ICNS"):
        count = len(file.info["sizes"])
    elif file.format == "MPO":  # a camera's previews and gain maps belong to its one photograph
        kinds = [entry["Attribute"]["MPType"] for entry in file.mpinfo[_MP_ENTRIES]]
        count = 1 + sum(kind.startswith("Multi-Frame") for kind in kinds[1:])
    if count > 1:
        raise ValueError(
            f"it holds {count} pictures, as animations, pages and icons do; save the one that you mean as a "
            "file of its own"
        )
