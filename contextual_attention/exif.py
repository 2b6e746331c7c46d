"""What a file says of its photograph, and not of itself."""

from __future__ import annotations

from typing import Any

from PIL import ExifTags, Image

# Tags of TIFF 6.0 that describe the stored pixels, sections 3 to 8, 11, 14 and 15, not the photograph.
_TIFF_LAYOUT = (
    ExifTags.Base.NewSubfileType, ExifTags.Base.SubfileType, ExifTags.Base.ImageWidth,
    ExifTags.Base.ImageLength, ExifTags.Base.BitsPerSample, ExifTags.Base.Compression,
    ExifTags.Base.PhotometricInterpretation, ExifTags.Base.FillOrder, ExifTags.Base.StripOffsets,
    ExifTags.Base.SamplesPerPixel, ExifTags.Base.RowsPerStrip, ExifTags.Base.StripByteCounts,
    ExifTags.Base.PlanarConfiguration, ExifTags.Base.Predictor, ExifTags.Base.ColorMap,
    ExifTags.Base.TileWidth, ExifTags.Base.TileLength, ExifTags.Base.TileOffsets,
    ExifTags.Base.TileByteCounts, ExifTags.Base.ExtraSamples, ExifTags.Base.SampleFormat,
    ExifTags.Base.JPEGTables, ExifTags.Base.InterColorProfile,
)  # fmt: skip
# Of a photograph whose camera was turned by a quarter.
_ON_ITS_SIDE = (5, 6, 7, 8)


def said_of(file: Image.Image) -> dict[str, Any]:
    """What an opened file says of its picture, by the keys of `formats.ABOUT`, as far as it says something.

    "exif": bytes, without the orientation, which is for the reader to apply; "dpi": two numbers, across and
    down the upright picture; "icc_profile": bytes. The file's own data lose the orientation: call this last.
    """
    exif, dpi, profile = file.getexif(), file.info.get("dpi"), file.info.get("icc_profile")
    found: dict[str, Any] = {}
    # Text of a PNG stands beside these, under whatever names it has.
    if isinstance(dpi, tuple) and min(dpi) > 0:
        found["dpi"] = dpi[::-1] if exif.get(ExifTags.Base.Orientation) in _ON_ITS_SIDE else dpi
    if isinstance(profile, bytes) and file.mode != "CMYK":  # a profile of inks says nothing of RGB
        found["icc_profile"] = profile
    if kept := _without_layout(exif):
        found["exif"] = kept
    return found


def _without_layout(exif: Image.Exif) -> bytes:
    """EXIF data but the orientation and, of a TIFF, what says how its pixels lie in the file; or nothing.

    Of the file, not of what exif_transpose returns, which knows nothing of a TIFF's.
    """
    for tag in exif.keys() & {ExifTags.Base.Orientation, *_TIFF_LAYOUT}:
        del exif[tag]
    return exif.tobytes() if exif else b""
