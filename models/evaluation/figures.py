"""Figures of experiments: labelled rows of pictures, each with a line about it underneath. Needs Pillow.

Shape legend: h, w a picture.
"""

from __future__ import annotations

import io
from typing import NamedTuple

from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from ...photos import to_uint8

_TEXT = 13  # pixels
_STRIP = 19  # height of a caption's strip, pixels
_LABEL = 92  # width of the labels' column, pixels
_GAP = 4  # pixels
_INK = (40, 40, 40)


class Panel(NamedTuple):
    """A picture (1, 3, h, w) in [-1, 1] and the line under it."""

    picture: Tensor
    caption: str


def draw(figure: dict[str, list[Panel]], height: int = 192) -> Image.Image:
    """A figure as one picture.

    Args:
        figure: The panels of each row by the row's label.
        height: Of every panel, to which pictures of another are brought, keeping their shape.
    """
    rows = {
        label: [(_scaled(panel, height), panel.caption) for panel in row] for label, row in figure.items()
    }
    width = max(sum(picture.width + _GAP for picture, _ in row) for row in rows.values())
    sheet = Image.new("RGB", (_LABEL + width, len(rows) * (height + _STRIP)), "white")
    pen = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(_TEXT)
    for number, (label, row) in enumerate(rows.items()):
        left, top = _LABEL, number * (height + _STRIP)
        pen.multiline_text((_GAP, top + height // 2), label.replace(" ", "\n"), _INK, font, anchor="lm")
        for picture, caption in row:
            sheet.paste(picture, (left, top))
            pen.text((left, top + height + _STRIP // 2), caption, _INK, font, anchor="lm")
            left += picture.width + _GAP
    return sheet


def to_jpeg(figure: Image.Image) -> bytes:
    """A figure as the content of a JPEG file."""
    data = io.BytesIO()
    figure.save(data, "JPEG", quality=80, optimize=True)
    return data.getvalue()


def _scaled(panel: Panel, height: int) -> Image.Image:
    picture = Image.fromarray(to_uint8(panel.picture)[0].permute(1, 2, 0).contiguous().numpy())
    if picture.height == height:
        return picture
    width = max(1, round(picture.width * height / picture.height))
    # Enlarged pixels stay what they are, reduced ones do not alias.
    enlarged = height > picture.height
    return picture.resize((width, height), Image.Resampling.NEAREST if enlarged else Image.Resampling.LANCZOS)
