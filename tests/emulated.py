"""Builds the CUDA sources for the host: the pipeline of csrc/cuda as an operator on CPU tensors.

Its kernels' bodies run in plain loops (csrc/cuda/host.cpp) or by kernels.cu's own launches, every thread of
them by itself (tests/cuda_emulator). What a shipped build needs of csrc/cuda is built by setup.py instead.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib.util
import json
import re
import shlex
import subprocess
import sys
import warnings
from collections.abc import Iterator
from dataclasses import replace
from importlib.machinery import ExtensionFileLoader
from pathlib import Path
from types import ModuleType

import torch
from filelock import FileLock
from torch import Tensor

from contextual_attention import backends, fused, ops

ROOT = Path(__file__).resolve().parent.parent
CSRC = ROOT / "csrc"
SOURCES = CSRC / "cuda"
EMULATOR = Path(__file__).resolve().parent / "cuda_emulator"
# Kept from one run of the tests to the next: ninja compiles what has changed.
FOLDER = ROOT / "build" / f"emulated.{sys.implementation.cache_tag}"

OPERATOR = "attend_cuda_on_host"
MODULE = "cuda_on_host"
# What becomes of a source before it is compiled: pattern and replacement.
REWRITTEN = {
    # kernel<<<grid, block, shared, stream>>>(arguments);
    "kernels.cu": (
        r"(\w+(?:<[^<>]+>)?)<<<(.+?)>>>\((.+?)\);",
        r'emulator::launch("\1", \2, [=] { \1(\3); });',
    ),
    "host.cpp": (r"\bloop\b", "plain_loop"),
}
# Whose branches are counted: those that are written, without those of exceptions.
PLANNER = [SOURCES / name for name in ("stages.cpp", "plan.cpp", "cost.cpp")]
COUNTED = ("--coverage", "-O0", "-fno-exceptions")
FLAGS = [
    *("-std=c++17", "-O1", "-fPIC", "-fvisibility=hidden", "-Wall", "-Wextra", "-Wno-unknown-pragmas"),
    # A shuffle is told by its address: none may be copied into several branches, nor reached by a jump.
    *("-fno-thread-jumps", "-fno-optimize-sibling-calls"),
    # One order of roundings for a body, whatever it is inlined into.
    "-ffp-contract=off",
    # The emulator's longjmp from stack to stack is what fortified C libraries take for an error.
    *("-U_FORTIFY_SOURCE", "-D_FORTIFY_SOURCE=0"),
]


class Builder:
    """Compiles sources into shared libraries, by the compiler, ninja and torch of setup.py."""

    def __init__(self, build_script: ModuleType) -> None:
        toolchain = build_script.Toolchain
        self.ninja_path = build_script.ninja_path
        self.ninja = toolchain.find_ninja()
        self.compiler = shlex.join(toolchain.find_compiler())
        torch_found = build_script.setup_torch.find()
        system = (torch_found.include, toolchain.find_pybind11(), toolchain.find_python_headers())
        self.flags = [
            *FLAGS,
            build_script.STABLE_ABI_FLAG,
            *(f"-I{path}" for path in (EMULATOR, SOURCES, CSRC, FOLDER)),
            *(f"-isystem{path}" for path in system),
        ]
        self.link = [
            "-shared",
            "--coverage",
            f"-L{torch_found.root / 'lib'}",
            "-Wl,--no-as-needed",
            "-ltorch_cpu",
        ]
        FOLDER.mkdir(parents=True, exist_ok=True)
        # Tests in several processes share what is built.
        self.lock = FileLock(FOLDER / "lock")
        with self.lock:
            for name in REWRITTEN:
                self._rewrite(name)

    def library(self, name: str, sources: list[Path]) -> Path:
        objects = [f"{name}/{source.stem}.o" for source in sources]
        lines = [
            "rule compile",
            f"  command = {self.compiler} {shlex.join(self.flags)} $counted -MMD -MF $out.d -c $in -o $out",
            "  deps = gcc",
            "  depfile = $out.d",
            "rule link",
            f"  command = {self.compiler} $in {shlex.join(self.link)} -o $out",
            *(
                f"build {target}: compile {self.ninja_path(source)}\n"
                f"  counted = {shlex.join(COUNTED if source in PLANNER else ())}"
                for target, source in zip(objects, sources, strict=True)
            ),
            f"build {name}.so: link {' '.join(objects)}",
        ]
        file = FOLDER / f"{name}.ninja"
        command = [self.ninja, "-C", str(FOLDER), "-f", file.name]
        with self.lock:
            file.write_text("\n".join(lines) + "\n")
            result = subprocess.run(command, capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stdout[-4000:]
        return FOLDER / f"{name}.so"

    def emulated(self, name: str) -> Path:
        return FOLDER / f"{Path(name).stem}.emulated.cpp"

    def _rewrite(self, name: str) -> None:
        pattern, replacement = REWRITTEN[name]
        text, count = re.subn(pattern, replacement, (SOURCES / name).read_text(), flags=re.DOTALL)
        assert count > 0, f"{name}: nothing there that looks like {pattern}"
        assert "<<<" not in text, f"{name}: a launch that {pattern} does not find"
        target = self.emulated(name)
        if not target.exists() or target.read_text() != text:
            target.write_text(text)


def build_probes(builder: Builder) -> ctypes.CDLL:
    """The functions of probes.cpp."""
    probes = ctypes.CDLL(builder.library("probes", [EMULATOR / "probes.cpp", EMULATOR / "emulator.cpp"]))
    probes.take_visits.restype = ctypes.POINTER(ctypes.c_int64)
    for name in ("paths", "points", "rows", "items", "lanes", "missing_lane"):
        getattr(probes, f"probe_{name}").restype = ctypes.c_char_p
    return probes


def build_module(builder: Builder) -> ModuleType:
    """Registers OPERATOR and its backward. The module has what bind_cuda adds, `run_by` and `attend`."""
    attend = ops._define(OPERATOR)
    sources = [*sorted(SOURCES.glob("*.cpp")), SOURCES / "kernels.cu"]
    chosen = [builder.emulated(path.name) if path.name in REWRITTEN else path for path in sources]
    others = [CSRC / "arguments.cpp", EMULATOR / "loops.cpp", EMULATOR / "emulator.cpp"]
    file = builder.library(MODULE, [*chosen, *others])
    loader = ExtensionFileLoader(MODULE, str(file))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(MODULE, loader))
    loader.exec_module(module)
    module.attend = attend
    return module


def start_counting_branches(module: ModuleType) -> None:
    """Of the planner, from zero: what earlier processes left when they ended would be added up."""
    for source in PLANNER:
        (FOLDER / MODULE / f"{source.stem}.gcda").unlink(missing_ok=True)
    module.start_counting_branches()


def branches_of_planner(module: ModuleType) -> dict[str, list[int]]:
    """How often each branch of each line of the planner was taken since, by "file:line: text"."""
    module.write_branch_counts()
    counts = (f"{source.stem}.gcda" for source in PLANNER)
    command = ["gcov", "--json-format", "--stdout", "--branch-probabilities", *counts]
    reports = subprocess.run(command, cwd=FOLDER / MODULE, capture_output=True, check=True).stdout
    found = {}
    for report in map(json.loads, reports.splitlines()):
        for file in report["files"]:
            source = SOURCES / Path(file["file"]).name
            if source not in PLANNER:
                continue
            text = source.read_text().splitlines()
            for line in file["lines"]:
                number = line["line_number"]
                taken = [branch["count"] for branch in line["branches"]] or [line["count"]]
                found[f"{source.name}:{number}: {text[number - 1].strip()}"] = taken
    return found


@contextlib.contextmanager
def nothing_done(module: ModuleType) -> Iterator[None]:
    """Within, OPERATOR only starts its kernels and products, which do nothing: its results are not written.

    So what it starts for maps of any size can be counted; memory that nothing touches costs none.
    """
    library = torch.library.Library("aten", "IMPL")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # kernels take the place of torch's own: so it is meant
            library.impl("bmm.out", lambda a, b, *, out: out, "CPU")
            library.impl("zero_", lambda x: x, "CPU")
            library.impl("sum.dim_IntList", _empty_sum, "CPU")
        module.run_by(module.Way.nothing)
        yield
    finally:
        module.run_by(module.Way.loops)
        library._destroy()


def _empty_sum(x: Tensor, axes: list[int], keepdim: bool = False, *, dtype=None) -> Tensor:
    assert not keepdim
    kept = [size for axis, size in enumerate(x.shape) if axis not in axes]
    return x.new_empty(kept, dtype=dtype or (torch.int64 if x.dtype == torch.bool else x.dtype))


def stand_in(monkeypatch, module: ModuleType) -> None:
    """The backend "cuda" by this module and OPERATOR, on CPU tensors."""
    monkeypatch.setitem(fused._OPERATORS, "cuda", module.attend)
    monkeypatch.setattr(
        backends.extension, "least_cuda_workspace", module.least_cuda_workspace, raising=False
    )
    here = replace(backends._BACKENDS["cuda"], unavailable=None, devices=("cpu",), refuses=lambda _: None)
    monkeypatch.setitem(backends._BACKENDS, "cuda", here)
