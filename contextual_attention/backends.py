"""Which backends exist here, which can run a problem, and why the others cannot.

The one place that remembers why the compiled extension could not be loaded.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from types import ModuleType
from typing import NamedTuple

import torch
from torch import Tensor

from . import features, operators
from .extension import load as load_extension
from .graphs import constant_in_graphs
from .problem import Problem

extension: ModuleType | None
extension_error: str | None
try:
    extension = load_extension()
except ImportError as error:
    extension = None
    extension_error = f"the compiled extension did not load: {error}"
else:
    extension_error = None


class Kernels(NamedTuple):
    """What a fused backend is made of."""

    attend_map: Callable[..., tuple[Tensor, Tensor, Tensor]]  # by interface.ATTEND_MAP
    # The smallest bound on the score scratch under which they can work on a problem, forward or `backward`.
    least_workspace: Callable[[Problem, bool], int]
    road: features.Road = features.TENSOR_CODE  # what they take is worked out by


@dataclass(frozen=True)
class _Backend:
    # Why it cannot run anything here; a function where looking into it at the import would be rude.
    unavailable: str | Callable[[], str | None] | None
    devices: tuple[str, ...] | None  # None: any
    dtypes: tuple[torch.dtype, ...]
    # Why it cannot run on one of those devices; None if it can.
    refuses: Callable[[torch.device], str | None] = lambda _: None
    kernels: Kernels | None = None  # None: it is not fused

    def absence(self) -> str | None:
        """Why it cannot run anything here; None if it can."""
        return self.unavailable() if callable(self.unavailable) else self.unavailable

    def refusal(self, device: torch.device, dtype: torch.dtype) -> str | None:
        """Why it cannot run a problem in this place and dtype; None if it can."""
        absence = self.absence()
        if absence is not None:
            return absence
        if device.type != "meta":  # there is nothing to compute but shapes, which every backend knows
            if self.devices is not None and device.type not in self.devices:
                return f"it runs on {_list(self.devices)}, and the operands are on {device}"
            refused = self.refuses(device)
            if refused is not None:
                return refused
        if dtype not in self.dtypes:
            return f"it computes in {_list(self.dtypes)}, and the operands are {dtype}"
        return None


@cache
def _no_cuda() -> str | None:
    """Why the CUDA kernels of the extension cannot run here."""
    if extension is None:
        return extension_error
    built = extension.build_info()["cuda_architectures"]
    if not built:
        return "the extension was built without CUDA; install it again where nvcc is, with CA_CUDA=1"
    if torch.version.cuda is None:
        return f"torch {torch.__version__} is built without CUDA; install one that fits the driver"
    if not torch.cuda.is_available():
        return "torch finds no usable CUDA device or driver; torch.cuda.init() says why"
    return None


@cache
def _no_code_for(device: torch.device) -> str | None:
    """Why the CUDA kernels of the extension do not run on a device."""
    built = extension.build_info()["cuda_architectures"]
    capability = torch.cuda.get_device_capability(device)
    if any(_runs_on(capability, name) for name in built):
        return None
    have = ".".join(map(str, capability))
    return (
        f"{torch.cuda.get_device_name(device)} has compute capability {have}, and the extension holds code"
        f" for {_list(built)}; install it again with TORCH_CUDA_ARCH_LIST={have}"
    )


def _runs_on(capability: tuple[int, int], architecture: str) -> bool:
    """Whether code for an architecture ("8.0", "9.0a", "12.0+PTX") runs on such a device."""
    major, minor, kind, ptx = re.fullmatch(r"(\d+)\.(\d)([af]?)(\+PTX)?", architecture).groups()
    built_for = int(major), int(minor)
    if kind == "a":  # tied to it
        return capability == built_for
    return capability >= built_for and (ptx is not None or capability[0] == built_for[0])


@cache
def _no_triton() -> str | None:
    """Why Triton's kernels cannot run here."""
    if find_spec("triton") is None:
        return "triton is not installed: pip install triton"
    if operators.TRITON_DEVICE == "cpu":  # interpreted
        return None
    if not torch.cuda.is_available():
        built = "" if torch.version.cuda else ", and this torch is built without CUDA"
        return f"there is no usable CUDA device{built}"
    capability = torch.cuda.get_device_capability()
    if capability < _LEAST_CAPABILITY:
        have, least = (".".join(map(str, each)) for each in (capability, _LEAST_CAPABILITY))
        return f"{torch.cuda.get_device_name()} has compute capability {have}, and triton needs {least}"
    return None


_FUSED_DTYPES = (torch.float32, torch.bfloat16, torch.float16)
# The interpreter's bfloat16 is silently wrong, and its products of half precision do not exist on a CPU.
_TRITON_DTYPES = (torch.float32,) if operators.TRITON_DEVICE == "cpu" else _FUSED_DTYPES
# The oldest that Triton's compiler supports.
_LEAST_CAPABILITY = (8, 0)


def _least_cuda_workspace(problem: Problem, backward: bool) -> int:
    return extension.least_cuda_workspace(problem, backward)


def _least_cpu_workspace(problem: Problem, backward: bool) -> int:
    return extension.least_cpu_workspace(problem, torch.get_num_threads(), backward)


def _least_triton_workspace(problem: Problem, backward: bool) -> int:
    from .triton import plan

    return plan.least_workspace(problem, backward)


# Fastest first: the order in which `choose` tries them.
_BACKENDS = {
    "cuda": _Backend(
        _no_cuda,
        ("cuda",),
        _FUSED_DTYPES,
        _no_code_for,
        Kernels(operators.attend, _least_cuda_workspace, features.KERNELS),
    ),
    "cpu": _Backend(
        extension_error, ("cpu",), _FUSED_DTYPES, kernels=Kernels(operators.attend, _least_cpu_workspace)
    ),
    "triton": _Backend(
        _no_triton,
        (operators.TRITON_DEVICE,),
        _TRITON_DTYPES,
        kernels=Kernels(operators.attend_triton, _least_triton_workspace),
    ),
    "reference": _Backend(None, None, (*_FUSED_DTYPES, torch.float64)),
}


def kernels(name: str) -> Kernels:
    """What the fused backend of this name is made of."""
    found = _BACKENDS[name].kernels
    assert found is not None
    return found


def available_backends() -> dict[str, str | None]:
    """Every backend by name, fastest first: None if it is usable here, else the reason why it is not.

    Whether one can run a given problem also depends on the device and the dtype of the operands: ``"cpu"``
    takes CPU tensors in float32, bfloat16 and float16, ``"cuda"`` and ``"triton"`` the same on a CUDA
    device, ``"reference"`` takes everything.

    Examples:
        >>> available_backends()["reference"] is None
        True
    """
    return {name: backend.absence() for name, backend in _BACKENDS.items()}


@constant_in_graphs
def _refusal(name: str, device: torch.device, dtype: torch.dtype) -> str | None:
    return _BACKENDS[name].refusal(device, dtype)


def choose(name: str | None, device: torch.device, dtype: torch.dtype) -> str:
    """The backend to run a problem: the one named, or the fastest that can.

    Raises:
        TypeError: ``name`` is neither None nor a string.
        ValueError: No backend of this name, or it does not take operands of this device or dtype.
        RuntimeError: It does not exist in this installation.
    """
    if name is None:
        return next(each for each in _BACKENDS if _refusal(each, device, dtype) is None)
    if not isinstance(name, str):
        raise TypeError(f"backend: expected None or one of {_list(_BACKENDS)}, got {name!r}")
    if name not in _BACKENDS:
        raise ValueError(f"backend: expected None or one of {_list(_BACKENDS)}, got {name!r}")
    refusal = _refusal(name, device, dtype)
    if refusal is not None:
        kind = ValueError if _BACKENDS[name].absence() is None else RuntimeError
        raise kind(f'backend: {name!r} cannot run this: {refusal}; backend="reference" can')
    return name


def refusals(device: torch.device, dtype: torch.dtype) -> dict[str, str]:
    """The backends that cannot run a problem, each with its reason."""
    reasons = {name: backend.refusal(device, dtype) for name, backend in _BACKENDS.items()}
    return {name: reason for name, reason in reasons.items() if reason is not None}


def _list(names: object) -> str:
    return ", ".join(map(str, names))
