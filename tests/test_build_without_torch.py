"""What pip is told where there is no torch: nothing large is fetched unasked.

pip asks first what a build needs, then for the metadata, and only then downloads what these name.
"""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def hook(tmp_path_factory):
    """Runs a hook of the build in an environment that has setuptools and no torch."""
    environment = tmp_path_factory.mktemp("bare")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(environment)], check=True)
    path = environment / "path"
    path.mkdir()
    home = Path(importlib.util.find_spec("setuptools").origin).parents[1]
    for found in (*home.glob("setuptools*"), home / "_distutils_hack"):
        (path / found.name).symlink_to(found)

    def run(call: str, **variables: str) -> subprocess.CompletedProcess:
        code = f"from setuptools import build_meta; print(build_meta.{call})"
        command = [str(environment / "bin/python"), "-c", code]
        given = os.environ | {"PYTHONPATH": str(path)} | variables
        return subprocess.run(command, cwd=ROOT, env=given, capture_output=True, text=True, check=False)

    return run


def answer(done):
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1]


def test_the_build_asks_for_none(hook):
    assert answer(hook("get_requires_for_build_wheel()")) == "[]"


def test_the_choice_is_said_before_anything_is_downloaded(hook, tmp_path):
    refused = hook(f"prepare_metadata_for_build_wheel({str(tmp_path)!r})")
    assert refused.returncode == 1
    missing, cpu, cuda, fetch = refused.stderr.partition("error: ")[2].splitlines()
    assert "there is none in this environment (found: none)" in missing
    assert cpu.endswith("CPU   pip install 'torch>=2.11' --index-url https://download.pytorch.org/whl/cpu")
    assert cuda.endswith("CUDA    pip install 'torch>=2.11'")
    assert fetch.endswith("CA_TORCH=fetch pip install .")


def test_it_is_fetched_where_that_is_asked_for(hook):
    assert answer(hook("get_requires_for_build_wheel()", CA_TORCH="fetch")) == "['torch>=2.11,<2.14']"


def test_another_wish_is_refused(hook):
    refused = hook("get_requires_for_build_wheel()", CA_TORCH="yes")
    assert refused.returncode == 1
    assert refused.stderr.splitlines()[-1] == "error: CA_TORCH: expected fetch or nothing, got 'yes'"


def test_a_source_distribution_needs_none(hook, tmp_path):
    name = answer(hook(f"build_sdist({str(tmp_path)!r})"))
    assert name.startswith("contextual_attention-")
    with tarfile.open(tmp_path / name) as archive:
        files = {Path(*Path(file).parts[1:]).as_posix(): file for file in archive.getnames()}
        about = archive.extractfile(files["PKG-INFO"]).read().decode()
    # A wheel holds what these lines name.
    licences = re.findall(r"^License-File: (.+)$", about, re.MULTILINE)
    assert licences == ["LICENSE", "NOTICE"]
    weights = "models/network/weights/structure/model.safetensors"
    assert files.keys() >= {*licences, "tools/structure/photographs.tsv", weights}
