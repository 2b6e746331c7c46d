"""What the EXIF data of a file says of the photograph, not of the file."""

from __future__ import annotations

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


def exif_of(file: Image.Image) -> bytes:
    """The EXIF data but the orientation and, of a TIFF, what says how its pixels lie in the file; or nothing.

    Of the file, not of what exif_transpose returns, which knows nothing of a TIFF's.
    """
    exif = file.getexif()
    for tag in exif.keys() & {ExifTags.Base.Orientation, *_TIFF_LAYOUT}:
        del exif[tag]
    return exif.tobytes() if exif else b""
