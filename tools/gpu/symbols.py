"""What a compiled module asks of the machine that loads it, beside what torch 2.11 and the system there have.

    python -m tools.gpu.symbols torch-2.11.0-cp312-cp312-manylinux_2_28_x86_64.whl

writes torch-2.11-symbols.txt anew from a wheel, or from an installed torch's folder: the C functions that its
libraries export, which is all of torch that the extension may be linked to (the stable ABI), and of the
operators that the extension calls by name every overload.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

FILE = Path(__file__).with_name("torch-2.11-symbols.txt")
# The one that the module names as needed, and the one in which it looks for a function where it is loaded.
LINKED = "libtorch_cpu.so"
LOOKED_UP = "libtorch_cuda.so"
OPERATORS = "aten"

# Ubuntu 24.04's, the system of the machine with the GPU, with GCC 13.
_SYSTEM = {"GLIBC": (2, 39), "GLIBCXX": (3, 4, 32), "CXXABI": (1, 3, 14), "GCC": (13, 0, 0)}
_SYSTEM_LIBRARIES = re.compile(
    r"(libstdc\+\+|libm|libgcc_s|libc|libdl|librt|libpthread|ld-linux-x86-64)\.so\.\d"
)
# The interpreter's, and what torch's libraries carry of libstdc++ without versions: namespace std.
_OTHERS = re.compile(r"_?Py[A-Z_]|_ZN?K?St")
_C_FUNCTION = re.compile(r"(aoti_)?torch_\w+")
# As LibTorch's headers write a call into the message of its failure; the overload may be a variable.
_CALL = re.compile(rb'torch_call_dispatcher\( ?"aten::(\w+)", "(\w*)"')
_CALLED = re.compile(rb'torch_call_dispatcher\( ?"aten::(\w+)"')


@dataclass(frozen=True)
class Needs:
    """What the loader will look for: read from a module by readelf."""

    symbols: frozenset[str]  # without a version, that is: not of the system's libraries
    versions: dict[str, tuple[int, ...]]  # the newest of each of the system's libraries
    libraries: frozenset[str]

    @staticmethod
    def of(module: Path) -> Needs:
        table = _run("readelf", "--wide", "--dynamic", "--dyn-syms", str(module))
        # One that is weak may be missing.
        wanted = re.findall(r" GLOBAL +\w+ +UND (\S+)", table)
        versions: dict[str, tuple[int, ...]] = {}
        for library, number in re.findall(r"@(\w+?)_([\d.]+)", " ".join(wanted)):
            versions[library] = max(versions.get(library, ()), tuple(map(int, number.split("."))))
        return Needs(
            frozenset(name for name in wanted if "@" not in name),
            versions,
            frozenset(re.findall(r"\(NEEDED\).*\[(.+)\]", table)),
        )


def not_in_torch(module: Path) -> list[str]:
    """What a module wants of torch that torch 2.11 does not have: symbols, operators."""
    there = offered()
    symbols = {name for name in Needs.of(module).symbols if not _OTHERS.match(name)}
    return sorted(symbols - there[LINKED]) + sorted(called_operators(module) - there[OPERATORS])


def not_on_the_machine(module: Path) -> list[str]:
    """What a module wants that the machine with the GPU does not have beside torch."""
    needs = Needs.of(module)
    newer = [
        f"{library} {_dotted(version)} ({_dotted(_SYSTEM.get(library, ()))} is there)"
        for library, version in sorted(needs.versions.items())
        if version > _SYSTEM.get(library, ())
    ]
    unknown = (name for name in needs.libraries - {LINKED} if not _SYSTEM_LIBRARIES.fullmatch(name))
    return newer + sorted(unknown)


def called_operators(module: Path) -> set[str]:
    """Those that a module calls by name, with their overloads: bmm.out."""
    return {_operator(*found) for found in _CALL.findall(module.read_bytes())}


def versions_in_words(module: Path) -> str:
    return ", ".join(
        f"{name} {_dotted(number)}" for name, number in sorted(Needs.of(module).versions.items())
    )


def _operator(name: bytes, overload: bytes) -> str:
    return b".".join(filter(None, (name, overload))).decode()


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version)) or "none"


def offered() -> dict[str, set[str]]:
    """FILE: names by library."""
    there: dict[str, set[str]] = {}
    for line in FILE.read_text(encoding="ascii").splitlines():
        library, name = line.split()
        there.setdefault(library, set()).add(name)
    return there


def _write(torch: Path) -> None:
    """FILE anew."""
    extension = find_spec("contextual_attention_C")
    if extension is None or extension.origin is None:
        raise SystemExit(
            "error: there is no contextual_attention_C, whose operators are looked up: `make build`"
        )
    bases = set(_CALLED.findall(Path(extension.origin).read_bytes()))
    lines = []
    with tempfile.TemporaryDirectory() as folder:
        for library in (LINKED, LOOKED_UP):
            file = _library(torch, library, Path(folder))
            names = _run("nm", "--dynamic", "--defined-only", "--format=just-symbols", str(file)).split()
            lines += [f"{library} {name}" for name in sorted(names) if _C_FUNCTION.fullmatch(name)]
        schemas = _library(torch, LINKED, Path(folder)).read_bytes()
    # A schema stands there as text: bmm.out(Tensor self, ...) -> Tensor(a!).
    schema = rb"(?<![\w.])((?:%b)(?:\.\w+)?)\([^\0]{1,500}? -> " % b"|".join(bases)
    lines += [f"{OPERATORS} {name.decode()}" for name in sorted(set(re.findall(schema, schemas)))]
    FILE.write_text("\n".join(lines) + "\n", encoding="ascii")


def _library(torch: Path, name: str, folder: Path) -> Path:
    """A library of an installed torch, or of a wheel, of which it is extracted once."""
    if torch.is_dir():
        return torch / "lib" / name
    member = f"torch/lib/{name}"
    if not (folder / member).exists():
        with zipfile.ZipFile(torch) as wheel:
            wheel.extract(member, folder)
    return folder / member


def _run(*command: str) -> str:
    environment = {**os.environ, "LC_ALL": "C"}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout


if __name__ == "__main__":
    _write(Path(sys.argv[1]))
