"""The commands: what they do with photographs of every kind, and what they say when they cannot."""

import os
import re
import shutil
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import skimage
import torch
from helpers.command_line import pixels, refused
from PIL import Image

from contextual_attention import backends, contextual_attention, offsets_to_image, photos
from contextual_attention.cli import main
from contextual_attention.commands.transfer import TRANSFER_OPTIONS
from contextual_attention.options import PRESETS

BUNDLED = Path(skimage.__path__[0], "data")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working folder with two small photographs, b.png (9 x 7 pixels) and a.png (8 x 12)."""
    monkeypatch.chdir(tmp_path)
    noise = np.random.default_rng(0)
    for name, shape in (("b.png", (7, 9, 3)), ("a.png", (12, 8, 3))):
        Image.fromarray(noise.integers(0, 256, shape, np.uint8)).save(name)
    return tmp_path


def transfer(*arguments, foreground="b.png", background="a.png", output="out.png"):
    return main(
        ["transfer", "--foreground", foreground, "--background", background, "--output", output, *arguments]
    )


# ------------------------------------------------------------------------------------------------------------
# transfer


def test_transfer_is_the_layer_on_two_bundled_photographs(tmp_path, capsys):
    out, offsets_picture = tmp_path / "out.png", tmp_path / "map.png"
    foreground, background = BUNDLED / "astronaut.png", BUNDLED / "coffee.png"
    status = transfer(
        "--offsets", str(offsets_picture), "--max-size", "60",
        foreground=str(foreground), background=str(background), output=str(out),
    )  # fmt: skip
    assert status == 0
    f, b = photos.read_photo(foreground, 60), photos.read_photo(background, 60)
    y, offsets = contextual_attention(f, b, **asdict(TRANSFER_OPTIONS), return_offsets=True)
    assert np.abs(pixels(out).astype(int) - as_pixels(photos.to_uint8(y)[0])).max() <= 1
    assert np.array_equal(pixels(offsets_picture), as_pixels(offsets_to_image(offsets, y.shape[2:])[0]))
    said = capsys.readouterr().out
    for expected in ("60x60", "60x40", "backend", " s on ", str(out), str(offsets_picture)):
        assert expected in said


def as_pixels(image):
    return image.permute(1, 2, 0).numpy()


def test_a_photograph_rebuilds_itself():
    """At a large scale every patch finds itself: the picture comes back, and the offsets are 0."""
    photo = photos.read_photo(BUNDLED / "coffee.png", 40)
    y, offsets = contextual_attention(photo, photo, softmax_scale=1e4, fuse=False, return_offsets=True)
    assert not offsets.any()
    assert (photos.to_uint8(y).int() - photos.to_uint8(photo).int()).abs().float().mean() < 1


def test_colours_come_from_the_background(folder):
    Image.open("a.png").convert("L").save("grey.png")
    assert transfer(background="grey.png") == 0
    out = pixels("out.png").astype(int)
    assert out.shape == (7, 9, 3)
    assert np.ptp(out, axis=2).max() <= 1


def to_palette(image):
    return image.convert("P", palette=Image.Palette.ADAPTIVE)


def to_16_bits(image):
    return Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)


@pytest.mark.parametrize(
    ("name", "convert"),
    [
        ("grey.png", lambda image: image.convert("L")),
        ("black_and_white.png", lambda image: image.convert("1")),
        ("grey_alpha.png", lambda image: image.convert("LA")),
        ("rgba.png", lambda image: image.convert("RGBA")),
        ("palette.gif", to_palette),
        ("palette.png", to_palette),
        ("deep.png", to_16_bits),
        ("cmyk.jpg", lambda image: image.convert("CMYK")),
        ("one_pixel.png", lambda image: image.resize((1, 1))),
        ("strip.bmp", lambda image: image.resize((200, 1))),
    ],
)
def test_any_photograph(folder, capsys, name, convert):
    with Image.open("a.png") as image:
        convert(image).save(name)
    assert transfer("--max-size", "20", background=name, output="from.png") == 0
    assert transfer("--max-size", "20", foreground=name, output="to.png") == 0
    assert pixels("from.png").shape == (7, 9, 3)
    said = capsys.readouterr().out
    assert ("what is transparent is taken as white" in said) == ("alpha" in name or "rgba" in name)
    assert ("more than 8 bits are brought to 8" in said) == (name == "deep.png")
    with Image.open(name) as image:
        width, height = image.size
    assert pixels("to.png").shape == (height, min(width, 20), 3)


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_are_taken_as_published(folder, preset):
    assert transfer("--preset", preset, "--backend", "reference") == 0
    f, b = photos.read_photo("b.png"), photos.read_photo("a.png")
    if preset == "yu2018":  # align_corners: cropped to multiples of the rate
        f, b = f[..., :6, :8], b[..., :12, :8]
    y = contextual_attention(f, b, backend="reference", **asdict(PRESETS[preset]))
    assert np.array_equal(pixels("out.png"), as_pixels(photos.to_uint8(y)[0]))


def test_options_change_the_layer(folder):
    assert transfer("--rate", "1", "--no-fuse", "--softmax-scale", "7", "--overlap", "fixed") == 0
    f, b = photos.read_photo("b.png"), photos.read_photo("a.png")
    y = contextual_attention(f, b, rate=1, fuse=False, softmax_scale=7.0, overlap="fixed")
    assert np.abs(pixels("out.png").astype(int) - as_pixels(photos.to_uint8(y)[0])).max() <= 1


@pytest.mark.parametrize("size", ["64M", "64MiB", "67108864", "65536k"])
def test_workspace_is_given_in_bytes(folder, monkeypatch, size):
    seen = {}

    def layer(foreground, background, **options):
        seen.update(options)
        return foreground, torch.zeros(1, 2, 4, 5, dtype=torch.int64)

    monkeypatch.setattr("contextual_attention.commands.transfer.contextual_attention", layer)
    assert transfer("--workspace", size) == 0
    assert seen["workspace"] == 64 * 2**20


@pytest.mark.parametrize("name", ["out.jpg", "out.webp", "out.tiff", "out.bmp", "OUT.PNG"])
def test_output_formats(folder, name):
    assert transfer(output=name) == 0
    assert pixels(name).shape == (7, 9, 3)


# ------------------------------------------------------------------------------------------------------------
# Reading


def test_read_photo_scales_to_minus_one_to_one_and_back(folder):
    photo = photos.read_photo("b.png")
    assert photo.shape == (1, 3, 7, 9)
    assert photo.dtype == torch.float32
    assert np.array_equal(as_pixels(photos.to_uint8(photo)[0]), pixels("b.png"))


def test_read_photo_turns_it_upright(folder):
    with Image.open("b.png") as image:
        exif = image.getexif()
        exif[0x0112] = 6  # orientation: the camera was turned by a quarter
        image.save("turned.png", exif=exif)
        upright = np.asarray(image.rotate(-90, expand=True))
    assert np.array_equal(as_pixels(photos.to_uint8(photos.read_photo("turned.png"))[0]), upright)


def test_read_photo_puts_transparency_on_white(folder):
    Image.new("RGBA", (2, 2), (255, 0, 0, 0)).save("clear.png")
    assert (photos.read_photo("clear.png") == 1).all()


def test_read_photo_keeps_16_bits_in_range(folder):
    with Image.open("b.png") as image:
        to_16_bits(image).save("deep.png")
        grey = np.asarray(image.convert("L"))
    assert np.array_equal(as_pixels(photos.to_uint8(photos.read_photo("deep.png"))[0])[..., 0], grey)


# ------------------------------------------------------------------------------------------------------------
# Refusals: status 2, one line that names what is wrong, nothing written


@pytest.mark.parametrize("role", ["foreground", "background"])
@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("missing.png", None),
        ("empty.png", b""),
        ("text.png", b"no picture"),
        ("truncated.png", "first half"),
        ("garbled.png", "garbled"),
        ("folder.png", "folder"),
        ("x" * 300 + ".png", None),
    ],
)
def test_unreadable_photographs(folder, capsys, role, name, content):
    whole = Path("a.png").read_bytes()
    if content == "folder":
        Path(name).mkdir()
    elif content == "first half":
        Path(name).write_bytes(whole[: len(whole) // 2])
    elif content == "garbled":
        Path(name).write_bytes(whole[:40] + bytes(64) + whole[104:])
    elif content is not None:
        Path(name).write_bytes(content)
    assert transfer(**{role: name}) == 2
    assert name in refused(capsys)
    assert not Path("out.png").exists()


@pytest.mark.parametrize("option", ["--output", "--offsets"])
@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("no/such/out.png", "there is no folder no/such"),
        ("a.png/out.png", "there is no folder a.png"),
        ("out.xyz", '"*.xyz"'),
        ("out", '"*"'),
        (".", "is not a file"),
        (os.devnull, "is not a file"),
        ("x" * 300 + ".png", "File name too long"),
    ],
)
def test_unwritable_outputs(folder, capsys, option, name, reason):
    before = sorted(os.listdir())
    assert transfer(option, name) == 2
    line = refused(capsys)
    assert name in line
    assert reason in line
    assert sorted(os.listdir()) == before


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("--offsets", "out.png"), "--offsets (out.png) would overwrite --output (out.png)"),
        (("--offsets", "./out.png"), "--offsets (out.png) would overwrite --output (out.png)"),
        (("--offsets", "b.png"), "--offsets (b.png) would overwrite --foreground (b.png)"),
        (("--output", "link.png"), "--output (link.png) would overwrite --background (a.png)"),
        (("--offsets", "map.gif"), "GIF cannot hold more than 256 colours; write it as one of .png"),
        (("--foreground", "moving.gif"), "moving.gif: cannot be read as a picture (it holds 2 pictures"),
        (("--ksize", "4"), "ksize"),
        (("--rate", "0"), "rate"),
        (("--boundary", "wrap"), "boundary"),
        (("--backend", "abacus"), "abacus"),
        (("--workspace", "0"), "workspace"),
        (("--preset", "yu2018", "--rate", "64"), "too small for rate 64"),
    ],
)
def test_command_lines_that_cannot_be_met(folder, capsys, arguments, reason):
    os.symlink("a.png", "link.png")
    Image.new("L", (9, 7)).save("moving.gif", save_all=True, append_images=[Image.new("L", (9, 7), 9)])
    assert transfer(*arguments) == 2
    assert reason in refused(capsys)
    assert not Path("out.png").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("paint",),
        ("transfer", "--foreground", "b.png"),
        ("transfer", "--max-size", "0"),
        ("transfer", "--max-size", "x"),
        ("transfer", "--workspace", "much"),
        ("transfer", "--preset", "nobody"),
    ],
)
def test_bad_command_lines_exit_with_2(capsys, arguments):
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    assert exit_.value.code == 2
    assert "usage:" in capsys.readouterr().err


@pytest.mark.parametrize("device", ["abacus", "cuda:77"])
@pytest.mark.parametrize(
    "arguments",
    [
        ("inpaint", "a.png", "b.png", "-o", "out.png"),
        ("evaluate", "--data", "."),
        ("experiment", "sizes", "-o", "."),
        ("demo",),
    ],
    ids=lambda arguments: arguments[0],
)
def test_a_device_that_cannot_be_used_is_refused_first(capsys, arguments, device):
    with pytest.raises(SystemExit):
        main([*arguments, "--device", device])
    assert f"--device: cannot compute on {device!r} here: " in capsys.readouterr().err


def test_without_pillow_it_names_the_extra(folder, capsys, monkeypatch):
    monkeypatch.delitem(sys.modules, "contextual_attention.photos")
    monkeypatch.delattr("contextual_attention.photos")
    monkeypatch.setitem(sys.modules, "PIL", None)
    assert transfer() == 2
    assert 'pip install "contextual_attention[demo]"' in refused(capsys)


# ------------------------------------------------------------------------------------------------------------
# Writing


def test_a_failed_write_leaves_what_was_there(folder, capsys, monkeypatch):
    Path("out.png").write_bytes(b"earlier result")
    before = sorted(os.listdir())

    def full(_source, _target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    assert transfer() == 2
    assert "out.png: cannot be written (No space left on device)" in refused(capsys)
    assert Path("out.png").read_bytes() == b"earlier result"
    assert sorted(os.listdir()) == before


def test_a_file_is_replaced_and_a_link_followed(folder):
    Path("results").mkdir()
    Path("out.png").symlink_to("results/real.png")
    for _ in range(2):
        assert transfer() == 0
    assert Path("out.png").is_symlink()
    assert os.listdir("results") == ["real.png"]


def test_files_get_the_usual_permissions(folder):
    Path("usual").touch()
    assert transfer() == 0
    assert Path("out.png").stat().st_mode == Path("usual").stat().st_mode


# ------------------------------------------------------------------------------------------------------------
# info


def test_info_describes_the_extension(capsys, monkeypatch):
    build = {
        "compiler": "g++ 12.2.0",
        "torch_headers": "2.13.0",
        "simd_levels": ["base", "avx2", "avx512"],
        "cuda_architectures": [],
    }
    extension = SimpleNamespace(
        __file__="/somewhere/contextual_attention_C.so",
        build_info=lambda: build,
        simd_level=lambda: "avx2",
        supported_simd_levels=lambda: ["base", "avx2"],
    )
    monkeypatch.setattr(backends, "extension", extension)
    assert main(["info"]) == 0
    said = capsys.readouterr().out
    assert "extension             /somewhere/contextual_attention_C.so\n" in said
    assert "g++ 12.2.0 with the headers of torch 2.13.0" in said
    assert "base, avx2, avx512 built; base, avx2 supported here; avx2 active" in said
    assert "CUDA architectures" in said


def test_info_says_why_there_is_no_extension(capsys, monkeypatch):
    monkeypatch.setattr(backends, "extension", None)
    monkeypatch.setattr(backends, "extension_error", "libgone.so: cannot open")
    monkeypatch.setattr(
        "contextual_attention.backends.available_backends", lambda: {"cpu": "libgone.so", "reference": None}
    )
    assert main(["info"]) == 0
    said = capsys.readouterr().out
    assert "extension             not available: libgone.so: cannot open" in said
    assert "backend cpu           not available: libgone.so" in said
    assert "backend reference     available" in said


def test_python_m(tmp_path):
    """The package as it is installed, in a process of its own."""
    run = subprocess.run(
        [sys.executable, "-m", "contextual_attention", "info"], capture_output=True, text=True, check=True
    )
    assert torch.__version__ in run.stdout
    assert all(f"backend {name}" in run.stdout for name in backends.available_backends())
    assert run.stderr == ""


def spins(arguments, **environment):
    """How often a waiting thread of the command looks before it sleeps, as GNU's OpenMP says."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "GOMP_"))}
    run = subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        check=True,
        env={**ours, "OMP_DISPLAY_ENV": "verbose", **environment},
    )
    return re.search(r"GOMP_SPINCOUNT = '(\d+)'", run.stderr)[1]


@pytest.mark.skipif(sys.platform != "linux", reason="torch brings GNU's OpenMP on Linux alone")
def test_threads_of_commands_that_share_a_machine_wait_asleep():
    package = ["-m", "contextual_attention"]
    script = shutil.which("contextual-attention", path=str(Path(sys.executable).parent))
    usual = spins(["-c", "import torch"])
    assert usual != "2000"
    assert spins([*package, "inpaint", "--help"]) == "2000"
    assert spins([*package, "demo", "--help"]) == "2000"
    assert spins([script, "inpaint", "--help"]) == "2000"
    assert spins([*package, "train", "--help"]) == usual
    assert spins(["-c", "import contextual_attention", "inpaint"]) == usual
    # What was chosen stays.
    assert spins([*package, "inpaint", "--help"], GOMP_SPINCOUNT="77") == "77"
    assert spins([*package, "inpaint", "--help"], OMP_WAIT_POLICY="active") != "2000"
