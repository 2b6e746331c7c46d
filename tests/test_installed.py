"""A wheel in an environment of its own: the README's commands inside a checkout and outside of any."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import sysconfig
import time
import urllib.request
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import published
from PIL import Image
from test_training_commands import TINY

from contextual_attention.backends import extension

ROOT = Path(__file__).resolve().parent.parent
PHOTO = np.random.default_rng(0).integers(0, 256, (48, 40, 3), np.uint8)
MASK = np.zeros(PHOTO.shape[:2], bool)
MASK[10:20, 10:20] = True
# Commands as `python -m contextual_attention` runs them, but in one process, for torch is imported once; and
# then what was imported from where.
RUN = """
import json, pickle, runpy, sys
for arguments in json.loads(sys.argv.pop()):
    sys.argv[1:] = arguments
    try:
        runpy.run_module("contextual_attention", run_name="__main__", alter_sys=True)
    except SystemExit as end:
        assert end.code == 0, (arguments, end.code)
import contextual_attention, contextual_attention_C
from contextual_attention import models
from contextual_attention.models.data import masks
assert pickle.loads(pickle.dumps(models.inpaint)) is models.inpaint
for module in (contextual_attention, masks, models, contextual_attention_C):
    print(module.__file__)
try:
    import models
except ImportError as error:
    print(error)
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Of this checkout, whose objects are compiled again only where they are out of date."""
    folder = tmp_path_factory.mktemp("wheel")
    before = (
        ROOT / f"build/lib.{sysconfig.get_platform()}-{sys.implementation.cache_tag}/contextual_attention"
    )
    before.mkdir(parents=True, exist_ok=True)
    (before / "of_before.py").touch()
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", str(folder)]
    environment = os.environ | {"CA_CUDA": "1" if extension.build_info()["cuda_architectures"] else "0"}
    run([sys.executable, "-m", "pip", "wheel", *options, str(ROOT)], folder, environment)
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def python(wheel, tmp_path_factory):
    """Of an environment that has the wheel and, borrowed from this one, what it depends on."""
    folder = tmp_path_factory.mktemp("environment")
    run([sys.executable, "-m", "venv", "--without-pip", str(folder)], folder)
    python = folder / "bin/python"
    run([sys.executable, "-m", "pip", "--python", str(python), "install", "--no-deps", str(wheel)], folder)
    # Behind its own; .pth files in there, such as that of an editable install, are not followed.
    lent = [path for path in sys.path if Path(path).name in ("site-packages", "dist-packages")]
    site_packages = run([str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], folder)
    Path(site_packages.strip(), "lent.pth").write_text("\n".join(lent))
    return str(python)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """The sources as they lie in a repository, without anything compiled."""
    folder = tmp_path_factory.mktemp("clone") / "checkout"
    left_out = shutil.ignore_patterns(
        ".*", "build", "dist", "docs", "tests", "*.egg-info", "*.so", "__pycache__"
    )
    shutil.copytree(ROOT, folder, ignore=left_out)
    return folder


def run(command, folder, environment=None):
    """Its output; an assertion that it went well."""
    environment = dict(os.environ if environment is None else environment)
    environment.pop("PYTHONPATH", None)
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return done.stdout


def test_the_wheel_holds_the_package_and_nothing_of_before(wheel):
    """Also where a build before it has left something in build/lib."""
    names = zipfile.ZipFile(wheel).namelist()
    top = {name.split("/")[0] for name in names if ".dist-info/" not in name}
    assert {name.split(".")[0] for name in top} == {"contextual_attention", "contextual_attention_C"}
    packages = (
        "contextual_attention",
        "contextual_attention/commands",
        "contextual_attention/triton",
        "models",
    )
    sources = {
        file.relative_to(ROOT).as_posix() for folder in packages for file in (ROOT / folder).rglob("*.py")
    }
    sources.remove("contextual_attention/models/__init__.py")
    shipped = {
        name.replace("contextual_attention/models/", "models/") for name in names if name.endswith(".py")
    }
    assert shipped == sources


def test_the_wheel_holds_the_weights_of_the_structure_network(wheel):
    """Bit for bit; what loads and uses them there is the command inpaint, below."""
    folder = "contextual_attention/models/network/weights/structure"
    with zipfile.ZipFile(wheel) as archive:
        found = {Path(name).name: archive.read(name) for name in archive.namelist() if folder in name}
    kept = ROOT / "models/network/weights/structure"
    assert found == {file.name: file.read_bytes() for file in kept.iterdir()}
    assert len(found) == 3


@pytest.fixture(scope="module")
def tried(python, checkout, tmp_path_factory):
    """By place: the folder that the commands have written to, and the lines that they have said."""
    folders = {place: tmp_path_factory.mktemp(place) for place in ("inside", "outside")}

    def try_all(place):
        folder = folders[place]
        command = [python, "-c", RUN, json.dumps(commands(folder))]
        return folder, run(command, checkout if place == "inside" else folder).splitlines()

    with ThreadPoolExecutor() as pool:
        return dict(zip(folders, pool.map(try_all, folders), strict=True))


def commands(folder):
    """Small ones of every kind; what they read is made here."""
    (folder / "photos").mkdir()
    for name in ("photo.png", "photos/one.png"):
        Image.fromarray(PHOTO).save(folder / name)
    Image.fromarray(np.uint8(MASK * 255)).save(folder / "mask.png")
    torch.save(published.checkpoint("daa233"), folder / "daa233.pt")
    lines = f"""
        info
        transfer --foreground photo.png --background photo.png --output transferred.png
        inpaint photo.png mask.png -o filled.png
        convert daa233.pt converted
        check-data photos --size 24
        train --data photos --out run --steps 1 --accelerator cpu {" ".join(TINY)}
        evaluate --data photos --size 24 --model run --output table.json
        experiment --help
    """
    files = (
        "photo.png",
        "transferred.png",
        "mask.png",
        "filled.png",
        "daa233.pt",
        "converted",
        "photos",
        "run",
    )
    return [
        [str(folder / word) if word in (*files, "table.json") else word for word in line.split()]
        for line in lines.strip().splitlines()
    ]


@pytest.mark.parametrize("place", ["inside", "outside"])
def test_commands(tried, place):
    folder, said = tried[place]
    with Image.open(folder / "filled.png") as filled:
        changed = (np.asarray(filled) != PHOTO).any(-1)
    assert changed[MASK].any()
    assert not changed[~MASK].any()
    made = ("transferred.png", "converted/config.json", "run/model/config.json", "table.json")
    assert all((folder / name).exists() for name in made)
    (backend,) = (line for line in said if line.startswith("backend cpu "))
    assert backend.split() == ["backend", "cpu", "available"]


@pytest.mark.parametrize("place", ["inside", "outside"])
def test_what_was_imported_from_where(tried, python, checkout, place):
    """In a checkout the sources come from there, the compiled module from where it was installed."""
    *sources, compiled, error = tried[place][1][-5:]
    environment = Path(python).parents[1]
    home = checkout if place == "inside" else environment
    assert all(home in Path(file).parents for file in sources), sources
    assert environment in Path(compiled).parents
    assert (
        error
        == {
            "inside": "'models' is imported as contextual_attention.models",
            "outside": "No module named 'models'",
        }[place]
    )


def test_the_quick_benchmark_in_the_checkout(python, checkout, tmp_path):
    """Its memory is measured in processes that are started anew, by the package that is timed."""
    few = ["--shape", "1x64x64", "--channels", "8", "--pass", "forward", "--against", "--budget", "0.1"]
    few += ["--threads", "1", "--json", str(tmp_path / "r.json")]
    run([python, "benchmarks/bench_attention.py", "--quick", *few], checkout)
    rows = json.loads((tmp_path / "r.json").read_text())["rows"]
    assert rows
    assert all(row["working_bytes"] > 0 for row in rows), rows
    (checkout / "benchmarks/where.py").write_text(
        "import contextual_attention\n"
        "from attention_bench import measure\n"
        "def same(file): return int(contextual_attention.__file__ == file)\n"
        "if __name__ == '__main__':\n"
        "    import where\n"
        "    print(measure.in_fresh_process(where.same, contextual_attention.__file__))\n"
    )
    assert run([python, "benchmarks/where.py"], checkout) == "1\n"


def test_the_page_in_the_checkout(python, checkout):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [python, "-m", "contextual_attention", "demo", "--port", port]
    piped = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    with subprocess.Popen(command, cwd=checkout, env=environment, **piped) as server:
        try:
            assert "gradio" in page_of(server, f"http://127.0.0.1:{port}/")
        finally:
            server.terminate()


def page_of(server, address):
    """What the server answers, once it does."""
    end = time.monotonic() + 120
    while server.poll() is None and time.monotonic() < end:
        try:
            with urllib.request.urlopen(address, timeout=30) as answer:
                return answer.read().decode()
        except OSError:
            time.sleep(0.3)
    server.kill()
    pytest.fail(f"no page: {server.stdout.read()}")
