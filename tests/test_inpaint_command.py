"""The command inpaint on one photograph: options, formats, what its file says, and what goes wrong."""

import json
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from command_line import pixels, refused
from PIL import Image, ImageCms
from striped import (
    HEIGHT,
    MISSING,
    WIDTH,
    assert_restored,
    command,
    damaged,
    stripes,
    write_photo_and_mask,
)

from contextual_attention import photos
from contextual_attention.models import inpaint
from contextual_attention.models.network.generator import InpaintGenerator

ORIENTATION = 0x0112
ARTIST = 0x013B
EXIF_IFD = 0x8769
EXPOSURE = 0x829A
QUALITY = {"jpg": {"quality": 95}, "webp": {"lossless": True}}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working folder with photo.png, whose hole mask.png marks."""
    monkeypatch.chdir(tmp_path)
    write_photo_and_mask()
    return tmp_path


def test_a_photograph_and_its_attention_map(folder, capsys):
    assert command("--attention-map", "map.png") == 0
    assert_restored(pixels("out.png"), stripes())
    picture = pixels("map.png")
    assert picture.shape == (HEIGHT, WIDTH, 3)
    assert (picture[~MISSING] == 255).all()
    assert "out.png: written" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["out.jpg", "out.webp", "out.tiff"])
def test_formats(folder, name):
    assert command(output=name) == 0
    # JPEG and WebP change every pixel a little; sharp stripes suffer most.
    assert np.abs(pixels(name).astype(int) - stripes()).mean() < 12


def test_deep_grey_keeps_its_bits(folder):
    Image.fromarray(damaged(1, np.uint16)[..., 0]).save("deep.png")
    assert command(image="deep.png") == 0
    assert_restored(pixels("out.png"), stripes(1, np.uint16)[..., 0], 3)


@pytest.mark.parametrize("ending", ["png", "jpg", "webp", "tiff"])
def test_orientation_is_applied_and_metadata_kept(folder, ending):
    exif = Image.Exif()
    exif[ORIENTATION], exif[ARTIST] = 6, "Somebody"  # the camera was turned by a quarter
    exif.get_ifd(EXIF_IFD)[EXPOSURE] = 0.25
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    sideways = Image.fromarray(damaged()).transpose(Image.Transpose.ROTATE_90)
    sideways.save(f"turned.{ending}", exif=exif.tobytes(), icc_profile=profile, **QUALITY.get(ending, {}))
    assert command(image=f"turned.{ending}", output=f"out.{ending}") == 0
    if ending in ("png", "tiff"):
        assert_restored(pixels(f"out.{ending}"), stripes())
    with Image.open(f"out.{ending}") as image:
        assert image.size == (WIDTH, HEIGHT)
        assert image.info["icc_profile"] == profile
        assert image.getexif()[ARTIST] == "Somebody"
        assert image.getexif().get_ifd(EXIF_IFD)[EXPOSURE] == 0.25
        assert image.getexif().get(ORIENTATION, 1) == 1


@pytest.mark.parametrize("output", ["out.png", "out.jpg"])
def test_transparency_as_mask(folder, output):
    opacity = np.where(MISSING, 0, 255).astype(np.uint8)[..., None]
    Image.fromarray(np.concatenate([damaged(), opacity], 2)).save("clear.png")
    assert command("--mask", "alpha", image="clear.png", mask=None, output=output) == 0
    result = pixels(output)
    if output == "out.png":
        assert_restored(result[..., :3], stripes())
        assert (result[..., 3] == 255).all()
    else:
        assert result.shape == (HEIGHT, WIDTH, 3)


def test_masks_can_be_inverted_resized_and_grown(folder):
    Image.fromarray(~MISSING).resize((2 * WIDTH, 2 * HEIGHT), Image.Resampling.NEAREST).save("other.png")
    assert command("--invert", "--resize-mask", mask="other.png") == 0
    assert_restored(pixels("out.png"), stripes())
    small = MISSING.copy()
    small[12], small[19] = False, False
    small[:, 15], small[:, 24] = False, False
    Image.fromarray(small).save("small.png")
    assert command("--grow", "1", mask="small.png") == 0
    assert_restored(pixels("out.png"), stripes())


@pytest.mark.parametrize(
    ("arguments", "given", "reason"),
    [
        ((), {"mask": "other.png"}, "has 24x20 pixels, the photograph photo.png 48x40; --resize-mask"),
        ((), {"mask": "all.png"}, "every pixel is missing"),
        ((), {"mask": "gone.png"}, "gone.png: no such file"),
        ((), {"image": "gone.png"}, "gone.png: no such file"),
        ((), {"image": "text.png"}, "text.png: cannot be read as a picture"),
        ((), {"image": "huge.png"}, "huge.png: cannot be read as a picture"),
        ((), {"image": "half.png"}, "half.png: cannot be read as a picture"),
        ((), {"image": "bomb.png"}, "bomb.png: cannot be read as a picture (Image size (100000000 pixels)"),
        ((), {"image": "none.png"}, "none.png: cannot be read as a picture"),
        ((), {"image": "zero.png"}, "zero.png: cannot be read as a picture"),
        ((), {"image": "pipe.png"}, "pipe.png: cannot be read as a picture (not a regular file)"),
        ((), {"mask": "pipe.png"}, "pipe.png: cannot be read as a picture (not a regular file)"),
        ((), {"mask": "half.png"}, "half.png: cannot be read as a picture"),
        ((), {"output": "pipe.png"}, "pipe.png: exists and is not a file"),
        (("--invert",), {"mask": "nothing.png"}, "every pixel is missing"),
        (("--grow", "1000"), {}, "every pixel is missing"),
        (("--workspace", "1"), {}, "workspace"),
        (("--method", "model", "--model", "empty"), {}, "neither a training run that has saved"),
        ((), {"output": "out.xyz"}, '"*.xyz"'),
        ((), {"output": "no/out.png"}, "there is no folder no"),
        ((), {"image": "clear.png", "output": "out.jpg"}, "out.jpg: cannot be encoded"),
        (("--attention-map", "out.png"), {}, "is the --output as well"),
        ((), {"mask": None}, "give either a MASK or --mask alpha"),
        (("--mask", "alpha"), {"mask": None}, "has no transparency"),
        (("--method", "model"), {}, "--method model and --model belong together"),
        (("--attention-map", "no/map.png"), {}, "there is no folder no"),
        ((), {"image": "empty"}, "no photographs there"),
        ((), {"image": "*.gif"}, "no photographs there"),
        ((), {"image": "*.png"}, "many photographs need an existing folder"),
        ((), {"image": "*.png", "output": "."}, "would be overwritten by its own result"),
        ((), {"image": "*.png", "mask": "empty", "output": "empty"}, "no photographs there"),
    ],
)
def test_requests_that_cannot_be_met(folder, capsys, arguments, given, reason):
    whole = Path("photo.png").read_bytes()
    Path("empty").mkdir()
    Image.fromarray(MISSING).resize((24, 20)).save("other.png")
    Image.fromarray(MISSING | True).save("all.png")
    Path("text.png").write_text("no picture")
    Image.fromarray(damaged()).convert("RGBA").save("clear.png")
    Path("none.png").touch()
    os.mkfifo("pipe.png")  # reading it would wait for ever
    Image.fromarray(MISSING & False).save("nothing.png")
    Path("half.png").write_bytes(whole[: len(whole) // 2])
    # Headers that promise other sizes, with the right checksum: width and height stand at byte 16.
    for name, side in (("huge.png", 65000), ("bomb.png", 10000), ("zero.png", 0)):
        header = whole[12:16] + side.to_bytes(4, "big") * 2 + whole[24:29]
        checksum = zlib.crc32(header).to_bytes(4, "big")
        Path(name).write_bytes(whole[:12] + header + checksum + whole[33:])
    before = sorted(os.listdir())
    assert command(*arguments, **given) == 2
    assert reason in refused(capsys)
    assert sorted(os.listdir()) == before


def test_a_mask_without_a_hole_changes_nothing(folder):
    Image.fromarray(MISSING & False).save("nothing.png")
    assert command(mask="nothing.png") == 0
    assert np.array_equal(pixels("out.png"), damaged())


@pytest.mark.parametrize("number", ["-1", "x", "1001", "1.5"])
def test_numbers_of_pixels(folder, capsys, number):
    with pytest.raises(SystemExit):
        command(f"--grow={number}")
    assert f"argument --grow: expected 0 to 1000 pixels, got '{number}'" in capsys.readouterr().err


def test_the_content_decides_not_the_ending(folder):
    Image.fromarray(damaged()).save("photo.bmp")
    os.rename("photo.bmp", "photo.jpg")
    assert command(image="photo.jpg") == 0
    assert_restored(pixels("out.png"), stripes())


def test_the_rest_of_the_options(folder):
    """Each reaches the method, in one run; what they do is tested with the function."""
    options = (
        "--method",
        "patchmatch",
        "--seed",
        "3",
        "--feather",
        "2",
        "--device",
        "cpu",
        "--report",
        "r.json",
    )
    assert command(*options) == 0
    expected = inpaint(damaged(), MISSING, "patchmatch", seed=3, feather=2)
    assert np.array_equal(pixels("out.png"), expected)
    (row,) = json.loads(Path("r.json").read_text())
    assert (row["image"], row["output"], row["status"], row["error"]) == (
        "photo.png",
        "out.png",
        "done",
        None,
    )
    assert command("--workspace", "64M") == 0
    assert_restored(pixels("out.png"), stripes())


@pytest.mark.parametrize("mode", ["L", "RGBA", "I;16"])
def test_a_trained_model(folder, mode):
    torch.manual_seed(0)
    InpaintGenerator(cnum=2).save_pretrained("run/model")  # where a run of training leaves it
    grey = Image.fromarray(damaged(1, np.uint16)[..., 0])
    photo = grey if mode == "I;16" else Image.fromarray(damaged()).convert(mode)
    photo.save("deep.png")
    given = ("--method", "model", "--model", "run", "--attention-map", "map.png")
    assert command(*given, image="deep.png") == 0
    expected = inpaint(photo, Image.fromarray(MISSING), "model", model="run")
    assert np.array_equal(pixels("out.png"), np.asarray(expected))
    assert np.array_equal(pixels("out.png")[~MISSING], np.asarray(photo)[~MISSING])
    assert pixels("map.png").shape == (HEIGHT, WIDTH, 3)


def test_deep_colours_are_refused(folder):
    """Pillow would read 16 bits a colour as 8 without a word."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\0" + bytes(6 * 4) for _ in range(4))
    header = struct.pack(">IIBBBBB", 4, 4, 16, 2, 0, 0, 0)
    Path("deep.png").write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )
    with pytest.raises(photos.PhotoError, match="16 bits are kept in grey pictures only"):
        photos.open_photo(Path("deep.png"))
