"""Builds here what a machine with a GPU loads ready-made, so that nothing need be compiled there.

    make gpu-bundle
    python -m tools.gpu.bundle [--python python3.12]

That is, for Python 3.12: the extension with code for Hopper, and the CUDA pipeline on the host, with whose
results a GPU's are compared (tests/helpers/emulated_build.py). Needs that Python's interpreter and headers
and nothing else of it: compiler, nvcc, ninja, pybind11 and torch's headers are this environment's. Makes
sure that the files ask for nothing that is not there, and ends with the list of those to carry.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from tools.gpu import ROOT, symbols

VERSION = "3.12"
ARCHITECTURES = ("9.0a", "9.0")
# Of this environment: headers and pure Python, which serve another Python as well.
_LENT = ("setuptools", "pybind11", "torch", "filelock")
# What the machine with the GPU takes of files that git does not know.
_MOST_BYTES = 64 * 2**20


class BundleError(Exception):
    """Why there is no bundle, and the way out."""


@dataclass(frozen=True)
class Interpreter:
    """A Python to build for, as it describes itself."""

    program: str
    version: str
    suffix: str  # of modules: .cpython-312-x86_64-linux-gnu.so
    tag: str  # cpython-312

    _QUESTION = (
        "import sys, sysconfig; print('%d.%d' % sys.version_info[:2],"
        " sysconfig.get_config_var('EXT_SUFFIX'), sys.implementation.cache_tag)"
    )

    @staticmethod
    def asked(program: str) -> Interpreter | None:
        """None: it is none, or a stand-in that finds none (pyenv's)."""
        try:
            answer = subprocess.run(
                [program, "-c", Interpreter._QUESTION], capture_output=True, text=True, check=False
            )
        except OSError:
            return None
        words = answer.stdout.split()
        return Interpreter(program, *words) if answer.returncode == 0 and len(words) == 3 else None

    @property
    def extension(self) -> Path:
        return Path(f"contextual_attention_C{self.suffix}")

    @property
    def host_loops(self) -> Path:
        return Path("build", f"emulated.{self.tag}", "cuda_on_host.so")


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--python", metavar="PROGRAM", help=f"a Python {VERSION} (default: one on PATH, or pyenv's newest)"
    )
    try:
        python = find_python(parser.parse_args().python)
        build(python)
        _report([python.extension, python.host_loops])
    except BundleError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def find_python(named: str | None) -> Interpreter:
    """The interpreter that is named, or else the first of those at hand that is of VERSION.

    Raises:
        BundleError: There is none.
    """
    if named is not None:
        found = Interpreter.asked(named)
        if found is None:
            raise BundleError(f"--python: {named} does not run as Python")
        if found.version != VERSION:
            raise BundleError(f"--python: expected Python {VERSION}, got {found.version} ({named})")
        return found
    for program in _candidates():
        found = Interpreter.asked(program)
        if found is not None and found.version == VERSION:
            return found
    raise BundleError(
        f"there is no Python {VERSION} on PATH or among pyenv's; install one with its headers (pyenv install"
        f" {VERSION}, or apt-get install python{VERSION}-dev), or name one by --python"
    )


def _candidates() -> Iterator[str]:
    if found := shutil.which(f"python{VERSION}"):
        yield found
    versions = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"), "versions")
    programs = versions.glob(f"{VERSION}.*/bin/python{VERSION}")
    yield from map(str, sorted(programs, key=lambda path: _patch(path.parts[-3]), reverse=True))


def _patch(version: str) -> list[int]:
    return list(map(int, re.findall(r"\d+", version)))


def build(python: Interpreter) -> None:
    """Both files, in the checkout, where setup.py and the tests put their own.

    Raises:
        BundleError: One cannot be built, or it asks for what the machine with the GPU does not have.
    """
    environment = _environment()
    commands = {
        python.extension: ["setup.py", "build_ext", "--inplace"],
        python.host_loops: ["tests/helpers/emulated_build.py"],
    }
    for file, command in commands.items():
        done = subprocess.run([python.program, *command], cwd=ROOT, env=environment, check=False)
        if done.returncode != 0:
            raise BundleError(f"{file} could not be built: what is printed above says why")
        check(ROOT / file)
    check_code(ROOT / python.extension)


def _environment() -> dict[str, str]:
    specs = filter(None, map(find_spec, _LENT))
    lent = {str(Path(spec.origin).parents[1]) for spec in specs if spec.origin}
    own = {
        "PYTHONPATH": _joined(*sorted(lent), os.environ.get("PYTHONPATH")),
        "PATH": _joined(_ninja_folder(), os.environ.get("PATH")),
        "CA_CUDA": "1",
        "TORCH_CUDA_ARCH_LIST": ";".join(ARCHITECTURES),
        # Without names for a debugger: half the size.
        "LDFLAGS": f"{os.environ.get('LDFLAGS', '')} -s",
    }
    return {**os.environ, **own}


def _ninja_folder() -> str | None:
    """The package ninja finds its program beside the interpreter that asks, which is not the other one."""
    if find_spec("ninja") is None:
        return None
    from ninja import BIN_DIR

    return BIN_DIR


def _joined(*folders: str | None) -> str:
    return os.pathsep.join(filter(None, folders))


def check(module: Path) -> None:
    """That it finds there all that it asks for.

    Raises:
        BundleError: It does not; names what is missing.
    """
    if missing := symbols.not_in_torch(module):
        raise BundleError(f"{module.name} asks for what torch 2.11 does not have: {', '.join(missing)}")
    if missing := symbols.not_on_the_machine(module):
        raise BundleError(
            f"{module.name} asks for what Ubuntu 24.04 does not have: {', '.join(missing)};"
            " build it on an older system, or by an older compiler (CXX)"
        )


def check_code(module: Path) -> None:
    """That it holds code for ARCHITECTURES and no other; where cuobjdump is, which can tell.

    Raises:
        BundleError: It does not.
    """
    program = find_cuobjdump()
    if program is None:
        print(
            "there is no cuobjdump on PATH, in CUDA's toolkit or in triton: what code is in it is not checked"
        )
        return
    listed = subprocess.run([program, "--list-elf", str(module)], capture_output=True, text=True, check=True)
    found = set(re.findall(r"\.sm_(\w+)\.cubin", listed.stdout))
    wanted = {name.replace(".", "") for name in ARCHITECTURES}
    if found != wanted:
        names = (", ".join(f"sm_{name}" for name in sorted(each)) or "none" for each in (wanted, found))
        raise BundleError("{} should hold code for {}, and holds {}".format(module.name, *names))


def find_cuobjdump() -> str | None:
    """triton brings one, as its compiler."""
    spec = find_spec("triton")
    tritons = [str(Path(spec.origin).parent / "backends/nvidia/bin")] if spec and spec.origin else []
    home = os.environ.get("CUDA_HOME", "/usr/local/cuda")
    places = _joined(os.environ.get("PATH"), str(Path(home, "bin")), *tritons)
    return shutil.which("cuobjdump", path=places)


def _report(files: list[Path]) -> None:
    sizes = [(ROOT / file).stat().st_size for file in files]
    for file, size in zip(files, sizes, strict=True):
        print(f"{size / 1e6:5.1f} MB  {file}  (needs {symbols.versions_in_words(ROOT / file)})")
    if sum(sizes) > _MOST_BYTES:
        raise BundleError(f"{sum(sizes) / 2**20:.0f} MiB are too many: at most {_MOST_BYTES // 2**20} travel")
    print(f"to carry: {json.dumps(list(map(str, files)))}")


if __name__ == "__main__":
    raise SystemExit(main())
