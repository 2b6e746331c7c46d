"""The CUDA pipeline on the host: an operator on CPU tensors, of the module that emulated_build.py compiles.

It may also lie ready-made, beside the extension that `make gpu-bundle` builds for a machine with a GPU: there
the results of a GPU are compared with its, and nothing is compiled.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import subprocess
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import ModuleType

import torch
from torch import Tensor

from contextual_attention import backends, cells, extension, features, operators, positions
from helpers import native_build
from helpers.emulated_build import FOLDER, MODULE, PLANNER, SOURCES, EmulatedBuilder
from helpers.native_build import NATIVE

OPERATOR = "attend_on_host"

_LIBRARY = torch.library.Library("aten", "IMPL")


def _widened_product(a: Tensor, b: Tensor, out_dtype: torch.dtype, *, out: Tensor) -> Tensor:
    """Of half precision, with sums in float32: a CPU's products do not widen, a GPU's do."""
    return torch.bmm(a.to(out_dtype), b.to(out_dtype), out=out)


def build_probes(builder: EmulatedBuilder) -> ctypes.CDLL:
    """The functions of probes.cpp."""
    probes = ctypes.CDLL(builder.library("probes", [NATIVE / "probes.cpp", NATIVE / "emulator.cpp"]))
    probes.take_visits.restype = ctypes.POINTER(ctypes.c_int64)
    for name in ("paths", "octets", "octets_of_four", "points", "rows", "items", "lanes", "missing_lane"):
        getattr(probes, f"probe_{name}").restype = ctypes.c_char_p
    return probes


def build_module(builder: EmulatedBuilder) -> ModuleType:
    """What `load_module` gives, of the sources as they are."""
    return load_module(builder.module())


def load_ready_made() -> ModuleType | None:
    """The module that was built before for this Python; None: there is none.

    Raises:
        ImportError: It was built from other sources, or it cannot be loaded.
    """
    file = FOLDER / f"{MODULE}.so"
    if not file.exists():
        return None
    other = extension.differs_from(file)
    if other is not None:
        state = f"{file} was built from another state of the sources than {other}"
        raise ImportError(f"{state}; `make gpu-bundle` builds it for Python 3.12", name=MODULE)
    return load_module(file)


@cache
def load_module(file: Path) -> ModuleType:
    """Registers OPERATOR and its backward, and what is around it.

    The module has what bind_cuda adds, `plan`, `run_by`, `attend` and `road`, of features.py.
    """
    _LIBRARY.impl("bmm.dtype_out", _widened_product, "CPU")
    attend = operators.define(OPERATOR)
    road = features.define("_on_host")
    for each in CELLS:
        schema = str(each._opoverload._schema).partition("(")
        operators._library.define(f"{on_host(each)}({schema[2]}")
    module = native_build.load_library(MODULE, file)
    module.attend = attend
    module.road = road
    return module


# The operators of cells.py, which have kernels for the CPU, for CUDA, and tensor code.
CELLS = (cells._cut, cells._join, cells.paste, cells._lift)


def on_host(operator) -> str:
    """What the CUDA kernels of one of CELLS are called on the host."""
    return f"{operator._name}_on_host"


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
def nothing_done(module: ModuleType, converts: bool = True) -> Iterator[None]:
    """Within, OPERATOR only starts its kernels and products, which do nothing: its results are not written.

    So what it starts for maps of any size can be counted; memory that nothing touches costs none. Of half
    precision a CPU converts the operands of products, unless not even that is done: `converts`.
    """
    library = torch.library.Library("aten", "IMPL")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # kernels take the place of torch's own: so it is meant
            library.impl("bmm.out", lambda a, b, *, out: out, "CPU")
            library.impl("bmm.dtype_out", lambda a, b, dtype, *, out: out, "CPU")
            library.impl("zero_", lambda x: x, "CPU")
            library.impl("sum.dim_IntList", _empty_sum, "CPU")
            if not converts:
                library.impl("_to_copy", lambda x, *, dtype, **_: x.new_empty(x.shape, dtype=dtype), "CPU")
        module.run_by(module.Way.nothing)
        yield
    finally:
        module.run_by(module.Way.loops)
        library._destroy()


def _empty_sum(x: Tensor, axes: list[int], keepdim: bool = False, *, dtype=None) -> Tensor:
    assert not keepdim
    summed = {axis % x.dim() for axis in axes}
    kept = [size for axis, size in enumerate(x.shape) if axis not in summed]
    return x.new_empty(kept, dtype=dtype or (torch.int64 if x.dtype == torch.bool else x.dtype))


@contextlib.contextmanager
def replaced(kernels: dict[str, Callable]) -> Iterator[None]:
    """Within, operators of this package run by other kernels on CPU tensors."""
    library = torch.library.Library(operators.NAMESPACE, "IMPL")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a kernel takes the place of another: so it is meant
            for name, kernel in kernels.items():
                library.impl(name, kernel, "CPU")
        yield
    finally:
        library._destroy()


def generic_maps() -> contextlib.AbstractContextManager:
    """Within, the operators of maps that have kernels for the CPU run as where they have none."""
    return replaced({each._name: each._init_fn for each in (*CELLS, positions._pick, positions._place)})


def cuda_maps() -> contextlib.AbstractContextManager:
    """Within, those that have CUDA kernels run by these, once `load_module` has been called."""
    return replaced(
        {each._name: getattr(torch.ops.contextual_attention, on_host(each)).default for each in CELLS}
    )


def stand_in(monkeypatch, module: ModuleType) -> None:
    """The backend "cuda" by this module and OPERATOR, on CPU tensors."""
    kernels = backends.Kernels(module.attend, module.least_cuda_workspace, module.road)
    here = replace(
        backends._BACKENDS["cuda"],
        unavailable=None,
        devices=("cpu",),
        refuses=lambda _: None,
        kernels=kernels,
    )
    monkeypatch.setitem(backends._BACKENDS, "cuda", here)
