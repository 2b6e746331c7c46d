"""Photographs in and out for the commands. Needs Pillow, so only a running command imports this module.

Every problem with a file is a PhotoError whose message names the file.
"""

from __future__ import annotations

import io
import os
import secrets
import stat
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor


class PhotoError(OSError):
    """A photograph that cannot be read, or a picture that cannot be written, in one line."""


def read_photo(path: Path | BinaryIO, max_size: int | None = None) -> Tensor:
    """Read a photograph as features: (1, 3, H, W) float32, red, green, blue in [-1, 1].

    It is turned the way its EXIF orientation says; grey becomes RGB; what is transparent becomes white;
    16 bits are brought to 8; of an animation the first frame is taken.

    Args:
        path: any file that Pillow can read, or an open one.
        max_size: longest side in pixels, at least 1: a larger photograph is reduced to it (Lanczos).

    Raises:
        PhotoError: the file is missing, not a regular file, not a picture, or damaged.
    """
    try:
        # Reading a pipe or a device would wait for ever.
        if isinstance(path, Path) and not stat.S_ISREG(os.stat(path).st_mode):
            raise ValueError("not a regular file")
        with Image.open(path) as file:
            image = _to_rgb(ImageOps.exif_transpose(file))
    except FileNotFoundError as error:
        raise PhotoError(f"{path}: no such file") from error
    # Pillow's decoders raise whatever the damaged bytes lead them to (SyntaxError, struct.error, ...).
    except Exception as error:
        raise PhotoError(f"{path}: cannot be read as a picture ({error})") from error
    if max_size is not None:
        image = _reduce(image, max_size)
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)
    return pixels[None].to(torch.float32) / 127.5 - 1


def to_uint8(photo: Tensor) -> Tensor:
    """The inverse of read_photo's scaling: [-1, 1] to whole numbers 0 to 255, clamped; same shape."""
    return ((photo + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)


def check_writable(path: Path) -> None:
    """Find out before a long computation that its result could not be written to ``path``.

    Raises:
        PhotoError: no folder, a folder that cannot be written to, something there that is not a file, or an
            ending that stands for no picture format.
    """
    folder = path.parent
    if not folder.is_dir():
        raise PhotoError(f"{path}: there is no folder {folder}")
    try:
        existing = os.stat(path).st_mode
    except FileNotFoundError:
        existing = stat.S_IFREG
    except OSError as error:
        raise _unwritable(path, error) from error
    # Replacing a device or a folder by a picture is never what was meant.
    if not stat.S_ISREG(existing):
        raise PhotoError(f"{path}: exists and is not a file")
    if not os.access(os.path.dirname(os.path.realpath(path)), os.W_OK):
        raise PhotoError(f"{path}: its folder cannot be written to")
    _format_of(path)


def write_photos(photos: dict[Path, Tensor]) -> None:
    """Write pictures, (3, H, W) uint8 RGB, each to its path, in the format that the path ends in.

    All are encoded before the first is written, and each file appears whole or not at all.

    Raises:
        PhotoError: a picture cannot be encoded in its format, or a file cannot be written.
    """
    for path, data in {path: _encode(photo, path) for path, photo in photos.items()}.items():
        _write_atomically(path, data)


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "F":
        raise ValueError("its pixels are floating-point numbers of no known range")
    if image.mode.startswith("I"):  # 16 bits, which convert() would clip in place of scaling
        grey = np.asarray(image).astype(np.int64) >> 8
        image = Image.fromarray(grey.clip(0, 255).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")


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


def _encode(photo: Tensor, path: Path) -> bytes:
    image = Image.fromarray(photo.permute(1, 2, 0).contiguous().cpu().numpy())
    data = io.BytesIO()
    try:
        image.save(data, format=_format_of(path), quality=95)
    except (OSError, ValueError) as error:
        raise PhotoError(f"{path}: cannot be encoded ({error})") from error
    return data.getvalue()


def _write_atomically(path: Path, data: bytes) -> None:
    target = Path(os.path.realpath(path))  # through a link, which os.replace would replace by the file
    temporary = target.parent / f".contextual_attention-{secrets.token_hex(8)}"
    try:
        try:
            with open(temporary, "xb") as file:
                file.write(data)
            os.replace(temporary, target)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise _unwritable(path, error) from error


def _unwritable(path: Path, error: OSError) -> PhotoError:
    return PhotoError(f"{path}: cannot be written ({error.strerror})")
