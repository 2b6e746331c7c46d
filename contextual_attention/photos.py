"""Photographs in and out for the commands. Needs Pillow, so only a running command imports this module.

Every problem with a file is a PhotoError whose message names the file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from . import files
from .exif import said_of
from .formats import PhotoError, check_holds, encode, format_of, lost
from .marks import Marks, read_marks
from .opening import opened

# Files that know more than Pillow says: what stands before the bits a channel, how far behind its start they
# are, and which bits of that byte are set where there are more than 8 (ISO 15444-1, SIZ; AV1-ISOBMFF, av1C).
_DEPTHS = {"JPEG2000": (b"\xff\x4f\xff\x51", 42, 0x78), "AVIF": (b"av1C", 6, 0x40)}
_HEAD = 2**20


def read_photo(
    path: Path | BinaryIO, max_size: int | None = None, size: tuple[int, int] | None = None
) -> Tensor:
    """Read a photograph as features: (1, 3, H, W) float32, red, green, blue in [-1, 1].

    It is turned the way its EXIF orientation says; grey becomes RGB; what is transparent becomes white;
    16 bits are brought to 8: see `left_out`.

    Args:
        path: any file that Pillow can read, or an open one.
        max_size: longest side in pixels, at least 1: a larger photograph is reduced to it (Lanczos).
        size: (height, width) to bring it to, whatever its shape (Lanczos). Default: its own.

    Raises:
        PhotoError: the file is missing, not a regular file, not a picture, damaged, or holds several.
    """
    return to_features(read_pixels(path, max_size, size))


def read_pixels(
    path: Path | BinaryIO, max_size: int | None = None, size: tuple[int, int] | None = None
) -> Tensor:
    """The same, (1, 3, H, W) uint8, in a quarter of the memory."""
    with opened(path) as file:
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


def left_out(path: Path) -> str:
    """What `read_photo` leaves out of a photograph, in words; empty if nothing.

    Raises:
        PhotoError: as read_photo.
    """
    with opened(path) as file:
        words = []
        if file.has_transparency_data:
            words.append("what is transparent is taken as white")
        if file.mode.startswith("I") or _has_deep_colours(file, path):
            words.append("more than 8 bits are brought to 8")
        return ", ".join(words)


@dataclass(frozen=True)
class Photo:
    """A photograph as it is edited: its pixels, and what else its file says that belongs to them.

    Attributes:
        image: upright, of mode L, LA, RGB, RGBA or I;16.
        about: what its file says, by the keys of `formats.ABOUT`, as far as it says something: "exif" without
            the orientation, which has been applied; "icc_profile", of the colours; "dpi", across and down.
    """

    image: Image.Image
    about: Mapping[str, Any] = field(default_factory=dict)

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
        PhotoError: the file is missing, not a regular file, not a picture, damaged, too large, holds several
            pictures, floating-point numbers, or more than 8 bits a colour, which Pillow would silently drop.
    """
    with opened(path) as file:
        if most_pixels is not None and file.width * file.height > most_pixels:
            raise ValueError(
                f"it has {file.width} x {file.height} pixels, more than {most_pixels:,}; reduce it first"
            )
        if _has_deep_colours(file, path):
            raise ValueError(
                "more than 8 bits a channel are kept in grey pictures only; convert it to 8 bits or to grey"
            )
        image = _editable(ImageOps.exif_transpose(file))
        return Photo(image, said_of(file))


def read_mask(path: Path, size: tuple[int, int] | None = None, threshold: float | None = None) -> Marks:
    """Read a mask from a file, as `marks` says.

    Args:
        path: any picture; it is turned the way its EXIF orientation says.
        size: (width, height) to bring it to, nearest. Default: its own.
        threshold: as in `marks.read_marks`.

    Raises:
        PhotoError: the file is missing, not a regular file, not a picture, damaged, or holds several.
    """
    with opened(path) as file:
        marks = read_marks(ImageOps.exif_transpose(file), threshold)
    if size is None:
        return marks
    resized = Image.fromarray(marks.missing).resize(size, Image.Resampling.NEAREST)
    return marks._replace(missing=np.asarray(resized))


def opacity(image: Image.Image) -> np.ndarray:
    """(H, W) uint8, of an image of mode LA or RGBA: 0 transparent, 255 opaque."""
    return np.asarray(image.getchannel("A"))


def to_uint8(photo: Tensor) -> Tensor:
    """The inverse of `to_features`: [-1, 1] to whole numbers 0 to 255, clamped; same shape."""
    return ((photo + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)


def check_encodable(photo: Photo, path: Path) -> None:
    """Find out before a long computation that a photograph could not be written to ``path``.

    Raises:
        PhotoError: the format cannot hold it, or not what its file says about it.
    """
    check_holds(photo.image.mode, photo.image.size, path)
    encode(Image.new(photo.image.mode, (1, 1)), path, photo.about)


def write_photo(photo: Photo, path: Path) -> list[str]:
    """Write a photograph whole or not at all, in the format that the path ends in.

    Returns:
        What its file said that the format has no place for, in words.

    Raises:
        PhotoError: the format cannot hold it, or the file cannot be written.
    """
    write_atomically(path, encode(photo.image, path, photo.about))
    return lost(photo.image.mode, photo.about, path)


def check_writable(path: Path, mode: str | None = None) -> None:
    """Find out before a long computation that its result could not be written to ``path``.

    Args:
        path: where it is to go.
        mode: of the result, such as "RGB", if it is known already.

    Raises:
        PhotoError: no folder, a folder that cannot be written to, something there that is not a file, or an
            ending that stands for no picture format or for one that cannot hold the mode.
    """
    try:
        files.check_writable(path)
    except OSError as error:
        raise PhotoError(f"{path}: {error.strerror or error}") from error
    format_of(path)
    if mode is not None:
        check_holds(mode, (1, 1), path)


def write_photos(photos: dict[Path, Tensor]) -> None:
    """Write pictures, (3, H, W) uint8 RGB, each to its path, in the format that the path ends in.

    All are encoded before the first is written, and each file appears whole or not at all.

    Raises:
        PhotoError: a picture cannot be encoded in its format, or a file cannot be written.
    """
    encoded = {
        path: encode(Image.fromarray(photo.permute(1, 2, 0).contiguous().cpu().numpy()), path)
        for path, photo in photos.items()
    }
    for path, data in encoded.items():
        write_atomically(path, data)


def _to_rgb(image: Image.Image) -> Image.Image:
    image = _editable(image)
    if image.mode == "I;16":  # which convert() would clip in place of scaling
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.mode in ("LA", "RGBA"):
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return _in_mode("RGB", image)


def _reduce(image: Image.Image, max_size: int) -> Image.Image:
    longest = max(image.size)
    if longest <= max_size:
        return image
    width, height = (max(1, round(side * max_size / longest)) for side in image.size)
    return image.resize((width, height), Image.Resampling.LANCZOS)


def _has_deep_colours(file: Image.Image, path: Path) -> bool:
    """Whether Pillow is about to read more than 8 bits a channel of colour as 8."""
    if file.mode not in ("RGB", "RGBA", "LA"):
        return False
    if file.format in _DEPTHS:
        name, place, more_than_8 = _DEPTHS[file.format]
        with path.open("rb") as opened_again:
            head = opened_again.read(_HEAD)
        found = head.find(name)
        return found >= 0 and bool(head[found + place] & more_than_8)
    # What Pillow's decoders are given: the raw mode; of PPM, the number that stands for white, too.
    given = [
        (tile.args,) if isinstance(tile.args, str) else tile.args
        for tile in getattr(file, "tile", [])
        if tile.args
    ]
    return any(";16" in str(args[0]) or (file.format == "PPM" and args[1:] > (255,)) for args in given)


def _editable(image: Image.Image) -> Image.Image:
    if image.mode == "F":
        raise ValueError(
            "its pixels are floating-point numbers of no known range; convert it to 8 or 16 bits"
        )
    if image.mode.startswith("I"):
        if image.has_transparency_data:
            raise ValueError("16 bits are kept without transparency only; convert it to 8 bits")
        grey = np.asarray(image)
        if grey.min() < 0 or grey.max() > 65535:
            raise ValueError("its pixels are whole numbers beyond 16 bits")
        return Image.fromarray(grey.astype(np.uint16))
    mode = "L" if image.mode in ("1", "L", "LA", "La") else "RGB"
    return _in_mode(f"{mode}A" if image.has_transparency_data else mode, image)


def _in_mode(mode: str, image: Image.Image) -> Image.Image:
    """The image converted if it must be: large pictures are not copied without need."""
    return image if image.mode == mode else image.convert(mode)


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file whole or not at all; a PhotoError if it cannot be written."""
    try:
        files.replace_file(path, lambda file: file.write(data))
    except OSError as error:
        raise PhotoError(f"{path}: cannot be written ({error.strerror})") from error
