"""The formats that pictures are written in: what each can hold, so that nothing is lost without a word.

Needs Pillow. A mode is Pillow's: L grey, LA grey with opacity, RGB, RGBA, I;16 grey of 16 bits.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import ExifTags, Image

_OPAQUE = ("L", "RGB")
_ANY_OPACITY = (*_OPAQUE, "LA", "RGBA")
# What a file may say of its picture: Pillow's name and ours.
ABOUT = {"exif": "EXIF data", "icc_profile": "colour profile", "dpi": "resolution"}
_WANTS = {
    "LA": "transparency",
    "RGBA": "transparency",
    "I;16": "16 bits a pixel",
    "RGB": "more than 256 colours",
}
# Its quality is effort: more takes four times as long and saves nothing.
_LOSSLESS_WEBP = {"lossless": True, "exact": True, "quality": 50}
_INCH = 2  # as TIFF 6.0 numbers units of resolution


class PhotoError(OSError):
    """A photograph that cannot be read, or a picture that cannot be written, in one line."""


@dataclass(frozen=True)
class Format:
    """A format of files.

    Args:
        name: Pillow's.
        endings: Of file names, the usual one first.
        modes: What comes back as it was written: to the last bit, or nearly where the format cannot.
        about: Keys of ABOUT that it has a place for.
        options: For the best that it can do: lossless, or as near to it as Pillow goes.
        longest: Pixels a side that it can count.
        has_grey: Whether grey stays one channel, to which a grey colour profile applies.
    """

    name: str
    endings: tuple[str, ...]
    modes: tuple[str, ...]
    about: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    longest: int = 2**31 - 1
    has_grey: bool = True


FORMATS = (
    Format("PNG", (".png",), (*_ANY_OPACITY, "I;16"), tuple(ABOUT)),
    Format("TIFF", (".tif", ".tiff"), (*_ANY_OPACITY, "I;16"), tuple(ABOUT)),
    Format(
        "WEBP", (".webp",), _ANY_OPACITY, ("exif", "icc_profile"), _LOSSLESS_WEBP, 16383,
        has_grey=False,
    ),
    Format(
        "JPEG", (".jpg", ".jpeg", ".jpe", ".jfif"), _OPAQUE, tuple(ABOUT),
        {"quality": 95, "subsampling": 0}, 65500,
    ),
    Format(
        "AVIF", (".avif",), _ANY_OPACITY, ("exif", "icc_profile"),
        {"quality": 95, "subsampling": "4:4:4"}, 65535, has_grey=False,
    ),
    Format("JPEG2000", (".jp2",), (*_ANY_OPACITY, "I;16")),
    Format("BMP", (".bmp",), _OPAQUE, ("dpi",)),
    Format("PPM", (".ppm", ".pgm", ".pnm"), (*_OPAQUE, "I;16")),
    Format("TGA", (".tga",), _ANY_OPACITY, longest=65535),
    Format("GIF", (".gif",), ("L",), longest=65535),
)  # fmt: skip


def format_of(path: Path) -> Format:
    """The format that a path ends in.

    Raises:
        PhotoError: None of FORMATS; the message says which there are.
    """
    for candidate in FORMATS:
        if path.suffix.lower() in candidate.endings:
            return candidate
    endings = ", ".join(candidate.endings[0] for candidate in FORMATS)
    raise PhotoError(f'{path}: cannot write pictures named "*{path.suffix}"; use one of {endings}')


def check_holds(mode: str, size: tuple[int, int], path: Path) -> None:
    """Find out, before a long computation, whether a picture could be written as a path ends.

    Args:
        mode: Of the picture.
        size: (width, height).
        path: Where it is to go.

    Raises:
        PhotoError: Its format cannot hold it; the message says which can.
    """
    chosen = format_of(path)
    able = [one for one in FORMATS if mode in one.modes and max(size) <= one.longest]
    if chosen in able:
        return
    what = _WANTS[mode] if mode not in chosen.modes else f"{max(size)} pixels a side"
    endings = ", ".join(one.endings[0] for one in able)
    raise PhotoError(f"{path}: {chosen.name} cannot hold {what}; write it as one of {endings}")


def lost(mode: str, about: Mapping[str, Any], path: Path) -> list[str]:
    """What of ``about`` has no place in the file, in words: empty is the usual case."""
    return [ABOUT[key] for key in about if key not in _kept(mode, about, format_of(path))]


def encode(image: Image.Image, path: Path, about: Mapping[str, Any] | None = None) -> bytes:
    """The content of a file that holds a picture in the format that the path ends in.

    Args:
        image: Of one of the modes of `FORMATS`.
        path: Its ending alone is looked at.
        about: By the keys of ABOUT, what the file is to say: exif and icc_profile as bytes, dpi as two
            numbers, across and down. What the format has no place for is left out; see `lost`.

    Raises:
        PhotoError: The format cannot hold the picture, or the encoder fails.
    """
    check_holds(image.mode, image.size, path)
    chosen = format_of(path)
    kept = _kept(image.mode, about or {}, chosen)
    if "dpi" in kept and "dpi" not in chosen.about:
        kept["exif"] = _with_resolution(kept.get("exif", b""), *kept.pop("dpi"))
    bare = image.copy()
    bare.info = {}  # of which Pillow would write what it likes
    data = io.BytesIO()
    try:
        bare.save(data, format=chosen.name, **chosen.options, **kept)
    except (OSError, ValueError) as error:
        raise PhotoError(f"{path}: cannot be encoded ({error})") from error
    return data.getvalue()


def _kept(mode: str, about: Mapping[str, Any], chosen: Format) -> dict[str, Any]:
    kept = {key: value for key, value in about.items() if key in chosen.about}
    if "dpi" in about and "exif" in chosen.about:
        kept["dpi"] = about["dpi"]
    # The colour space that a profile is for stands at its byte 16 (ICC.1:2022, section 7.2).
    if mode in ("L", "LA") and not chosen.has_grey and kept.get("icc_profile", b"")[16:20] == b"GRAY":
        del kept["icc_profile"]
    return kept


def _with_resolution(exif: bytes, across: float, down: float) -> bytes:
    """EXIF data that say the resolution too, for formats that have no other place for it."""
    data = Image.Exif()
    data.load(exif)
    data[ExifTags.Base.XResolution], data[ExifTags.Base.YResolution] = float(across), float(down)
    data[ExifTags.Base.ResolutionUnit] = _INCH
    return data.tobytes()
