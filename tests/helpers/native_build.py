"""Compiles what only tests need (tests/native), by the compiler, ninja and headers of setup.py."""

from __future__ import annotations

import importlib.util
import shlex
import subprocess
import sys
from collections.abc import Iterable, Sequence
from importlib.machinery import ExtensionFileLoader
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parents[2]
CSRC = ROOT / "csrc"
NATIVE = ROOT / "tests/native"
FLAGS = ("-std=c++17", "-O1", "-fPIC", "-fvisibility=hidden", "-Wall", "-Wextra")


def load_build_script() -> ModuleType:
    """setup.py as a module."""
    spec = importlib.util.spec_from_file_location("contextual_attention_setup", ROOT / "setup.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up by name
    spec.loader.exec_module(module)
    return module


def folder_of(name: str) -> Path:
    """Where something is built for this Python and kept for the next run: ninja compiles what has changed."""
    return ROOT / "build" / f"{name}.{sys.implementation.cache_tag}"


def load_library(name: str, file: Path) -> ModuleType:
    """A Python module of this name out of a shared library."""
    loader = ExtensionFileLoader(name, str(file))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(name, loader))
    loader.exec_module(module)
    return module


class Builder:
    """Compiles sources into shared libraries.

    Args:
        build_script: setup.py as a module.
        folder: Of all that it builds.
        includes: Folders of headers besides tests/native and csrc.
        flags: Of every compilation, besides FLAGS.
        link: Flags of every link.
        own_flags: What single sources are compiled with besides.
    """

    def __init__(
        self,
        build_script: ModuleType,
        folder: Path,
        includes: Iterable[Path] = (),
        flags: Sequence[str] = (),
        link: Sequence[str] = (),
        own_flags: dict[Path, Sequence[str]] | None = None,
    ) -> None:
        # Nothing that only loads what was built needs it.
        from filelock import FileLock

        toolchain = build_script.Toolchain
        self.ninja_path = build_script.ninja_path
        self.ninja = toolchain.find_ninja()
        self.compiler = shlex.join(toolchain.find_compiler())
        self.folder = folder
        system = (toolchain.find_pybind11(), toolchain.find_python_headers())
        self.flags = [
            *(*FLAGS, *flags),
            *(f"-I{path}" for path in (NATIVE, CSRC, *includes)),
            *(f"-isystem{path}" for path in system),
        ]
        self.link = ["-shared", *link]
        self.own_flags = own_flags or {}
        folder.mkdir(parents=True, exist_ok=True)
        # Tests in several processes share what is built.
        self.lock = FileLock(folder / "lock")

    def library(self, name: str, sources: Iterable[Path]) -> Path:
        edges = {f"{name}/{source.stem}.o": source for source in sources}
        lines = [
            "rule compile",
            f"  command = {self.compiler} {shlex.join(self.flags)} $own -MMD -MF $out.d -c $in -o $out",
            "  deps = gcc",
            "  depfile = $out.d",
            "rule link",
            f"  command = {self.compiler} $in {shlex.join(self.link)} -o $out",
            *(
                f"build {target}: compile {self.ninja_path(source)}\n"
                f"  own = {shlex.join(self.own_flags.get(source, ()))}"
                for target, source in edges.items()
            ),
            f"build {name}.so: link {' '.join(edges)}",
        ]
        file = self.folder / f"{name}.ninja"
        command = [self.ninja, "-C", str(self.folder), "-f", file.name]
        with self.lock:
            file.write_text("\n".join(lines) + "\n")
            result = subprocess.run(command, capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stdout[-4000:]
        return self.folder / f"{name}.so"
