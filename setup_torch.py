"""What setup.py needs to know about torch: which installation lends its headers, and what to do without any.

torch is looked for and not imported: pip's isolated builds hide it.

Environment variables:
    CA_TORCH    fetch: where none is installed, let pip fetch one for the build (MISSING has the other ways)
"""

from __future__ import annotations

import importlib.util
import os
import re
import sys
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from setuptools.errors import PlatformError

MINIMUM = (2, 11)
# Bounded by the newest headers that the sources were built with.
REQUIREMENT = "torch>=2.11,<2.14"
# pip would fetch one for the build, and one more for the environment: with CUDA, which is the default of its
# index, gigabytes of each, without a word. So which one it is to be is asked first.
MISSING = (
    "the extension is compiled with the headers of torch 2.11 or later, and there is none in this environment"
    " (found: {}). Install the one that fits, then this package again:\n"
    "  for a CPU   pip install 'torch>=2.11' --index-url https://download.pytorch.org/whl/cpu\n"
    "  for CUDA    pip install 'torch>=2.11'\n"
    "Or let pip choose, which fetches one for the build and one to stay: CA_TORCH=fetch pip install ."
)


@dataclass(frozen=True)
class Torch:
    """A torch installation that lends its headers and its libraries' names."""

    root: Path
    version: str

    @property
    def include(self) -> Path:
        return self.root / "include"

    def is_usable(self) -> bool:
        release = re.match(r"(\d+)\.(\d+)", self.version)
        is_new = release is not None and tuple(map(int, release.groups())) >= MINIMUM
        return is_new and (self.include / "torch/csrc/stable/library.h").exists()


def installed() -> Iterator[Torch]:
    """Every torch in sight: of this interpreter, then of the environment that pip builds for.

    In pip's isolated build the first is hidden, but sysconfig still names the target's site-packages.
    """
    spec = importlib.util.find_spec("torch")
    roots = [Path(spec.origin).parent] if spec and spec.origin else []
    roots.append(Path(sysconfig.get_path("purelib"), "torch"))
    for root in roots:
        version_file = root / "version.py"
        if version_file.exists():
            version = re.search(r"^__version__ = '([^']+)'", version_file.read_text(), re.MULTILINE)
            yield Torch(root, version[1] if version else "unknown")


def find() -> Torch:
    """The first that is usable.

    Raises:
        PlatformError: There is none; says how to get the one that fits.
    """
    for torch in installed():
        if torch.is_usable():
            return torch
    found = "; ".join(f"torch {torch.version} in {torch.root}" for torch in installed())
    raise PlatformError(MISSING.format(found or "none"))


def fetched_requirements() -> list[str]:
    """What pip adds to an isolated build beyond pyproject.toml's list: torch, where that is wished for."""
    wish = os.environ.get("CA_TORCH", "")
    if wish not in ("", "fetch"):
        raise SystemExit(f"error: CA_TORCH: expected fetch or nothing, got {wish!r}")
    # Where setup.py is run by hand, setuptools itself would download it, into .eggs/.
    is_run_by_hand = Path(sys.argv[0]).name == "setup.py"
    is_missing = not any(torch.is_usable() for torch in installed())
    return [REQUIREMENT] if wish and is_missing and not is_run_by_hand else []
