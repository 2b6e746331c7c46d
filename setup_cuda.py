"""What setup.py needs to know about CUDA: whether to build for it, by which nvcc, for which architectures.

Environment variables:
    CA_CUDA               1: build the CUDA kernels or fail; 0: do not; auto (default): if there is an nvcc
    CUDA_HOME             the toolkit whose bin/nvcc is taken (default: nvcc on PATH, then /usr/local/cuda)
    TORCH_CUDA_ARCH_LIST  architectures such as "8.0;9.0a;12.0+PTX" (default: those of this machine's GPUs, or
                          without one the list below, as far as nvcc knows them)
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path

from setuptools.errors import PlatformError

# Ampere, Hopper, Blackwell; later ones compile the last one's PTX.
DEFAULT_ARCHITECTURES = ("8.0", "9.0a", "12.0+PTX")

# What the headers of the kernels need of a toolkit.
_PROBE = "#include <cuda_bf16.h>\n#include <cuda_fp16.h>\n__global__ void probe(float* x) { *x = 0; }\n"


@dataclass(frozen=True)
class Cuda:
    """A toolkit that compiles for these architectures."""

    nvcc: str
    root: Path
    architectures: tuple[str, ...]

    def flags(self) -> list[str]:
        """What nvcc is told of the architectures."""
        return [flag for name in self.architectures for flag in architecture_flags(name)]

    def link_flags(self) -> list[str]:
        """The static runtime: the module must load where no CUDA is."""
        folders = (self.root / "lib64", *sorted(self.root.glob("targets/*/lib")), self.root / "lib")
        for folder in folders:
            if (folder / "libcudart_static.a").exists():
                return [str(folder / "libcudart_static.a"), "-ldl", "-lrt", "-lpthread"]
        raise PlatformError(f"no libcudart_static.a in the CUDA toolkit {self.root}; install all of it")

    @staticmethod
    def find(compiler: list[str]) -> Cuda | None:
        """The toolkit to build with; None to build without.

        Raises:
            PlatformError: CA_CUDA asks for CUDA and it cannot be had, or a variable makes no sense.
        """
        wish = os.environ.get("CA_CUDA", "auto")
        if wish not in ("0", "1", "auto"):
            raise PlatformError(f"CA_CUDA: expected 0, 1 or auto, got {wish!r}")
        if wish == "0":
            return None
        nvcc = find_nvcc()
        if nvcc is None:
            if wish == "1":
                raise PlatformError(
                    "CA_CUDA=1, but there is no nvcc on PATH, in $CUDA_HOME/bin or in /usr/local/cuda/bin;"
                    " install the CUDA toolkit or set CUDA_HOME"
                )
            return None
        try:
            return working_toolkit(nvcc, compiler)
        except PlatformError as error:
            if wish == "1":
                raise
            warnings.warn(f"building without CUDA: {error}; CA_CUDA=0 silences this", stacklevel=2)
            return None


def find_nvcc() -> str | None:
    if home := os.environ.get("CUDA_HOME"):
        return shutil.which("nvcc", path=str(Path(home, "bin")))
    return shutil.which("nvcc") or shutil.which("nvcc", path="/usr/local/cuda/bin")


def working_toolkit(nvcc: str, compiler: list[str]) -> Cuda:
    """The toolkit of this nvcc, once it has compiled a line for the architectures."""
    architectures = wanted_architectures(nvcc)
    flags = [flag for name in architectures for flag in architecture_flags(name)]
    with tempfile.TemporaryDirectory() as folder:
        probe = Path(folder, "probe.cu")
        probe.write_text(_PROBE)
        command = [nvcc, "-ccbin", compiler[0], *flags, "-c", str(probe), "-o", str(probe.with_suffix(".o"))]
        result = run(command)
        if result.returncode != 0:
            raise PlatformError(
                f"{nvcc} does not compile for {';'.join(architectures)}: {result.stderr.strip()[-500:]}"
            )
        # nvcc may be a wrapper that lies elsewhere than its toolkit.
        dry = run([nvcc, "--dryrun", "-E", str(probe)])
    top = re.search(r"^#\$ TOP=(.+)$", dry.stderr, re.MULTILINE)
    if top is None:
        raise PlatformError(f"{nvcc} --dryrun does not name its toolkit (no line TOP=)")
    cuda = Cuda(nvcc, Path(top[1].strip()).resolve(), architectures)
    cuda.link_flags()
    return cuda


def wanted_architectures(nvcc: str) -> tuple[str, ...]:
    if listed := os.environ.get("TORCH_CUDA_ARCH_LIST"):
        return parse_architectures(listed)
    if own := architectures_of_this_machine():
        return own
    known = run([nvcc, "--list-gpu-code"]).stdout.split()
    # It lists sm_90, and means sm_90a as well.
    return tuple(name for name in DEFAULT_ARCHITECTURES if f"sm_{_number(name).rstrip('a')}" in known)


def parse_architectures(listed: str) -> tuple[str, ...]:
    """The names in a list as TORCH_CUDA_ARCH_LIST has them, divided by semicolons or spaces."""
    names = tuple(re.split(r"[;\s]+", listed.strip("; \t\n")))
    for name in names:
        if not re.fullmatch(r"\d+\.\d[af]?(\+PTX)?", name):
            raise PlatformError(
                f"TORCH_CUDA_ARCH_LIST: expected names such as 8.0, 9.0a or 12.0+PTX, got {name!r}"
            )
    return names


def architecture_flags(name: str) -> list[str]:
    """9.0a -> code for sm_90a; with +PTX also PTX, from which a driver compiles for later devices."""
    number = _number(name)
    flags = [f"-gencode=arch=compute_{number},code=sm_{number}"]
    if name.endswith("+PTX"):
        flags.append(f"-gencode=arch=compute_{number},code=compute_{number}")
    return flags


def architectures_of_this_machine() -> tuple[str, ...]:
    if shutil.which("nvidia-smi") is None:
        return ()
    found = run(["nvidia-smi", "--query-gpu=compute_cap", "--format=csv,noheader"])
    return tuple(sorted(set(re.findall(r"^\d+\.\d$", found.stdout, re.MULTILINE))))


def run(command: list[str]) -> subprocess.CompletedProcess:
    return subprocess.run(command, capture_output=True, text=True, check=False)


def _number(name: str) -> str:
    return name.removesuffix("+PTX").replace(".", "")
