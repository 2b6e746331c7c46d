"""Photographs in and out for the commands. Needs Pillow, so only a running command imports this module.

Every problem with a file is a PhotoError whose message names the file.
"""

from __future__ import annotations

import io
import os
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from . import files
from .exif import exif_of


class PhotoError(OSError):
    """A photograph that cannot be read, or a picture that cannot be written, in one line."""


def read_photo(
    path: Path | BinaryIO, max_size: int | None = None, size: tuple[int, int] | None = None
) -> Tensor:
    """Read a photograph as features: (1, 3, H, W) float32, red, green, blue in [-1, 1].

    It is turned the way its EXIF orientation says; grey becomes RGB; what is transparent becomes white;
    16 bits are brought to 8; of an animation the first frame is taken.

    Args:
        path: any file that Pillow can read, or an open one.
        max_size: longest side in pixels, at least 1: a larger photograph is reduced to it (Lanczos).
        size: (height, width) to bring it to, whatever its shape (Lanczos). Default: its own.

    Raises:
        PhotoError: the file is missing, not a regular file, not a picture, or damaged.
    """
    return to_features(read_pixels(path, max_size, size))


def read_pixels(
    path: Path | BinaryIO, max_size: int | None = None, size: tuple[int, int] | None = None
) -> Tensor:
    """The same, (1, 3, H, W) uint8, in a quarter of the memory."""
    with _opened(path) as file:
        ImageOps.exif_transpose(file, in_place=True)  # large pictures are not copied without need
        image = _to_rgb(file)
        if max_size is not None:
            image = _reduce(image, max_size)
        if size is not None:
            image = image.resize(size[::-1], Image.Resampling.LANCZOS)
        return torch.from_numpy(np.array(image)).permute(2, 0, 1)[None]


def to_features(pixels: Tensor) -> Tensor:
    """Whole numbers 0 to 255 to float32 in [-1, 1], same shape."""
    return pixels.to(torch.float32, copy=True).div_(127.5).sub_(1)


@dataclass(frozen=True)
class Photo:
    """A photograph as it is edited: its pixels, and what else its file says that belongs to them.

    Attributes:
        image: upright, of mode L, LA, RGB, RGBA or I;16.
        exif: without the orientation, which has been applied; empty if there is none.
        icc_profile: of the colours; None if there is none.
    """

    image: Image.Image
    exif: bytes = b""
    icc_profile: bytes | None = None

    def with_image(self, image: Image.Image) -> Photo:
        """The same photograph with other pixels."""
        return replace(self, image=image)


def open_photo(path: Path, most_pixels: int | None = None) -> Photo:
    """Read a photograph with all its bits, its opacity and what its file says about it.

    Palettes become RGB or RGBA, black and white becomes grey, CMYK becomes RGB without its profile.

    Args:
        path: any file that Pillow can read.
        most_pixels: a photograph with more is refused before it is decoded. Default: Pillow's bound.

    Raises:
        PhotoError: the file is missing, not a regular file, not a picture, damaged, too large, or has
            16 bits a colour, of which Pillow would silently drop 8.
    """
    with _opened(path) as file:
        if most_pixels is not None and file.width * file.height > most_pixels:
            raise ValueError(
                f"it has {file.width} x {file.height} pixels, more than {most_pixels:,}; reduce it first"
            )
        if _has_deep_colours(file):
            raise ValueError("16 bits are kept in grey pictures only; convert it to 8 bits or to grey")
        upright = ImageOps.exif_transpose(file)
        image = _editable(upright)
        profile = upright.info.get("icc_profile") if upright.mode != "CMYK" else None
        return Photo(image, exif_of(file), profile)


def read_mask(path: Path, size: tuple[int, int] | None = None) -> Tensor:
    """Read a mask: (1, 1, H, W) bool, True where it is lighter than mid-grey.

    Args:
        path: any picture; it is turned the way its EXIF orientation says.
        size: (width, height) to bring it to, nearest. Default: its own.

    Raises:
        PhotoError: as open_photo.
    """
    mask = open_photo(path).image
    if mask.mode == "I;16":
        mask = Image.fromarray((np.asarray(mask) >> 8).astype(np.uint8))
    mask = mask.convert("L")
    if size is not None and mask.size != size:
        mask = mask.resize(size, Image.Resampling.NEAREST)
    return torch.from_numpy(np.array(mask) > 127)[None, None]


def transparent(image: Image.Image) -> Tensor:
    """(1, 1, H, W) bool, True where an image of mode LA or RGBA is not fully opaque."""
    return torch.from_numpy(np.array(image.getchannel("A")) < 255)[None, None]


def can_be_transparent(path: Path) -> bool:
    """Whether the format that the path ends in has a place for opacity."""
    return _format_of(path) not in ("JPEG", "BMP", "PPM")


def check_encodable(mode: str, path: Path) -> None:
    """Find out before a long computation that a picture of a mode could not be written to ``path``.

    Raises:
        PhotoError: the format cannot hold it, such as opacity or 16 bits in JPEG.
    """
    _encode(Image.new(mode, (1, 1)), path)


def write_photo(photo: Photo, path: Path) -> None:
    """Write a photograph whole or not at all, with its EXIF data and colour profile, as the path ends.

    Raises:
        PhotoError: the format cannot hold it, or the file cannot be written.
    """
    kept: dict[str, Any] = {"exif": photo.exif} if photo.exif else {}
    if photo.icc_profile is not None:
        kept["icc_profile"] = photo.icc_profile
    write_atomically(path, _encode(photo.image, path, **kept))


def to_uint8(photo: Tensor) -> Tensor:
    """The inverse of `to_features`: [-1, 1] to whole numbers 0 to 255, clamped; same shape."""
    return ((photo + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)


def check_writable(path: Path) -> None:
    """Find out before a long computation that its result could not be written to ``path``.

    Raises:
        PhotoError: no folder, a folder that cannot be written to, something there that is not a file, or an
            ending that stands for no picture format.
    """
    try:
        files.check_writable(path)
    except OSError as error:
        raise PhotoError(f"{path}: {error.strerror or error}") from error
    _format_of(path)


def write_photos(photos: dict[Path, Tensor]) -> None:
    """Write pictures, (3, H, W) uint8 RGB, each to its path, in the format that the path ends in.

    All are encoded before the first is written, and each file appears whole or not at all.

    Raises:
        PhotoError: a picture cannot be encoded in its format, or a file cannot be written.
    """
    encoded = {
        path: _encode(Image.fromarray(photo.permute(1, 2, 0).contiguous().cpu().numpy()), path)
        for path, photo in photos.items()
    }
    for path, data in encoded.items():
        write_atomically(path, data)


@contextmanager
def _opened(path: Path | BinaryIO) -> Iterator[Image.Image]:
    """The picture in a file, not decoded yet; whatever goes wrong with it inside becomes a PhotoError."""
    try:
        # Reading a pipe or a device would wait for ever.
        if isinstance(path, Path) and not stat.S_ISREG(os.stat(path).st_mode):
            raise ValueError("not a regular file")
        with Image.open(path) as file, _BUDGET.spent_on(file.width * file.height):
            _check_size(file)
            yield file
    except FileNotFoundError as error:
        raise PhotoError(f"{path}: no such file") from error
    # Pillow's decoders raise whatever the damaged bytes lead them to (SyntaxError, struct.error, ...).
    except Exception as error:
        raise PhotoError(f"{path}: cannot be read as a picture ({error})") from error


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
        raise ValueError(f"Image size ({pixels} pixels) exceeds the limit of {most}: perhaps a bomb")


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "F":
        raise ValueError("its pixels are floating-point numbers of no known range")
    if image.mode.startswith("I"):  # 16 bits, which convert() would clip in place of scaling
        grey = np.asarray(image).astype(np.int64) >> 8
        image = Image.fromarray(grey.clip(0, 255).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image if image.mode == "RGB" else image.convert("RGB")


def _reduce(image: Image.Image, max_size: int) -> Image.Image:
    longest = max(image.size)
    if longest <= max_size:
        return image
    width, height = (max(1, round(side * max_size / longest)) for side in image.size)
    return image.resize((width, height), Image.Resampling.LANCZOS)


def _format_of(path: Path) -> str:
    format_name = Image.registered_extensions().get(path.suffix.lower())
    if format_name not in Image.SAVE:
        raise PhotoError(f'{path}: cannot write pictures named "*{path.suffix}"; use .png, .jpg or .webp')
    return format_name


def _has_deep_colours(file: Image.Image) -> bool:
    """Whether Pillow is about to read 16 bits a channel of colour as 8."""
    modes = [
        tile.args if isinstance(tile.args, str) else tile.args[0]
        for tile in getattr(file, "tile", [])
        if tile.args
    ]
    return file.mode in ("RGB", "RGBA", "LA") and any(";16" in str(mode) for mode in modes)


def _editable(image: Image.Image) -> Image.Image:
    if image.mode == "F":
        raise ValueError("its pixels are floating-point numbers of no known range")
    if image.mode.startswith("I"):
        grey = np.asarray(image)
        if grey.min() < 0 or grey.max() > 65535:
            raise ValueError("its pixels are whole numbers beyond 16 bits")
        return Image.fromarray(grey.astype(np.uint16))
    if image.mode in ("L", "LA", "RGB", "RGBA"):
        return image.convert(image.mode)
    if image.has_transparency_data:
        return image.convert("RGBA")
    return image.convert("L" if image.mode == "1" else "RGB")


def _encode(image: Image.Image, path: Path, **kept: Any) -> bytes:
    data = io.BytesIO()
    try:
        image.save(data, format=_format_of(path), quality=95, **kept)
    except (OSError, ValueError) as error:
        raise PhotoError(f"{path}: cannot be encoded ({error})") from error
    return data.getvalue()


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file whole or not at all; a PhotoError if it cannot be written."""
    try:
        files.replace_file(path, lambda file: file.write(data))
    except OSError as error:
        raise PhotoError(f"{path}: cannot be written ({error.strerror})") from error
