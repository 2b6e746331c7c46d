"""Builds the compiled half of the package, ``contextual_attention_C``; everything else is in pyproject.toml.

One shared object holds the operators and a small pybind11 module. It is built against LibTorch's stable ABI:
it has no C++ symbol of torch's, so one build serves torch 2.11 and every later version, whichever of them
lent its headers. PyTorch's own ``BuildExtension`` is not used, because it has no flags for a single file,
which the SIMD levels need; and torch is not imported, only looked for, because pip's isolated builds hide it.

Environment variables:
    CXX         the C++17 compiler (default: the first of g++, c++, clang++ on PATH)
    CXXFLAGS    further flags of every compilation
    LDFLAGS     further flags of the link
    MAX_JOBS    how many files are compiled at once (default: ninja's choice, by the number of cores)
    CA_TORCH    which torch lends its headers (setup_torch.py)
    CA_CUDA, CUDA_HOME, TORCH_CUDA_ARCH_LIST
                whether and how to build for CUDA (setup_cuda.py)
"""

from __future__ import annotations

import importlib.util
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from setuptools import Extension, setup
from setuptools.command.build import build
from setuptools.command.build_ext import build_ext
from setuptools.command.dist_info import dist_info
from setuptools.errors import CompileError, PlatformError

# pip does not put the folder of this file on the path.
sys.path.insert(0, str(Path(__file__).resolve().parent))
import setup_cuda
import setup_torch

del sys.path[0]


def load_interface() -> ModuleType:
    """contextual_attention/interface.py without the package around it, which needs torch."""
    file = Path(__file__).resolve().parent / "contextual_attention/interface.py"
    spec = importlib.util.spec_from_file_location("contextual_attention_interface", file)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up by name
    spec.loader.exec_module(module)
    return module


# Relative, as setuptools wants them: it runs this file in the file's own directory.
SOURCES = sorted(Path("csrc").glob("**/*.cpp"))
CUDA_SOURCES = sorted(Path("csrc/cuda").glob("*.cu"))

# No -ffast-math: the kernels rely on infinities and NaNs. No -fopenmp: torch's thread pool is the only one.
COMMON_FLAGS = [
    *("-std=c++17", "-O3", "-fPIC", "-fvisibility=hidden", "-Wall", "-Wextra"),
    *("-fopenmp-simd", "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=fast"),
]

# As exact as the host's: no -use_fast_math.
CUDA_FLAGS = ["-std=c++17", "-O3", "-Xcompiler=-fPIC,-fvisibility=hidden", "--threads=0"]

# Limits the headers to what torch 2.11's stable ABI offers, so that the result runs there too.
STABLE_ABI_FLAG = "-DTORCH_TARGET_VERSION=0x020b000000000000"

# The filters throw nothing: without exceptions no level refers to the handler that all would share.
SIMD_FLAGS = {
    "base": ["-fno-exceptions"],
    "avx2": ["-fno-exceptions", "-mavx2", "-mfma", "-mf16c"],
    "avx512": [
        *("-fno-exceptions", "-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl"),
        *("-mfma", "-mf16c", "-mprefer-vector-width=512"),
    ],
}


@dataclass(frozen=True)
class Unit:
    """One compilation: a source, what tells its object from others of the same source, and its own flags."""

    source: Path
    flags: list[str]
    variant: str = ""
    rule: str = "compile"

    @property
    def object(self) -> str:
        return str(self.source.with_suffix(f".{self.variant}.o" if self.variant else ".o"))


def is_simd_source(source: Path) -> bool:
    """Whether a source is compiled once per SIMD level, into a namespace of that level's name."""
    return source.parent.name == "cpu" and source.stem.startswith("filters")


def sources(with_cuda: bool) -> list[Path]:
    """The C++ files of a build."""
    return [source for source in SOURCES if with_cuda or source.parent.name != "cuda"]


def simd_levels() -> list[str]:
    is_x86 = platform.machine().lower() in ("x86_64", "amd64")
    return list(SIMD_FLAGS) if is_x86 else ["base"]


def units(tools: Toolchain) -> Iterator[Unit]:
    """Every compilation of the extension.

    The SIMD sources do not see torch's headers: an inline function of a header, compiled once per level, is
    merged by the linker, and if the AVX-512 copy survives, an older processor crashes in baseline code.
    """
    torch_flags = [STABLE_ABI_FLAG, f"-isystem{tools.torch.include}"]
    cuda_flags = []
    if tools.cuda:
        cuda_flags = [f'-DCA_CUDA_ARCHITECTURES="{";".join(tools.cuda.architectures)}"']
        yield from (Unit(source, tools.cuda.flags(), rule="compile_cuda") for source in CUDA_SOURCES)
    for source in sources(tools.cuda is not None):
        if is_simd_source(source):
            for level in simd_levels():
                yield Unit(source, [f"-DCA_SIMD_LEVEL={level}", *SIMD_FLAGS[level]], level)
        elif source.name in ("module.cpp", "bindings.cpp"):
            headers = (tools.pybind11_include, tools.python_include)
            version = f'-DCA_TORCH_HEADERS="{tools.torch.version}"'
            yield Unit(source, [version, *cuda_flags, *(f"-isystem{path}" for path in headers)])
        elif source.name == "state.cpp":
            state = load_interface().State.of(Path("csrc"), tools.cuda is not None)
            yield Unit(source, [f'-DCA_STATE="{state}"'])
        else:
            yield Unit(source, [*torch_flags, *(cuda_flags if source.parent.name == "cuda" else [])])


class Toolchain:
    """The programs and headers of a build; construction fails with what is missing and the way out."""

    def __init__(self) -> None:
        if sys.platform != "linux":
            raise PlatformError(f"the extension builds on Linux only, this is {sys.platform}")
        self.compiler = self.find_compiler()
        self.ninja = self.find_ninja()
        self.pybind11_include = self.find_pybind11()
        self.torch = setup_torch.find()
        self.python_include = self.find_python_headers()
        self.cuda = setup_cuda.Cuda.find(self.compiler)

    @staticmethod
    def find_compiler() -> list[str]:
        chosen = shlex.split(os.environ.get("CXX", ""))
        candidates = [chosen] if chosen else [["g++"], ["c++"], ["clang++"]]
        for command in candidates:
            if shutil.which(command[0]):
                return command
        names = ", ".join(command[0] for command in candidates)
        raise PlatformError(
            f"no C++17 compiler: {names} not found on PATH; install one (apt-get install g++)"
            " or name one in the environment variable CXX"
        )

    @staticmethod
    def find_ninja() -> str:
        if importlib.util.find_spec("ninja"):
            from ninja import BIN_DIR  # Not on PATH where the environment is not active.

            return str(Path(BIN_DIR, "ninja"))
        if program := shutil.which("ninja"):
            return program
        raise PlatformError("the build program ninja is missing; run `pip install ninja`")

    @staticmethod
    def find_python_headers() -> str:
        include = sysconfig.get_path("include")
        if not Path(include, "Python.h").exists():
            raise PlatformError(
                f"Python's headers are missing: no Python.h in {include}; apt-get install python3-dev"
            )
        return include

    @staticmethod
    def find_pybind11() -> str:
        if not importlib.util.find_spec("pybind11"):
            raise PlatformError("the headers of pybind11 are missing; run `pip install 'pybind11>=2.13'`")
        import pybind11

        return pybind11.get_include()


class NinjaBuild(build_ext):
    """setuptools' ``build_ext`` with ninja as its builder: flags per file, parallel and incremental."""

    def build_extension(self, ext: Extension) -> None:
        tools = Toolchain()
        build_file = self.folder().resolve() / "build.ninja"
        build_file.parent.mkdir(parents=True, exist_ok=True)
        target = Path(self.get_ext_fullpath(ext.name)).resolve()
        target.parent.mkdir(parents=True, exist_ok=True)
        build_file.write_text(ninja_file(tools, target))
        jobs = [f"-j{os.environ['MAX_JOBS']}"] if os.environ.get("MAX_JOBS") else []
        result = subprocess.run([tools.ninja, "-C", str(build_file.parent), *jobs], check=False)
        if result.returncode != 0:
            raise CompileError(f"{ext.name} could not be built: the first message above says why")

    def folder(self) -> Path:
        """Where objects are kept: also of an editable install, which has a temporary folder for them, so
        that `make build` after it finds them."""
        if not self.editable_mode:
            return Path(self.build_temp)
        return Path("build", f"temp.{sysconfig.get_platform()}-{sys.implementation.cache_tag}")


class FreshBuild(build):
    """setuptools' ``build`` into an empty folder: a wheel would else hold what once was in the package."""

    def run(self) -> None:
        shutil.rmtree(self.build_lib, ignore_errors=True)
        super().run()


class Metadata(dist_info):
    """setuptools' ``dist_info``, the first that pip asks for: before it downloads anything or builds."""

    def run(self) -> None:
        setup_torch.find()
        super().run()


def ninja_file(tools: Toolchain, target: Path) -> str:
    """The text of build.ninja: one rule to compile, one to link, one edge per object."""
    # libtorch_cpu must be on the list of needed libraries although `import torch` has loaded it: its symbols
    # are visible only to those that name it. No rpath: the loader takes the loaded one.
    link = ["-shared", f"-L{tools.torch.root / 'lib'}", "-Wl,--no-as-needed", "-ltorch_cpu"]
    if tools.cuda:
        link += tools.cuda.link_flags()
    compiler = shlex.join(tools.compiler)
    cxxflags, ldflags = os.environ.get("CXXFLAGS", ""), os.environ.get("LDFLAGS", "")
    lines = [
        "rule compile",
        f"  command = {compiler} {shlex.join(COMMON_FLAGS)} $flags {cxxflags} -MMD -MF $out.d -c $in -o $out",
        "  deps = gcc",
        "  depfile = $out.d",
        *(cuda_rule(tools.cuda, tools.compiler) if tools.cuda else []),
        "rule link",
        f"  command = {compiler} $in {shlex.join(link)} {ldflags} -o $out",
    ]
    objects = []
    for unit in units(tools):
        objects.append(ninja_path(unit.object))
        lines += [
            f"build {objects[-1]}: {unit.rule} {ninja_path(unit.source.resolve())}",
            f"  flags = {shlex.join(unit.flags)}",
        ]
    lines.append(f"build {ninja_path(target)}: link {' '.join(objects)}")
    return "\n".join(lines) + "\n"


def cuda_rule(cuda: setup_cuda.Cuda, compiler: list[str]) -> list[str]:
    command = shlex.join([cuda.nvcc, "-ccbin", compiler[0], *CUDA_FLAGS])
    return [
        "rule compile_cuda",
        f"  command = {command} $flags -MMD -MF $out.d -c $in -o $out",
        "  deps = gcc",
        "  depfile = $out.d",
    ]


def ninja_path(path: str | Path) -> str:
    return re.sub(r"([ :$])", r"$\1", str(path))


if __name__ == "__main__":
    setup(
        ext_modules=[Extension("contextual_attention_C", list(map(str, SOURCES)))],
        cmdclass={"build": FreshBuild, "build_ext": NinjaBuild, "dist_info": Metadata},
        setup_requires=setup_torch.fetched_requirements(),
    )
