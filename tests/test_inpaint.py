"""The function and the command inpaint: every kind of picture, what stays as it was, and what goes wrong."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from contextual_attention import photos
from contextual_attention.cli import main
from contextual_attention.models import inpaint

HEIGHT, WIDTH = 40, 48
MISSING = np.zeros((HEIGHT, WIDTH), bool)
MISSING[12:20, 15:25] = True
ORIENTATION = 0x0112
ARTIST = 0x013B


def stripes(channels=3, dtype=np.uint8):
    """Columns that repeat every 6 pixels, (H, W, channels)."""
    white = np.iinfo(dtype).max
    columns = np.linspace(0, white, 6)[np.arange(WIDTH) % 6].astype(dtype)
    return np.broadcast_to(columns[None, :, None], (HEIGHT, WIDTH, channels)).copy()


def damaged(channels=3, dtype=np.uint8):
    picture = stripes(channels, dtype)
    picture[MISSING] = 7
    return picture


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working folder with photo.png, whose hole mask.png marks."""
    monkeypatch.chdir(tmp_path)
    Image.fromarray(damaged()).save("photo.png")
    Image.fromarray(MISSING).save("mask.png")
    return tmp_path


def command(*arguments, image="photo.png", mask="mask.png", output="out.png"):
    return main(["inpaint", image, *([mask] if mask else []), "-o", output, *arguments])


def pixels(path):
    with Image.open(path) as image:
        return np.asarray(image)


def refused(capsys):
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1, lines
    return lines[0]


def assert_restored(result, truth, tolerance=1):
    """Known pixels exactly, the others up to rounding."""
    assert result.shape == truth.shape
    assert result.dtype == truth.dtype
    assert np.array_equal(result[~MISSING], truth[~MISSING])
    assert np.abs(result[MISSING].astype(float) - truth[MISSING]).max() <= tolerance


# ------------------------------------------------------------------------------------------------------------
# The function


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 3])
def test_arrays(dtype, channels):
    truth = stripes(channels, dtype)
    # 16 bits pass through float32 in [-1, 1] and weights that sum to 1 up to 1e-6.
    tolerance = 1 if dtype == np.uint8 else 3
    assert_restored(inpaint(damaged(channels, dtype), MISSING), truth, tolerance)
    assert_restored(inpaint(damaged(channels, dtype)[..., 0], MISSING), truth[..., 0], tolerance)


def test_opacity_is_kept_outside_and_full_inside():
    picture = np.concatenate([damaged(), np.full((HEIGHT, WIDTH, 1), 9, np.uint8)], 2)
    result = inpaint(picture, MISSING)
    assert_restored(result[..., :3], stripes())
    assert np.array_equal(result[..., 3], np.where(MISSING, 255, 9))


def test_floats_are_from_0_to_1_in_arrays_and_minus_1_to_1_in_tensors():
    unit = stripes().astype(np.float32) / 255
    result = inpaint(np.where(MISSING[..., None], 0, unit), MISSING)
    assert_restored(result, unit, 1e-3)
    tensor = torch.from_numpy(unit * 2 - 1).permute(2, 0, 1)
    result = inpaint(tensor.masked_fill(torch.from_numpy(MISSING), 0), torch.from_numpy(MISSING))
    assert_restored(result.permute(1, 2, 0).numpy(), tensor.permute(1, 2, 0).numpy(), 2e-3)


def test_batches_have_masks_of_their_own_and_offsets():
    truth = torch.from_numpy(stripes()).permute(2, 0, 1)[None].repeat(2, 1, 1, 1)
    mask = torch.from_numpy(MISSING)[None, None].repeat(2, 1, 1, 1)
    mask[1] = mask[1].roll(5, 2)
    seen = []
    result, offsets = inpaint(truth.masked_fill(mask, 0), mask, return_offsets=True, progress=seen.append)
    assert result.dtype == torch.uint8
    assert (result.int() - truth.int()).abs().max() <= 1
    assert offsets.shape == (2, 2, HEIGHT, WIDTH)
    assert torch.equal((offsets != 0).any(1, keepdim=True), mask)
    assert seen[-1] == 1


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA", "I;16"])
def test_pillow_images_keep_mode_and_size(mode):
    grey = Image.fromarray(damaged(1, np.uint16)[..., 0])
    image = grey if mode == "I;16" else Image.fromarray(damaged()).convert(mode)
    result = inpaint(image, Image.fromarray(MISSING))
    assert (result.mode, result.size) == (mode, image.size)
    known = ~MISSING
    assert np.array_equal(np.asarray(result)[known], np.asarray(image)[known])


def test_methods_join_the_evaluation():
    from contextual_attention.models.evaluate import METHODS

    image = torch.from_numpy(stripes()).permute(2, 0, 1)[None] / 127.5 - 1
    mask = torch.from_numpy(MISSING)[None, None]
    assert torch.equal(METHODS["exemplar"](image, mask), inpaint(image, mask))
    assert torch.equal(METHODS["patchmatch"](image, mask), inpaint(image, mask, "patchmatch"))


def test_patchmatch_and_its_seed():
    assert_restored(inpaint(damaged(), MISSING, "patchmatch", seed=3), stripes(), 12)


def test_a_feather_fades_into_what_is_known():
    truth = stripes()
    truth[:, 30:] //= 2
    result = inpaint(truth, MISSING, feather=3).astype(int)
    near = np.zeros_like(MISSING)
    near[9:23, 12:28] = True
    assert np.array_equal(result[~near], truth[~near])


def test_a_model_is_asked_for_what_is_missing():
    class Black(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.config = type("Config", (), {"attention": None})

        def forward(self, image, mask, return_offsets):
            assert image.shape[1] == 3
            completed = torch.where(mask, -1.0, image)
            return type("Inpainted", (), {"completed": completed, "offsets": None})

    for channels in (1, 3):
        result = inpaint(damaged(channels), MISSING, "model", model=Black())
        assert np.array_equal(result, np.where(MISSING[..., None], 0, damaged(channels)))


@pytest.mark.parametrize(
    ("image", "mask", "options", "error", "reason"),
    [
        ("photo.png", MISSING, {}, TypeError, "image: expected a Pillow image, a NumPy array or a tensor"),
        (damaged(), "mask.png", {}, TypeError, "mask: expected a Pillow image"),
        (damaged(), MISSING.T, {}, ValueError, "expected the size of the image, 48 x 40, got 40 x 48"),
        (damaged(), MISSING | True, {}, ValueError, "every pixel is missing"),
        (damaged().astype(np.int32), MISSING, {}, TypeError, "expected uint8, uint16 or floating"),
        (damaged(), MISSING, {"method": "magic"}, ValueError, "expected one of 'exemplar', 'patchmatch'"),
        (damaged(), MISSING, {"method": "model"}, ValueError, 'method "model" needs one'),
        (damaged(), MISSING, {"feather": -1}, ValueError, "feather: expected a number of pixels"),
        (torch.zeros(5, 8, 8), MISSING, {}, ValueError, r"expected \(C, H, W\)"),
    ],
)
def test_what_is_refused(image, mask, options, error, reason):
    with pytest.raises(error, match=reason):
        inpaint(image, mask, **options)


# ------------------------------------------------------------------------------------------------------------
# The command


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


def test_orientation_is_applied_and_metadata_kept(folder):
    exif = Image.Exif()
    exif[ORIENTATION], exif[ARTIST] = 6, "Somebody"  # the camera was turned by a quarter
    sideways = Image.fromarray(damaged()).transpose(Image.Transpose.ROTATE_90)
    sideways.save("turned.png", exif=exif, icc_profile=b"a profile")
    assert command(image="turned.png") == 0
    assert_restored(pixels("out.png"), stripes())
    with Image.open("out.png") as image:
        assert image.info["icc_profile"] == b"a profile"
        assert image.getexif()[ARTIST] == "Somebody"
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


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_folders_do_what_they_can_and_a_rerun_the_rest(folder, capsys, jobs):
    for name in ("in", "masks", "out"):
        Path(name).mkdir()
    for name in ("a", "b", "c"):
        Image.fromarray(damaged()).save(f"in/{name}.png")
        Image.fromarray(MISSING).save(f"masks/{name}.png")
    Path("in/b.png").write_bytes(Path("in/a.png").read_bytes()[:60])
    many = {"image": "in", "mask": "masks", "output": "out"}
    assert command("--jobs", jobs, "--report", "report.json", **many) == 2
    assert "1 of 3 photographs failed; in/b.png" in refused(capsys)
    assert sorted(os.listdir("out")) == ["a.png", "c.png"]
    report = {Path(row["image"]).name: row["status"] for row in json.loads(Path("report.json").read_text())}
    assert report == {"a.png": "done", "b.png": "failed", "c.png": "done"}
    before = Path("out/a.png").stat().st_mtime_ns
    Image.fromarray(damaged()).save("in/b.png")
    assert command(image="in/*.png", mask="mask.png", output="out") == 0
    assert Path("out/a.png").stat().st_mtime_ns == before
    assert_restored(pixels("out/b.png"), stripes())


def test_a_killed_run_leaves_whole_files_and_a_rerun_completes(folder):
    Path("in").mkdir()
    Path("out").mkdir()
    for k in range(6):
        Image.fromarray(damaged()).save(f"in/{k}.png")
    arguments = ["inpaint", "in", "mask.png", "-o", "out"]
    run = subprocess.Popen(
        [sys.executable, "-m", "contextual_attention", *arguments], stdout=subprocess.PIPE, text=True
    )
    assert "written" in run.stdout.readline()
    run.kill()
    run.communicate()
    finished = [name for name in os.listdir("out") if name.endswith(".png")]
    assert finished
    for name in finished:
        assert_restored(pixels(f"out/{name}"), stripes())
    assert main(arguments) == 0
    assert {f"{k}.png" for k in range(6)} <= set(os.listdir("out"))


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
        ((), {"image": "none.png"}, "none.png: cannot be read as a picture"),
        ((), {"output": "out.xyz"}, '"*.xyz"'),
        ((), {"output": "no/out.png"}, "there is no folder no"),
        ((), {"mask": None}, "give either a MASK or --mask alpha"),
        (("--mask", "alpha"), {"mask": None}, "has no transparency"),
        (("--method", "model"), {}, "--method model and --model belong together"),
        (("--device", "abacus"), {}, "abacus"),
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
    Path("none.png").touch()
    Path("half.png").write_bytes(whole[: len(whole) // 2])
    # A header that promises 65,000 x 65,000 pixels: width and height stand at byte 16.
    Path("huge.png").write_bytes(whole[:16] + (65000).to_bytes(4, "big") * 2 + whole[24:])
    before = sorted(os.listdir())
    assert command(*arguments, **given) == 2
    assert reason in refused(capsys)
    assert sorted(os.listdir()) == before


def test_a_mask_without_a_hole_changes_nothing(folder):
    Image.fromarray(MISSING & False).save("nothing.png")
    assert command(mask="nothing.png") == 0
    assert np.array_equal(pixels("out.png"), damaged())


def test_deep_colours_are_refused(folder, monkeypatch):
    """Pillow would read 16 bits a colour as 8 without a word."""
    import struct
    import zlib

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
