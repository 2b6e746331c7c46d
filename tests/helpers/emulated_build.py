"""Compiles the CUDA sources for the host, without torch: with the compiler, ninja and headers of setup.py.

Their kernels' bodies run in plain loops (tests/native/host_loops.cpp) or by kernels.cu's own launches, every
thread of them by itself (tests/native/emulator.cpp). What a shipped build needs of them setup.py builds.

    python tests/helpers/emulated_build.py  builds the module for this Python, which emulated.py loads
"""

from __future__ import annotations

import importlib.util
import re
import shlex
import subprocess
import sys
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parents[2]
CSRC = ROOT / "csrc"
SOURCES = CSRC / "cuda"
NATIVE = ROOT / "tests/native"
# Kept from one run of the tests to the next: ninja compiles what has changed.
FOLDER = ROOT / "build" / f"emulated.{sys.implementation.cache_tag}"

MODULE = "cuda_on_host"
# What becomes of a source before it is compiled: pattern and replacement.
REWRITTEN = {
    # kernel<<<grid, block, shared, stream>>>(arguments);
    SOURCES / "kernels.cu": (
        r"(\w+(?:<[^<>]+>)?)<<<(.+?)>>>\((.+?)\);",
        r'emulator::launch("\1", \2, [=] { \1(\3); });',
    ),
    NATIVE / "host_loops.cpp": (r"\bloop\b", "plain_loop"),
}
# Whose branches are counted: those that are written, without those of exceptions.
PLANNER = [SOURCES / name for name in ("tile_stages.cpp", "plan.cpp", "cost.cpp", "octet_plan.cpp")]
COUNTED = ("--coverage", "-O0", "-fno-exceptions")
COUNTS = "-DCA_COUNTS_BRANCHES"
FLAGS = [
    *("-std=c++17", "-O1", "-fPIC", "-fvisibility=hidden", "-Wall", "-Wextra", "-Wno-unknown-pragmas"),
    # A shuffle is told by its address: none may be copied into several branches, nor reached by a jump.
    *("-fno-thread-jumps", "-fno-optimize-sibling-calls"),
    # One order of roundings for a body, whatever it is inlined into.
    "-ffp-contract=off",
    # The emulator's longjmp from stack to stack is what fortified C libraries take for an error.
    *("-U_FORTIFY_SOURCE", "-D_FORTIFY_SOURCE=0"),
]


def load_build_script() -> ModuleType:
    """setup.py as a module."""
    spec = importlib.util.spec_from_file_location("contextual_attention_setup", ROOT / "setup.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up by name
    spec.loader.exec_module(module)
    return module


class Builder:
    """Compiles sources into shared libraries, by the compiler, ninja and torch of setup.py.

    Args:
        build_script: setup.py as a module.
        counts_branches: Of the planner; what counts is written where it was compiled, at the latest at exit.
    """

    def __init__(self, build_script: ModuleType, counts_branches: bool = True) -> None:
        # Nothing that only loads what was built needs it.
        from filelock import FileLock

        toolchain = build_script.Toolchain
        self.ninja_path = build_script.ninja_path
        self.ninja = toolchain.find_ninja()
        self.compiler = shlex.join(toolchain.find_compiler())
        torch_found = build_script.setup_torch.find()
        system = (torch_found.include, toolchain.find_pybind11(), toolchain.find_python_headers())
        state = build_script.load_interface().State.of(CSRC, has_cuda=True)
        # What single sources are compiled with besides.
        self.own_flags = {CSRC / "common/state.cpp": [f'-DCA_STATE="{state}"']}
        if counts_branches:
            self.own_flags |= {**dict.fromkeys(PLANNER, COUNTED), NATIVE / "ways.cpp": [COUNTS]}
        self.flags = [
            *FLAGS,
            build_script.STABLE_ABI_FLAG,
            *(f"-I{path}" for path in (NATIVE, SOURCES, CSRC, FOLDER)),
            *(f"-isystem{path}" for path in system),
        ]
        self.link = [
            "-shared",
            *(["--coverage"] if counts_branches else ["-s"]),
            f"-L{torch_found.root / 'lib'}",
            "-Wl,--no-as-needed",
            "-ltorch_cpu",
        ]
        FOLDER.mkdir(parents=True, exist_ok=True)
        # Tests in several processes share what is built.
        self.lock = FileLock(FOLDER / "lock")
        with self.lock:
            for source in REWRITTEN:
                self._rewrite(source)

    def library(self, name: str, sources: list[Path]) -> Path:
        objects = [f"{name}/{source.stem}.o" for source in sources]
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

    def module(self) -> Path:
        """The pipeline as an operator, with what bind_cuda adds and `run_by`."""
        sources = [*sorted(SOURCES.glob("*.cpp")), *sorted((CSRC / "common").glob("*.cpp"))]
        tests_own = [NATIVE / "ways.cpp", NATIVE / "emulator.cpp"]
        return self.library(MODULE, [*sources, *map(self.rewritten, REWRITTEN), *tests_own])

    def rewritten(self, source: Path) -> Path:
        return FOLDER / f"{source.stem}.emulated.cpp"

    def _rewrite(self, source: Path) -> None:
        pattern, replacement = REWRITTEN[source]
        text, count = re.subn(pattern, replacement, source.read_text(), flags=re.DOTALL)
        assert count > 0, f"{source.name}: nothing there that looks like {pattern}"
        assert "<<<" not in text, f"{source.name}: a launch that {pattern} does not find"
        target = self.rewritten(source)
        if not target.exists() or target.read_text() != text:
            target.write_text(text)


if __name__ == "__main__":
    print(Builder(load_build_script(), counts_branches=False).module())
