"""Every command on files that are damaged, or made to do damage: a right result, or one line that names the
file.

Each scene is a command with the files that it reads, of which one at a time is damaged at random (damage.py).
It runs in a process of its own, whose address space is bounded.
"""

import contextlib
import functools
import io
import json
import os
import resource
import shutil
import traceback
import zlib
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from helpers import published, published_v2
from helpers.damage import damaged
from helpers.runs import forkserver, make_trainer, peak, start_of_peak, tiny
from helpers.torch7 import Module, t7
from PIL import Image
from safetensors.torch import save
from torch import nn

from contextual_attention.cli import main
from contextual_attention.files import UNFINISHED
from contextual_attention.models.network.generator import InpaintGenerator
from contextual_attention.models.network.iizuka import CompletionNetwork
from contextual_attention.models.network.pretrained import load_model
from contextual_attention.models.training.settings import to_dict

SIDE = 16
# Lines about all files of a folder.
OF_MANY = (
    "none of the pictures can be read", "none of its pictures can be read", "no pictures at",
    "step_000000001.ckpt",
)  # fmt: skip
# A generator, a photograph and torch's own tables; files are of some hundred kilobytes. A picture may have 89
# million pixels before Pillow refuses it.
MOST_MEMORY = {"weights": 64 * 2**20, "pictures": 1536 * 2**20}
MOST_ADDRESSES = 3 * 2**30


class Scene(NamedTuple):
    """A command, the files that may be damaged, what it writes, and what a result has to be like."""

    arguments: list[str]
    files: list[str]
    output: str | None = None
    check: Callable[[], object] = lambda: None
    kind: str = "pictures"
    at_once: int = 1


# ------------------------------------------------------------------------------------------------------------
# Scenes, set up in the working folder


def saved(weights, **options):
    file = io.BytesIO()
    torch.save(weights, file, **options)
    return file.getvalue()


def array_file(write, kind):
    file = io.BytesIO()
    write(file, **{f"{name}:0": x.numpy() for name, x in published.checkpoint(kind).items()})
    return file.getvalue()


CHECKPOINTS = {
    "model.pt": lambda: saved(published.checkpoint("daa233")),
    "legacy.pth": lambda: saved(
        {"meta": {"iter": 7}, "state_dict": published.checkpoint("mmagic")},
        _use_new_zipfile_serialization=False,
    ),
    "model.npz": lambda: array_file(np.savez, "yu2018"),
    "compressed.npz": lambda: array_file(np.savez_compressed, "yu2018"),
    "model.safetensors": lambda: save(published.checkpoint("daa233")),
    "twofold.pth": lambda: saved(published_v2.checkpoint("csqiangwen")),
    "model.t7": lambda: t7(completion_network()),
}


def completion_network():
    """A small network of Iizuka et al., as their Torch7 file has it."""
    torch.manual_seed(0)
    network, modules = CompletionNetwork(cnum=2), []
    for each in network.modules():
        if isinstance(each, (nn.Conv2d, nn.ConvTranspose2d, nn.BatchNorm2d)):
            weights = {name: x.numpy() for name, x in each.state_dict().items() if x.dim()}
            modules.append(Module("nn.Module", weights))
            modules += [Module("nn.ReLU", {})] * isinstance(each, nn.BatchNorm2d)
    model = Module("nn.Sequential", {"modules": modules})
    return {"model": model, "mean": np.array([0.5, 0.25, 0.125])}


def convert(name):
    Path(name).write_bytes(CHECKPOINTS[name]())
    return Scene(["convert", name, "out"], [name], "out", lambda: check_model("out"), "weights")


def check_model(folder):
    network = load_model(folder)
    assert all(weight.isfinite().all() for weight in network.parameters())


def photograph(mode="RGB"):
    noise = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE + 2, 3), np.uint8)
    if mode == "I;16":
        return Image.fromarray(noise[..., 0].astype(np.uint16) * 257)
    return Image.fromarray(noise).convert(mode)


def write_mask(name):
    mask = np.zeros((SIDE, SIDE + 2), np.uint8)
    mask[4:9, 5:11] = 255
    Image.fromarray(mask).save(name)


PICTURES = {
    "grey.png": "L", "palette.png": "P", "clear.png": "RGBA", "deep.png": "I;16", "photo.jpg": "RGB",
    "photo.webp": "RGB", "photo.gif": "P", "photo.tif": "RGB", "photo.bmp": "RGB", "photo.ppm": "RGB",
    "photo.avif": "RGB",
}  # fmt: skip


def write_pictures(folder):
    Path(folder).mkdir()
    for name, mode in PICTURES.items():
        photograph(mode).save(Path(folder, name))
    return [f"{folder}/{name}" for name in PICTURES]


def inpaint(name):
    photograph(PICTURES[name]).save(name)
    write_mask("mask.png")
    arguments = ["inpaint", name, "mask.png", "-o", "out.png"]
    return Scene(arguments, [name, name, "mask.png"], "out.png", check_picture)


def check_picture():
    with Image.open("out.png") as file:
        file.load()


def model():
    photograph().save("photo.png")
    write_mask("mask.png")
    InpaintGenerator(cnum=2).save_pretrained("model")
    arguments = ["inpaint", "photo.png", "mask.png", "--method", "model", "--model", "model", "-o", "out.png"]
    files = ["model/config.json", "model/model.safetensors"]
    return Scene(arguments, files, "out.png", check_picture, "weights")


def evaluate():
    files = write_pictures("photos")
    Path("masks").mkdir()
    write_mask("masks/mask.png")
    InpaintGenerator(cnum=2).save_pretrained("run/model")
    files += ["masks/mask.png"] * 4 + ["run/model/model.safetensors", "run/model/config.json"] * 4
    arguments = ["evaluate", "--data", "photos", "--masks", "masks", "--model", "run", "--size", str(SIDE)]
    return Scene([*arguments, "--output", "table.json"], files, "table.json", check_table)


def check_table():
    assert json.loads(Path("table.json").read_text())["rows"]


def transfer():
    photograph().save("one.png")
    photograph("L").save("other.jpg")
    arguments = ["transfer", "--foreground", "one.png", "--background", "other.jpg", "--output", "out.png"]
    return Scene([*arguments, "--max-size", "24"], ["one.png", "other.jpg"], "out.png", check_picture)


def check_data():
    files = write_pictures("photos")
    return Scene(["check-data", "photos"], files, at_once=len(files))


def list_file():
    Path("list.txt").write_text("".join(f"{path}\n" for path in write_pictures("photos")))
    return Scene(["check-data", "list.txt"], ["list.txt"])


def resume():
    trainer = make_trainer(Path("run"), steps="1")
    trainer.run()
    Path("run/config.json").write_text(json.dumps(to_dict(tiny(steps="1"))))
    (checkpoint,) = Path("run/checkpoints").iterdir()
    files = [f"run/{name}" for name in ("config.json", "losses.jsonl", "model/model.safetensors")]
    files += [str(file) for file in checkpoint.iterdir()] * 2
    arguments = ["train", "--resume", "--out", "run", "--accelerator", "cpu"]
    return Scene(arguments, files, None, lambda: check_model("run/model"), "weights")


# How many files of each are damaged.
SCENES = {
    **{f"convert {name}": (functools.partial(convert, name), 100) for name in CHECKPOINTS},
    **{f"inpaint {name}": (functools.partial(inpaint, name), 40) for name in PICTURES},
    "model": (model, 200),
    "evaluate": (evaluate, 60),
    "transfer": (transfer, 100),
    "check-data": (check_data, 880),
    "list file": (list_file, 60),
    "resume": (resume, 40),
}


# ------------------------------------------------------------------------------------------------------------
# Playing them


def play(name: str, folder: Path) -> list[str]:
    """What went wrong in a scene, a line each; in a process of its own."""
    bound_addresses()
    torch.set_num_threads(1)
    os.chdir(folder)
    make, count = SCENES[name]
    scene = make()
    whole = {path: Path(path).read_bytes() for path in scene.files}
    wrong = []
    for number in range(count // scene.at_once):
        rng = np.random.default_rng([zlib.crc32(name.encode()), number])
        hit = scene.files if scene.at_once > 1 else [scene.files[rng.integers(len(scene.files))]]
        for path in hit:
            damage(Path(path), whole, rng)
        Path(f"{folder}.now").write_text(f"{name}, number {number}, {hit}")  # to be read if this process dies
        complaints = watched(scene)
        wrong += [f"{name}, number {number}, {', '.join(hit)}: {complaint}" for complaint in complaints]
        for path in hit:
            remove(Path(path))
            Path(path).write_bytes(whole[path])
    return wrong


def bound_addresses():
    """Of this process, so that what grows without bound fails instead of taking the machine along."""
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    resource.setrlimit(resource.RLIMIT_AS, (size + MOST_ADDRESSES, hard))


def damage(path, whole, rng):
    lot = rng.integers(40)
    if lot == 0:
        path.unlink()
        path.mkdir()
    elif lot == 1:
        path.write_bytes(whole[list(whole)[rng.integers(len(whole))]])
    else:
        path.write_bytes(damaged(whole[str(path)], rng))


def remove(path):
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def watched(scene):
    """Run the command once; what is wrong with how it went."""
    said, complained = io.StringIO(), io.StringIO()
    before = start_of_peak()
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(complained):
            status = main(scene.arguments)
    except BaseException:
        yield traceback.format_exc()
        return
    used = peak() - before
    if used > MOST_MEMORY[scene.kind]:
        yield f"took {used >> 20} MiB"
    lines = complained.getvalue().splitlines()
    if status == 2:
        if len(lines) != 1 or ": error: " not in lines[0]:
            yield f"said {lines}"
        elif not any(named in lines[0] for named in (*map(os.path.basename, scene.files), *OF_MANY)):
            yield f"named no file: {lines[0]}"
    elif status != 0 or lines:
        yield f"status {status}, said {lines}"
    yield from left_behind(scene, status)


def left_behind(scene, status):
    unfinished = list(Path.cwd().rglob(f"{UNFINISHED}*"))
    if unfinished:
        yield f"left {unfinished}"
    if scene.output is None:
        if status == 0:
            scene.check()
        return
    output = Path(scene.output)
    if output.exists() != (status == 0):
        yield f"status {status}, and {output} is {'' if output.exists() else 'not '}there"
    elif status == 0:
        scene.check()
    remove(output)


def test_at_least_two_thousand_files():
    assert sum(count for _, count in SCENES.values()) >= 2000


@pytest.fixture(scope="module")
def playing(tmp_path_factory):
    """The scenes, played side by side: what went wrong in each, once it is over."""
    folder = tmp_path_factory.mktemp("scenes")
    start = functools.partial(ProcessPoolExecutor, mp_context=forkserver(), max_tasks_per_child=1)
    with start(os.cpu_count()) as pool:
        started = {}
        for name in SCENES:
            own = folder / name.replace(" ", "-")
            own.mkdir()
            started[name] = own, pool.submit(play, name, own)
        yield started


@pytest.mark.parametrize("name", SCENES)
def test_a_right_result_or_one_line(playing, name):
    folder, future = playing[name]
    try:
        wrong = future.result()
    except BrokenProcessPool:
        pytest.fail(f"the process died; last were {[p.read_text() for p in folder.parent.glob('*.now')]}")
    assert wrong == []
