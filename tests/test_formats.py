"""Every kind of picture written in every format: right, or refused with the formats that can hold it."""

import re
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from helpers.command_line import pixels, refused
from helpers.striped import run_inpaint
from PIL import Image, ImageCms, PngImagePlugin

from contextual_attention import formats, photos

HEIGHT, WIDTH = 16, 20
HOLE = np.zeros((HEIGHT, WIDTH), bool)
HOLE[6:9, 8:12] = True
Y, X = np.mgrid[:HEIGHT, :WIDTH]
# Smooth, so that a lossy format changes little.
GREY = (40 + 9 * X + 2 * Y).astype(np.uint8)
COLOURS = np.dstack([30 + 8 * X, 20 + 9 * Y, 220 - 6 * X]).astype(np.uint8)
OPACITY = np.where(X < 4, 0, np.where(X < 8, 100 + 5 * Y, 255)).astype(np.uint8)
DEEP = 257 * GREY.astype(np.uint16) + X.astype(np.uint16)
INDEX = ((X // 4 + Y // 5) % 4).astype(np.uint8)
ENTRIES = np.array([[0, 0, 0], [250, 10, 20], [10, 240, 30], [255, 255, 255]], np.uint8)


def image_of(*planes):
    return Image.fromarray(np.dstack(planes))


def palette():
    image = Image.frombytes("P", (WIDTH, HEIGHT), INDEX.tobytes())
    image.putpalette(ENTRIES.tobytes())
    return image


# A name and what is written there: by what, with what, and the colours and opacity that are in it, by numpy.
FORMS = {
    "1 bit.png": (Image.fromarray(X > 9), {}, np.where(X > 9, 255, 0), None),
    "grey.png": (Image.fromarray(GREY), {}, GREY, None),
    "grey.pgm": (Image.fromarray(GREY), {}, GREY, None),
    "grey.gif": (Image.fromarray(GREY), {}, GREY, None),
    "one grey transparent.png": (Image.fromarray(INDEX), {"transparency": 2}, INDEX, 255 * (INDEX != 2)),
    "grey, opacity.png": (image_of(GREY, OPACITY), {}, GREY, OPACITY),
    "grey, opacity.tif": (image_of(GREY, OPACITY), {}, GREY, OPACITY),
    "16 bits.png": (Image.fromarray(DEEP), {}, DEEP, None),
    "16 bits.tif": (Image.fromarray(DEEP), {}, DEEP, None),
    "16 bits.pgm": (Image.fromarray(DEEP), {}, DEEP, None),
    "colours.png": (image_of(COLOURS), {}, COLOURS, None),
    "colours.bmp": (image_of(COLOURS), {}, COLOURS, None),
    "colours.ppm": (image_of(COLOURS), {}, COLOURS, None),
    "lossless.webp": (image_of(COLOURS), {"lossless": True}, COLOURS, None),
    "one colour transparent.png": (
        Image.fromarray(ENTRIES[INDEX]), {"transparency": (250, 10, 20)}, ENTRIES[INDEX], 255 * (INDEX != 1),
    ),
    "colours, opacity.png": (image_of(COLOURS, OPACITY), {}, COLOURS, OPACITY),
    "colours, opacity.webp": (image_of(COLOURS, OPACITY), {"lossless": True}, COLOURS, OPACITY),
    "colours, opacity.tif": (image_of(COLOURS, OPACITY), {}, COLOURS, OPACITY),
    "colours, opaque.png": (image_of(COLOURS, np.full_like(GREY, 255)), {}, COLOURS, None),
    "palette.png": (palette(), {}, ENTRIES[INDEX], None),
    "palette.gif": (palette(), {}, ENTRIES[INDEX], None),
    "palette, opacity.png": (palette(), {"transparency": 1}, ENTRIES[INDEX], 255 * (INDEX != 1)),
    "palette, opacity.gif": (palette(), {"transparency": 1}, ENTRIES[INDEX], 255 * (INDEX != 1)),
    "inks.tif": (  # without black, they are what the colours lack
        Image.frombytes("CMYK", (WIDTH, HEIGHT), np.dstack([255 - COLOURS, 0 * GREY]).tobytes()),
        {}, COLOURS, None,
    ),
}  # fmt: skip
# Forms that are lossy themselves: what is in them is what Pillow reads.
FORMS |= {
    name: (image, {"quality": 95}, None, None)
    for name, image in {
        "grey.jpg": Image.fromarray(GREY),
        "colours.jpg": image_of(COLOURS),
        "colours.avif": image_of(COLOURS),
        "lossy.webp": image_of(COLOURS),
    }.items()
}
# What a lossy encoder may change where colours jump at the hole's border, at most and on average, of 255.
LOSSY = {".jpg": (60, 4), ".avif": (60, 4)}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working folder with mask.png."""
    monkeypatch.chdir(tmp_path)
    Image.fromarray(HOLE).save("mask.png")
    return tmp_path


def seen(colours, opacity=None):
    """(H, W, 4) float in [0, 1]; what is fully transparent has no colour."""
    white = 65535 if colours.dtype == np.uint16 else 255
    colours = np.broadcast_to(colours.reshape(HEIGHT, WIDTH, -1), (HEIGHT, WIDTH, 3)) / white
    opacity = np.ones((HEIGHT, WIDTH)) if opacity is None else opacity / 255
    return np.dstack([colours * (opacity > 0)[..., None], opacity])


def seen_in(path):
    """The same of a file; its 16 bits are looked at as they are."""
    with Image.open(path) as image:
        if image.mode.startswith("I"):
            return seen(np.asarray(image).astype(np.uint16))
        rgba = np.asarray(image.convert("RGBA"))
    return seen(rgba[..., :3], rgba[..., 3])


@pytest.mark.parametrize("name", FORMS)
def test_every_kind_in_every_format(folder, capsys, name):
    image, options, colours, opacity = FORMS[name]
    image.save(name, **options)
    truth = seen_in(name) if colours is None else seen(colours, opacity)
    assert np.abs(seen_in(name) - truth).max() < 1e-9  # the file holds what this test says
    refusals, written = {}, set()
    for ending in (one.endings[0] for one in formats.FORMATS):
        output = f"out{ending}"
        if run_inpaint(image=name, output=output) != 0:
            refusals[ending] = refused(capsys)
            assert not Path(output).exists()
            continue
        written.add(ending)
        off = 255 * np.abs(seen_in(output) - truth)[~HOLE]
        most, mean = LOSSY.get(ending, (1e-9, 1e-9))
        assert off.max() <= most, ending
        assert off.mean() <= mean, ending
        assert opacity is not None or seen_in(output)[HOLE][:, 3].min() == 1
    for ending, reason in refusals.items():
        assert f"out{ending}: " in reason
        assert set(re.findall(r"\.\w+", reason.partition("write it as one of")[2])) == written, reason
    assert written >= {".png", ".tif"}


@pytest.mark.parametrize("ending", [".png", ".jpg", ".webp", ".tif", ".avif", ".bmp"])
@pytest.mark.parametrize("given", ["exif", "icc_profile", "dpi", "all"])
def test_what_a_file_says_is_kept_beside_each_other(folder, capsys, ending, given):
    exif = Image.Exif()
    exif[0x013B] = "Somebody"  # Artist
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    about = {"exif": exif.tobytes(), "icc_profile": profile, "dpi": (300, 150)}
    about = about if given == "all" else {given: about[given]}
    image_of(COLOURS).save("photo.png", **about)
    assert run_inpaint(image="photo.png", output=f"out{ending}") == 0
    with Image.open(f"out{ending}") as image:
        said, kept = image.info, image.getexif()
    told = capsys.readouterr().out
    resolution = said.get("dpi") or tuple(float(kept.get(tag, 0)) for tag in (0x011A, 0x011B))
    if "dpi" in about:  # PNG and BMP count whole pixels a metre
        assert resolution == pytest.approx((300, 150), abs=0.02)
    if ending == ".bmp":
        for key, words in (("exif", "EXIF data"), ("icc_profile", "colour profile")):
            assert (words in told) == (key in about)
        return
    assert "without" not in told
    assert said.get("icc_profile") == about.get("icc_profile")
    assert kept.get(0x013B) == ("Somebody" if "exif" in about else None)


def test_resolution_is_turned_with_the_photograph(folder):
    exif = Image.Exif()
    exif[0x0112] = 6
    image_of(COLOURS).transpose(Image.Transpose.ROTATE_90).save("photo.png", exif=exif, dpi=(300, 150))
    assert run_inpaint(image="photo.png") == 0
    with Image.open("out.png") as image:
        assert image.info["dpi"] == pytest.approx((150, 300), abs=0.02)


def test_profiles_that_do_not_fit_the_pixels_are_left_out(folder, capsys):
    """Of inks, once they are colours; of grey, in a format that makes colours of it."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    FORMS["inks.tif"][0].save("inks.tif", icc_profile=profile)
    assert run_inpaint(image="inks.tif") == 0
    with Image.open("out.png") as image:
        assert "icc_profile" not in image.info
    Image.fromarray(GREY).save("grey.png", icc_profile=profile[:16] + b"GRAY" + profile[20:])
    assert run_inpaint(image="grey.png", output="out.webp") == 0
    assert "without its colour profile" in capsys.readouterr().out
    assert run_inpaint(image="grey.png", output="out.tif") == 0
    with Image.open("out.tif") as image:
        assert image.info["icc_profile"][16:20] == b"GRAY"


def test_text_of_a_png_is_not_taken_for_what_the_file_says(folder):
    text = PngImagePlugin.PngInfo()
    for key in ("dpi", "icc_profile", "sizes"):
        text.add_text(key, "12 34 56")
    image_of(COLOURS).save("photo.png", pnginfo=text)
    assert run_inpaint(image="photo.png", output="out.tif") == 0


@pytest.mark.parametrize("name", ["a.gif", "a.webp", "a.png", "a.tif", "a.avif", "a.mpo", "a.ico"])
def test_several_pictures_in_a_file_are_refused(folder, capsys, name):
    frames = [Image.fromarray(np.roll(COLOURS, shift, 1)) for shift in range(3)]
    options = {} if name == "a.ico" else {"save_all": True, "append_images": frames[1:]}
    if name == "a.ico":
        options["sizes"] = [(8, 8), (16, 16), (12, 12)]
    frames[0].save(name, **options)
    if name == "a.mpo":  # two of them become views of a panorama: CIPA DC-007, table 4
        data = Path(name).read_bytes()
        start = data.index(b"MPF\0")
        first = data.rindex(struct.pack("<I", 0x030000), start, start + 200)
        for entry in (first + 16, first + 32):
            data = data[:entry] + struct.pack("<I", 0x020001) + data[entry + 4 :]
        Path(name).write_bytes(data)
    Image.fromarray(HOLE).resize((WIDTH, HEIGHT)).save("mask.png")
    assert run_inpaint("--resize-mask", image=name) == 2
    assert f"{name}: cannot be read as a picture (it holds 3 pictures" in refused(capsys)


def test_a_camera_may_put_previews_beside_the_photograph(folder):
    frames = [Image.fromarray(COLOURS), Image.fromarray(COLOURS).resize((10, 8))]
    frames[0].save("a.jpg", "MPO", save_all=True, append_images=frames[1:], quality=95)
    with Image.open("a.jpg") as image:
        assert image.n_frames == 2
    assert run_inpaint(image="a.jpg") == 0
    assert np.abs(pixels("out.png").astype(int) - COLOURS)[~HOLE].max() < 40


@pytest.mark.parametrize("name", ["out.ico", "out.pdf", "out.pfm", "out", "out.xyz"])
def test_names_that_no_picture_is_written_under(folder, capsys, name):
    Image.fromarray(GREY).save("photo.png")
    assert run_inpaint(image="photo.png", output=name) == 2
    assert 'cannot write pictures named "*' in refused(capsys)


def test_too_long_for_the_format(folder, capsys):
    mask = np.zeros((1, 20000), bool)
    mask[0, 50:52] = True
    Image.fromarray(mask).save("mask.png")
    Image.fromarray((mask * 5).astype(np.uint8)).save("strip.png")
    assert run_inpaint(image="strip.png", output="out.webp") == 2
    assert "WEBP cannot hold 20000 pixels a side; write it as one of .png" in refused(capsys)


def test_floating_point_is_refused(folder, capsys):
    Image.fromarray(GREY.astype(np.float32) / 255).save("photo.tif")
    assert run_inpaint(image="photo.tif") == 2
    assert "floating-point numbers of no known range; convert it to 8 or 16 bits" in refused(capsys)


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


@pytest.mark.parametrize("name", ["colours.png", "opacity.png", "binary.ppm", "plain.ppm", "key.png"])
def test_16_bits_that_pillow_cannot_keep_are_refused(folder, name):
    """It would read 8 of them, or forget what is transparent, without a word."""
    kind, planes = {"colours.png": (2, 3), "opacity.png": (4, 2)}.get(name, (0, 1))
    head = struct.pack(">IIBBBBB", 4, 4, 16, kind, 0, 0, 0)
    rows = zlib.compress(b"".join(b"\0" + bytes(2 * planes * 4) for _ in range(4)))
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head)
    Path(name).write_bytes(
        {
            "binary.ppm": b"P6 4 4 65535\n" + bytes(4 * 4 * 6),
            "plain.ppm": b"P3 4 4 65535\n" + b"0 1000 20000 " * 16,
            "key.png": png + chunk(b"tRNS", b"\0\0") + chunk(b"IDAT", rows) + chunk(b"IEND", b""),
        }.get(name, png + chunk(b"IDAT", rows) + chunk(b"IEND", b""))
    )
    with pytest.raises(photos.PhotoError, match=r"bits a channel are kept in grey|16 bits are kept without"):
        photos.open_photo(Path(name))


@pytest.mark.parametrize(
    ("name", "before", "place", "byte"),
    [
        ("a.jp2", b"\xff\x4f\xff\x51", 42, 15),  # 16 bits less one: ISO 15444-1, table A.9
        ("a.avif", b"av1C", 6, 0x40),  # high_bitdepth, 10 bits: AV1 in ISOBMFF, section 2.3.3
    ],
)
def test_more_bits_than_pillow_says(folder, monkeypatch, name, before, place, byte):
    """Files that it writes, with the depth in their heads changed."""
    image_of(COLOURS).save(name)
    photos.open_photo(Path(name))
    data = bytearray(Path(name).read_bytes())
    data[data.index(before) + place] |= byte
    with Image.open(name) as whole:  # the changed file is refused by Pillow, whose writer knows no 10 bits
        Path(name).write_bytes(data)
        monkeypatch.setattr(Image, "open", lambda _: whole)
        with pytest.raises(
            photos.PhotoError, match="more than 8 bits a channel are kept in grey pictures only"
        ):
            photos.open_photo(Path(name))


def test_exif_data_that_are_too_long_are_refused_before_the_work(folder, capsys):
    exif = Image.Exif()
    exif[0x013B] = "x" * 70000
    Image.fromarray(GREY).save("photo.png", exif=exif)
    assert run_inpaint(image="photo.png", output="out.jpg") == 2
    assert "out.jpg: cannot be encoded (EXIF data is too long)" in refused(capsys)
    assert run_inpaint(image="photo.png") == 0
