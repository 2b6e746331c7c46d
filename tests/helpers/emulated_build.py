"""Compiles the CUDA sources for the host, without torch: with the compiler, ninja and headers of setup.py.

Their kernels' bodies run in plain loops (tests/native/host_loops.cpp) or by kernels.cu's own launches, every
thread of them by itself (tests/native/emulator.cpp). What a shipped build needs of them setup.py builds.

    python tests/helpers/emulated_build.py  builds the module for this Python, which emulated.py loads
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import ModuleType

if __name__ == "__main__":
    # A program finds its own folder, not the one around it.
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from helpers import native_build
from helpers.native_build import CSRC, NATIVE, folder_of, load_build_script

SOURCES = CSRC / "cuda"
FOLDER = folder_of("emulated")

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
    "-Wno-unknown-pragmas",
    # A shuffle is told by its address: none may be copied into several branches, nor reached by a jump.
    *("-fno-thread-jumps", "-fno-optimize-sibling-calls"),
    # One order of roundings for a body, whatever it is inlined into.
    "-ffp-contract=off",
    # The emulator's longjmp from stack to stack is what fortified C libraries take for an error.
    *("-U_FORTIFY_SOURCE", "-D_FORTIFY_SOURCE=0"),
]


class EmulatedBuilder(native_build.Builder):
    """Of sources that may be those of CUDA.

    Args:
        build_script: setup.py as a module.
        counts_branches: Of the planner; what counts is written where it was compiled, at the latest at exit.
    """

    def __init__(self, build_script: ModuleType, counts_branches: bool = True) -> None:
        torch_found = build_script.setup_torch.find()
        state = build_script.load_interface().State.of(CSRC, has_cuda=True)
        own_flags = {CSRC / "common/state.cpp": [f'-DCA_STATE="{state}"']}
        if counts_branches:
            own_flags |= {**dict.fromkeys(PLANNER, COUNTED), NATIVE / "ways.cpp": [COUNTS]}
        super().__init__(
            build_script,
            FOLDER,
            includes=[SOURCES, FOLDER],
            flags=[*FLAGS, build_script.STABLE_ABI_FLAG, f"-isystem{torch_found.include}"],
            link=[
                "--coverage" if counts_branches else "-s",
                f"-L{torch_found.root / 'lib'}",
                "-Wl,--no-as-needed",
                "-ltorch_cpu",
            ],
            own_flags=own_flags,
        )
        with self.lock:
            for source in REWRITTEN:
                self._rewrite(source)

    def module(self) -> Path:
        """The pipeline as an operator, with what bind_cuda adds, `plan` and `run_by`."""
        sources = [*sorted(SOURCES.glob("*.cpp")), *sorted((CSRC / "common").glob("*.cpp"))]
        tests_own = [NATIVE / f"{name}.cpp" for name in ("ways", "plans", "emulator")]
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
    print(EmulatedBuilder(load_build_script(), counts_branches=False).module())
