"""The command inpaint on one photograph: options, formats, what its file says, and what goes wrong."""

import json
import os
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.command_line import pixels, refused
from helpers.networks import tiny_structure
from helpers.striped import (
    HEIGHT,
    MISSING,
    WIDTH,
    assert_restored,
    run_inpaint,
    stripes,
    with_hole,
    write_photo_and_mask,
)
from PIL import Image, ImageCms

from contextual_attention.cli import main
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
    assert run_inpaint("--attention-map", "map.png") == 0
    assert_restored(pixels("out.png"), stripes())
    picture = pixels("map.png")
    assert picture.shape == (HEIGHT, WIDTH, 3)
    assert (picture[~MISSING] == 255).all()
    assert "out.png: written" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["out.jpg", "out.webp", "out.tiff"])
def test_formats(folder, name):
    assert run_inpaint(output=name) == 0
    # JPEG and WebP change every pixel a little; sharp stripes suffer most.
    assert np.abs(pixels(name).astype(int) - stripes()).mean() < 12


def test_deep_grey_keeps_its_bits(folder):
    Image.fromarray(with_hole(1, np.uint16)[..., 0]).save("deep.png")
    assert run_inpaint(image="deep.png") == 0
    assert_restored(pixels("out.png"), stripes(1, np.uint16)[..., 0], 3)


@pytest.mark.parametrize("ending", ["png", "jpg", "webp", "tiff"])
def test_orientation_is_applied_and_metadata_kept(folder, ending):
    exif = Image.Exif()
    exif[ORIENTATION], exif[ARTIST] = 6, "Somebody"  # the camera was turned by a quarter
    exif.get_ifd(EXIF_IFD)[EXPOSURE] = 0.25
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    sideways = Image.fromarray(with_hole()).transpose(Image.Transpose.ROTATE_90)
    sideways.save(f"turned.{ending}", exif=exif.tobytes(), icc_profile=profile, **QUALITY.get(ending, {}))
    assert run_inpaint(image=f"turned.{ending}", output=f"out.{ending}") == 0
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
    Image.fromarray(np.concatenate([with_hole(), opacity], 2)).save("clear.png")
    assert run_inpaint("--mask", "alpha", image="clear.png", mask=None, output=output) == 0
    result = pixels(output)
    if output == "out.png":
        assert_restored(result[..., :3], stripes())
        assert (result[..., 3] == 255).all()
    else:
        assert result.shape == (HEIGHT, WIDTH, 3)


def test_masks_can_be_inverted_resized_and_grown(folder):
    Image.fromarray(~MISSING).resize((2 * WIDTH, 2 * HEIGHT), Image.Resampling.NEAREST).save("other.png")
    assert run_inpaint("--invert", "--resize-mask", mask="other.png") == 0
    assert_restored(pixels("out.png"), stripes())
    small = MISSING.copy()
    small[12], small[19] = False, False
    small[:, 15], small[:, 24] = False, False
    Image.fromarray(small).save("small.png")
    assert run_inpaint("--grow", "1", mask="small.png") == 0
    assert_restored(pixels("out.png"), stripes())


@pytest.mark.parametrize(
    ("arguments", "given", "reason"),
    [
        ((), {"mask": "other.png"}, "has 24x20 pixels, the photograph photo.png 48x40; --resize-mask"),
        ((), {"mask": "all.png"}, "all.png: marks everything as missing: all of it has the grey value 255"),
        (
            (),
            {"mask": "nothing.png"},
            "nothing.png: marks nothing as missing: all of it has the grey value 0",
        ),
        ((), {"mask": "classes.png"}, "run from 0 to 2 of 255; --threshold N takes what is lighter than N"),
        (("--threshold", "2"), {"mask": "classes.png"}, "marks nothing as missing"),
        (("--threshold", "0", "--mask", "alpha"), {"mask": None}, "--threshold is for a MASK"),
        ((), {"mask": "gone.png"}, "gone.png: no such file"),
        ((), {"image": "gone.png"}, "gone.png: no such file"),
        ((), {"image": "text.png"}, "text.png: cannot be read as a picture"),
        ((), {"image": "huge.png"}, "huge.png: cannot be read as a picture"),
        ((), {"image": "half.png"}, "half.png: cannot be read as a picture"),
        ((), {"image": "bomb.png"}, "bomb.png: cannot be read as a picture (it has 100,000,000 pixels"),
        ((), {"image": "none.png"}, "none.png: cannot be read as a picture"),
        ((), {"image": "zero.png"}, "zero.png: cannot be read as a picture"),
        ((), {"image": "pipe.png"}, "pipe.png: cannot be read as a picture (not a regular file)"),
        ((), {"mask": "pipe.png"}, "pipe.png: cannot be read as a picture (not a regular file)"),
        ((), {"mask": "half.png"}, "half.png: cannot be read as a picture"),
        ((), {"output": "pipe.png"}, "pipe.png: exists and is not a file"),
        (("--invert",), {"mask": "nothing.png"}, "nothing.png: marks everything as missing"),
        (
            ("--mask", "alpha"),
            {"image": "opaque.png", "mask": None},
            "opacity runs from 255 to 255 of 255; --invert takes",
        ),
        (("--grow", "1000"), {}, "mask: every pixel is missing"),
        (("--workspace", "1"), {}, "workspace"),
        (("--method", "model", "--model", "empty"), {}, "neither a training run that has saved"),
        ((), {"output": "out.xyz"}, '"*.xyz"'),
        ((), {"output": "no/out.png"}, "there is no folder no"),
        (
            (),
            {"image": "clear.png", "output": "out.jpg"},
            "JPEG cannot hold transparency; write it as one of .p",
        ),
        ((), {"output": "photo.png"}, "would overwrite the photograph photo.png"),
        ((), {"output": "mask.png"}, "would overwrite the mask mask.png"),
        ((), {"output": "link.png"}, "would overwrite the photograph photo.png"),
        ((), {"output": "hard.png"}, "would overwrite the photograph photo.png"),
        (
            ("--attention-map", "out.png"),
            {},
            "--attention-map (out.png) would overwrite the result of photo.png",
        ),
        (("--attention-map", "map.gif"), {}, "map.gif: GIF cannot hold more than 256 colours"),
        (("--attention-map", "mask.png"), {}, "--attention-map (mask.png) would overwrite the mask mask.png"),
        (("--report", "photo.png"), {}, "--report (photo.png) would overwrite the photograph photo.png"),
        (("--report", "out.png"), {}, "--report (out.png) would overwrite the result of photo.png"),
        (("--report", "empty"), {}, "exists and is not a file"),
        (("--format", "png"), {}, "--format is for many photographs"),
        ((), {"mask": None}, "give either a MASK or --mask alpha"),
        (("--mask", "alpha"), {"mask": None}, "has no transparency"),
        (("--method", "model"), {}, "--method model needs a --model"),
        (("--model", "empty"), {}, "--model is for --method structure and model, got --method exemplar"),
        (("--method", "patchmatch", "--model", "empty"), {}, "--model is for --method structure and model"),
        (("--method", "structure", "--model", "empty"), {}, "neither a training run that has saved"),
        (("--method", "structure", "--model", "other"), {}, "takes a StructureNetwork, got a InpaintGen"),
        (("--method", "structure", "--poisson"), {}, "--poisson is for --method model"),
        (("--method", "structure", "--sketch", "mask.png"), {}, "--sketch is for --method model"),
        (("--poisson",), {}, "--poisson is for --method model"),
        (("--attention-map", "no/map.png"), {}, "there is no folder no"),
        ((), {"image": "empty"}, "no photographs there"),
        ((), {"image": "*.gif"}, "no photographs there"),
        ((), {"image": "*.png"}, "many photographs need an existing folder"),
        ((), {"image": "*.png", "output": "."}, "would overwrite the photograph all.png"),
        (("--format", "pdf"), {"image": "*.png", "output": "empty"}, 'cannot write pictures named "*.pdf"'),
        ((), {"image": "*.png", "mask": "empty", "output": "empty"}, "no photographs there"),
    ],
)
def test_requests_that_cannot_be_met(folder, capsys, arguments, given, reason):
    whole = Path("photo.png").read_bytes()
    Path("empty").mkdir()
    InpaintGenerator(cnum=2, attention=None).save_pretrained("other")
    Image.fromarray(MISSING).resize((24, 20)).save("other.png")
    Image.fromarray(MISSING | True).save("all.png")
    Path("text.png").write_text("no picture")
    Image.fromarray(with_hole()).convert("RGBA").save("opaque.png")
    Image.fromarray(np.dstack([with_hole(), np.full(MISSING.shape, 99, np.uint8)])).save("clear.png")
    Image.fromarray((np.arange(MISSING.size).reshape(MISSING.shape) % 3).astype(np.uint8)).save("classes.png")
    os.symlink("photo.png", "link.png")
    os.link("photo.png", "hard.png")
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
    assert run_inpaint(*arguments, **given) == 2
    assert reason in refused(capsys)
    assert sorted(os.listdir()) == before


def test_masks_as_they_are_drawn(folder, capsys):
    """The command reads them as marks.py says, and tells how much is marked."""
    strokes = np.zeros((*MISSING.shape, 4), np.uint8)
    strokes[MISSING, 3] = 255  # black strokes on nothing
    Image.fromarray(strokes).save("strokes.png")
    Image.fromarray(MISSING.astype(np.uint8)).save("one.png")
    erased = np.dstack([with_hole(), np.where(MISSING, 0, 255).astype(np.uint8)])
    Image.fromarray(erased).save("erased.png")
    shades = np.where(MISSING, 40, np.arange(WIDTH) % 30).astype(np.uint8)
    Image.fromarray(shades).save("shades.png")
    given = {
        "strokes.png": (),
        "one.png": (),
        "erased.png": ("--invert",),
        "shades.png": ("--threshold", "30"),
    }
    for mask, options in given.items():
        assert run_inpaint(*options, mask=mask) == 0
        assert_restored(pixels("out.png"), stripes())
        assert f"{MISSING.mean():.1%} of it filled" in capsys.readouterr().out


@pytest.mark.parametrize("number", ["-1", "x", "1001", "1.5"])
def test_numbers_of_pixels(folder, capsys, number):
    with pytest.raises(SystemExit):
        run_inpaint(f"--grow={number}")
    assert f"argument --grow: expected 0 to 1000 pixels, got '{number}'" in capsys.readouterr().err


def test_the_content_decides_not_the_ending(folder):
    Image.fromarray(with_hole()).save("photo.bmp")
    os.rename("photo.bmp", "photo.jpg")
    assert run_inpaint(image="photo.jpg") == 0
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
    assert run_inpaint(*options) == 0
    expected = inpaint(with_hole(), MISSING, "patchmatch", seed=3, feather=2)
    assert np.array_equal(pixels("out.png"), expected)
    (row,) = json.loads(Path("r.json").read_text())
    assert (row["image"], row["output"], row["status"], row["error"]) == (
        "photo.png",
        "out.png",
        "done",
        None,
    )
    assert run_inpaint("--workspace", "64M") == 0
    assert_restored(pixels("out.png"), stripes())


@pytest.mark.parametrize("mode", ["L", "RGBA", "I;16"])
def test_a_trained_model(folder, mode):
    torch.manual_seed(0)
    InpaintGenerator(cnum=2).save_pretrained("run/model")  # where a run of training leaves it
    grey = Image.fromarray(with_hole(1, np.uint16)[..., 0])
    photo = grey if mode == "I;16" else Image.fromarray(with_hole()).convert(mode)
    photo.save("deep.png")
    given = ("--method", "model", "--model", "run", "--attention-map", "map.png")
    assert run_inpaint(*given, image="deep.png") == 0
    expected = inpaint(photo, Image.fromarray(MISSING), "model", model="run")
    assert np.array_equal(pixels("out.png"), np.asarray(expected))
    assert np.array_equal(pixels("out.png")[~MISSING], np.asarray(photo)[~MISSING])
    assert pixels("map.png").shape == (HEIGHT, WIDTH, 3)
    assert run_inpaint("--poisson", *given, image="deep.png") == 0
    joined = inpaint(photo, Image.fromarray(MISSING), "model", model="run", poisson=True)
    assert np.array_equal(pixels("out.png"), np.asarray(joined))
    assert not np.array_equal(np.asarray(joined), np.asarray(expected))


@pytest.mark.parametrize("given", [[], ["--method", "structure", "--model", "run"]])
def test_structure_is_the_default_and_takes_another_network(folder, given):
    """And the attention map is white where nothing was copied, as outside the hole."""
    network = tiny_structure()
    network.save_pretrained("run/model")
    command = ["inpaint", "photo.png", "mask.png", "-o", "out.png", "--attention-map", "map.png"]
    assert main([*command, *given, "--seed", "3"]) == 0
    photo, model = Image.open("photo.png"), network if given else None
    expected, offsets = inpaint(photo, MISSING, model=model, seed=3, return_offsets=True)
    assert np.array_equal(pixels("out.png"), np.asarray(expected))
    assert np.array_equal(pixels("out.png")[~MISSING], np.asarray(photo)[~MISSING])
    copied = (offsets[0] != 0).any(0).numpy()
    assert not copied[~MISSING].any()
    assert (pixels("map.png")[~copied] == 255).all()


def test_without_the_packages_of_networks(folder, capsys, monkeypatch):
    monkeypatch.delitem(sys.modules, "contextual_attention.models.network.pretrained", raising=False)
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    assert run_inpaint("--method", "structure") == 2
    said = refused(capsys)
    assert 'needs the package huggingface_hub: pip install "contextual_attention[models]"' in said
    assert said.endswith("; --method exemplar needs no network")
    assert run_inpaint("--method", "exemplar") == 0
    assert_restored(pixels("out.png"), stripes())


def test_opacity_that_says_nothing_may_be_left_out(folder):
    """Of a photograph that is opaque outside the hole, in a format that has no opacity."""
    opacity = np.where(MISSING, 50, 255).astype(np.uint8)
    Image.fromarray(np.dstack([with_hole(), opacity])).save("clear.png")
    assert run_inpaint(image="clear.png", output="out.bmp") == 0
    assert_restored(pixels("out.bmp"), stripes())
    # Inverted, what is left is not opaque.
    assert run_inpaint("--mask", "alpha", "--invert", image="clear.png", mask=None, output="out.bmp") == 2


class TestSketch:
    @pytest.fixture
    def guided(self, folder):
        torch.manual_seed(0)
        model = InpaintGenerator(cnum=2, gated=True, squash="tanh", sketch=True)
        with torch.no_grad():
            for weight in model.parameters():
                if weight.dim() == 4:  # so that something comes through a dozen gates, each of a half
                    weight.normal_(std=1.8 * weight[0].numel() ** -0.5)
        model.save_pretrained("guided")
        lines = np.zeros_like(MISSING)
        lines[:, 20:22] = True
        Image.fromarray(lines).save("lines.png")
        return model, lines

    def test_is_what_the_network_sees(self, guided):
        model, lines = guided
        for name, given, sketch in (("out.png", ["--sketch", "lines.png"], lines), ("none.png", [], None)):
            assert run_inpaint("--method", "model", "--model", "guided", *given, output=name) == 0
            expected = inpaint(pixels("photo.png"), MISSING, "model", model=model, sketch=sketch)
            assert np.array_equal(pixels(name), expected)
        assert not np.array_equal(pixels("out.png"), pixels("none.png"))

    def test_of_many(self, guided, capsys):
        for folder in ("photos", "lines", "out"):
            os.mkdir(folder)
        Image.open("photo.png").save("photos/a.png")
        Image.open("lines.png").save("lines/a.png")
        options = ("--method", "model", "--model", "guided", "--sketch", "lines")
        assert run_inpaint(*options, image="photos", output="out") == 0
        assert run_inpaint(*options[:-1], "lines.png") == 0
        assert np.array_equal(pixels("out/a.png"), pixels("out.png"))
        Image.open("photo.png").save("photos/b.png")
        capsys.readouterr()
        assert run_inpaint(*options, image="photos", output="out") == 2
        assert "b.png: no sketch named b.* in lines" in refused(capsys)

    def test_errors(self, guided, capsys):
        Image.new("1", (8, 8)).save("small.png")
        Image.new("RGBA", (WIDTH, HEIGHT), "white").save("all.png")
        model = ("--method", "model", "--model", "guided")
        for options, message in (
            (("--sketch", "lines.png"), "--sketch is for --method model"),
            (
                (*model, "--sketch", "small.png"),
                "the sketch has 8x8 pixels, the photograph photo.png ",
            ),
            ((*model, "--sketch", "all.png"), "all.png: marks everything as lines"),
            ((*model, "--sketch", "gone.png"), "gone.png"),
            ((*model, "--sketch", "."), "one photograph needs one sketch, got ."),
        ):
            capsys.readouterr()
            assert run_inpaint(*options) == 2
            assert message in refused(capsys)
        assert run_inpaint(*model, "--sketch", "lines.png", output="lines.png") == 2
        assert "the sketch lines.png" in refused(capsys)
