"""The reader of masks: every kind that people have, and what is said of those that mark nothing."""

import numpy as np
import pytest
from PIL import Image

from contextual_attention.marks import read_marks

HOLE = np.zeros((20, 24), bool)
HOLE[5:12, 6:15] = True


def layer(colour, opacity=255, ground=(0, 0, 0, 0)):
    """A stroke of a colour on a layer of RGBA."""
    pixels = np.empty((*HOLE.shape, 4), np.uint8)
    pixels[:] = ground
    pixels[HOLE] = (*colour, opacity)
    return Image.fromarray(pixels)


def two(low, high, dtype=np.uint8):
    return Image.fromarray(np.where(HOLE, high, low).astype(dtype))


def palette(*entries, index=None, **info):
    """A picture of palette entries: the second where the hole is."""
    index = HOLE.astype(np.uint8) if index is None else index
    image = Image.frombytes("P", index.shape[::-1], index.tobytes())
    image.putpalette(np.array(entries, np.uint8).tobytes())
    image.info.update(info)
    return image


def coloured(colour, ground=(0, 0, 0)):
    return Image.fromarray(np.where(HOLE[..., None], colour, ground).astype(np.uint8))


def several(*colours):
    """Strokes of several colours on black, side by side in the hole."""
    pixels = np.zeros((*HOLE.shape, 3), np.uint8)
    for k, colour in enumerate(colours):
        part = HOLE.copy()
        part[:, : 6 + 9 * k // len(colours)] = False
        pixels[part] = colour
    return Image.fromarray(pixels)


MASKS = {
    "0 and 255": two(0, 255),
    "0 and 1": two(0, 1),
    "0 and 1, 1 bit": Image.fromarray(HOLE),
    "0 and 65535": two(0, 65535, np.uint16),
    "0 and 1 of 16 bits": two(0, 1, np.uint16),
    "0 and 1 of 32 bits": two(0, 1, np.int32),
    "0.0 and 1.0": two(0, 1, np.float32),
    "grey and lighter grey": two(90, 100),
    "black and white in RGB": coloured((255, 255, 255)),
    "black and white, opaque": layer((255, 255, 255), ground=(0, 0, 0, 255)),
    "red on black": coloured((255, 0, 0)),
    "blue on black": coloured((0, 0, 255)),
    "dark red on black": coloured((60, 0, 0)),
    "several colours on black": several((128, 0, 0), (0, 64, 0), (224, 224, 192), (64, 0, 128), (64, 0, 0)),
    "black on transparent": layer((0, 0, 0)),
    "black on transparent white": layer((0, 0, 0), ground=(255, 255, 255, 0)),
    "white on transparent": layer((255, 255, 255)),
    "faint green on transparent": layer((0, 200, 0), 30),
    "half transparent red on opaque black": layer((255, 0, 0), 128, ground=(0, 0, 0, 255)),
    "palette of black and red": palette((0, 0, 0), (128, 0, 0)),
    "palette of 0 and 1": palette((0, 0, 0), (1, 1, 1)),
    "palette with one transparent entry": palette((255, 0, 0), (0, 0, 0), transparency=0),
    "palette of classes": palette(
        (0, 0, 0), (128, 0, 0), (0, 128, 0), (64, 0, 0),
        index=(HOLE * (1 + np.arange(24) % 3)).astype(np.uint8),
    ),
    "grey with one transparent value": two(7, 0),
}  # fmt: skip
MASKS["grey with one transparent value"].info["transparency"] = 7


@pytest.mark.parametrize("kind", MASKS)
def test_what_people_have(kind):
    assert np.array_equal(read_marks(MASKS[kind]).missing, HOLE)


def test_soft_edges_are_missing_from_the_middle_on():
    ramp = np.broadcast_to(np.arange(256, dtype=np.uint8), (4, 256))
    assert np.array_equal(read_marks(Image.fromarray(ramp)).missing, ramp > 127)
    deep = Image.fromarray(ramp.astype(np.uint16) * 257)
    assert np.array_equal(read_marks(deep).missing, ramp > 127)
    unit = Image.fromarray(ramp.astype(np.float32) / 255)
    assert np.array_equal(read_marks(unit).missing, ramp > 127)


@pytest.mark.parametrize("quality", [75, 95])
@pytest.mark.parametrize("colour", [(255, 255, 255), (255, 0, 0), (0, 0, 255)])
def test_a_jpeg_marks_the_same_up_to_its_edges(tmp_path, quality, colour):
    coloured(colour).resize((192, 160), Image.Resampling.NEAREST).save(tmp_path / "mask.jpg", quality=quality)
    with Image.open(tmp_path / "mask.jpg") as image:
        found = read_marks(image).missing
    truth = HOLE.repeat(8, 0).repeat(8, 1)
    off = found != truth
    # Colours have half the resolution of a JPEG: what is off lies within 2 pixels of an edge.
    inner = np.zeros_like(truth)
    inner[42:94, 50:118] = True
    outer = np.zeros_like(truth)
    outer[38:98, 46:122] = True
    assert not off[inner].any()
    assert not off[~outer].any()


@pytest.mark.parametrize(
    ("mask", "seen"),
    [
        (two(0, 0), "all of it has the grey value 0 of 255"),
        (two(255, 255), "all of it has the grey value 255 of 255"),
        (two(9, 9, np.uint16), "all of it has the grey value 9 of 65535"),
        (layer((0, 0, 0)).resize((5, 5)).convert("L"), "all of it has the grey value 0 of 255"),
        (Image.fromarray((np.arange(480).reshape(20, 24) % 3).astype(np.uint8)), "run from 0 to 2 of 255"),
    ],
)
def test_what_is_said_of_a_mask_without_marks(mask, seen):
    marks = read_marks(mask)
    assert marks.missing.all() or not marks.missing.any()
    assert seen in marks.seen


def test_a_threshold_is_in_the_mask_s_own_numbers():
    labels = (np.arange(480).reshape(20, 24) % 3).astype(np.uint8)
    assert np.array_equal(read_marks(Image.fromarray(labels), 0).missing, labels > 0)
    assert np.array_equal(read_marks(Image.fromarray(labels.astype(np.uint16)), 1).missing, labels > 1)
    # The grey value of a red: 0.299 * 255 (ITU-R BT.601); opacity does not count.
    red = layer((255, 0, 0), ground=(255, 255, 255, 0))
    assert np.array_equal(read_marks(red, 76.5).missing, ~HOLE)
    assert read_marks(red, 75.5).missing.all()


def test_numbers_that_are_none():
    with pytest.raises(ValueError, match="no finite numbers"):
        read_marks(Image.fromarray(np.full((4, 4), np.nan, np.float32)))
