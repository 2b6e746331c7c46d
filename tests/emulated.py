"""Builds the CUDA sources for the host: every thread of every launch run by itself (tests/cuda_emulator)."""

from __future__ import annotations

import ctypes
import json
import re
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType

import torch

from contextual_attention import ops

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ROOT / "csrc/cuda"
EMULATOR = Path(__file__).resolve().parent / "cuda_emulator"

OPERATOR = "attend_cuda_emulated"
# What becomes of a source before it is compiled: pattern and replacement.
REWRITTEN = {
    # kernel<<<grid, block, shared, stream>>>(arguments);
    "kernels.cu": (
        r"(\w+(?:<[^<>]+>)?)<<<(.+?)>>>\((.+?)\);",
        r'emulator::launch("\1", \2, [=] { \1(\3); });',
    ),
    "host.cpp": (r"\bloop\b", "plain_loop"),
    "ops.cpp": (r"\battend_cuda_on_host", OPERATOR),
}
# Whose branches are counted: those that are written, without those of exceptions.
PLANNER = SOURCES / "plan.cpp"
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
    """Compiles sources into shared libraries in a folder, by the compiler and torch of setup.py."""

    def __init__(self, build_script: ModuleType, folder: Path) -> None:
        self.folder = folder
        self.compiler = build_script.Toolchain.find_compiler()
        torch_found = build_script.Toolchain.find_torch()
        self.flags = [
            *FLAGS,
            build_script.STABLE_ABI_FLAG,
            *(f"-I{path}" for path in (EMULATOR, SOURCES, folder)),
            f"-isystem{torch_found.include}",
        ]
        self.link = [f"-L{torch_found.root / 'lib'}", "-Wl,--no-as-needed", "-ltorch_cpu"]
        for name in REWRITTEN:
            self._rewrite(name)

    def library(self, name: str, sources: list[Path], *link: str) -> ctypes.CDLL:
        with ThreadPoolExecutor() as pool:
            objects = list(pool.map(self._compile, sources))
        target = self.folder / f"lib{name}.so"
        self._run("-shared", *objects, *link, "-o", str(target))
        return ctypes.CDLL(str(target))

    def emulated(self, name: str) -> Path:
        return self.folder / f"{Path(name).stem}.emulated.cpp"

    def _rewrite(self, name: str) -> None:
        pattern, replacement = REWRITTEN[name]
        text, count = re.subn(pattern, replacement, (SOURCES / name).read_text(), flags=re.DOTALL)
        assert count > 0, f"{name}: nothing there that looks like {pattern}"
        assert "<<<" not in text, f"{name}: a launch that {pattern} does not find"
        self.emulated(name).write_text(text)

    def _compile(self, source: Path) -> str:
        target = self.folder / f"{source.stem}.o"
        counted = COUNTED if source.name == PLANNER.name else ()
        self._run(*self.flags, *counted, "-c", str(source), "-o", str(target))
        return str(target)

    def _run(self, *arguments: str) -> None:
        result = subprocess.run([*self.compiler, *arguments], capture_output=True, text=True, check=False)
        assert result.returncode == 0, f"{' '.join(arguments)}: {result.stderr[-2000:]}"


def branches_of_planner(builder: Builder) -> dict[str, list[int]]:
    """How often each branch of each line of plan.cpp was taken, by "line: text", as counted and written."""
    command = ["gcov", "--json-format", "--stdout", "--branch-probabilities", f"{PLANNER.stem}.gcda"]
    report = subprocess.run(command, cwd=builder.folder, capture_output=True, check=True)
    files = json.loads(report.stdout)["files"]
    (lines,) = (each["lines"] for each in files if Path(each["file"]).name == PLANNER.name)
    text = PLANNER.read_text().splitlines()
    return {
        f"{number}: {text[number - 1].strip()}": [branch["count"] for branch in line["branches"]]
        or [line["count"]]
        for line in lines
        for number in [line["line_number"]]
    }


def build_probes(builder: Builder) -> ctypes.CDLL:
    """The functions of probes.cpp."""
    probes = builder.library("probes", [EMULATOR / name for name in ("probes.cpp", "emulator.cpp")])
    probes.take_visits.restype = ctypes.POINTER(ctypes.c_int64)
    for name in ("paths", "points", "rows", "items", "lanes", "missing_lane"):
        getattr(probes, f"probe_{name}").restype = ctypes.c_char_p
    return probes


def build_operator(builder: Builder) -> ctypes.CDLL:
    """Registers OPERATOR and its backward; the library's set_order says how they run."""
    ops._define(OPERATOR, f"{OPERATOR}_backward")
    sources = [*sorted(SOURCES.glob("*.cpp")), SOURCES / "kernels.cu"]
    chosen = [builder.emulated(path.name) if path.name in REWRITTEN else path for path in sources]
    others = [SOURCES.parent / "arguments.cpp", EMULATOR / "loops.cpp", EMULATOR / "emulator.cpp"]
    library = builder.library("emulated", [*chosen, *others], *builder.link, "--coverage")
    assert hasattr(torch.ops.contextual_attention, OPERATOR)
    return library
