"""Which backends exist here, which can run a problem, and why the others cannot.

The one place that imports the compiled extension and remembers why it could not be.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from types import ModuleType

import torch

from . import ops  # noqa: F401  (defines the operators that the extension's kernels register for)

extension: ModuleType | None
extension_error: str | None
try:
    # Not `from . import _C`: where it is missing, that blames a circular import.
    extension = import_module("._C", __package__)
except ImportError as error:
    extension = None
    extension_error = f"the compiled extension contextual_attention._C did not load: {error}"
else:
    extension_error = None


@dataclass(frozen=True)
class _Backend:
    unavailable: str | None  # why it cannot run anything here
    devices: tuple[str, ...] | None  # None: any
    dtypes: tuple[torch.dtype, ...]

    def refusal(self, device: torch.device, dtype: torch.dtype) -> str | None:
        """Why it cannot run a problem in this place and dtype; None if it can."""
        if self.unavailable is not None:
            return self.unavailable
        if self.devices is not None and device.type not in self.devices:
            return f"it runs on {_list(self.devices)}, and the operands are on {device}"
        if dtype not in self.dtypes:
            return f"it computes in {_list(self.dtypes)}, and the operands are {dtype}"
        return None


_FUSED_DTYPES = (torch.float32, torch.bfloat16, torch.float16)

# Fastest first: the order in which `choose` tries them.
_BACKENDS = {
    "cpu": _Backend(extension_error, ("cpu",), _FUSED_DTYPES),
    "reference": _Backend(None, None, (*_FUSED_DTYPES, torch.float64)),
}


def available_backends() -> dict[str, str | None]:
    """Every backend by name, fastest first: None if it is usable here, else the reason why it is not.

    Whether one can run a given problem also depends on the device and the dtype of the operands: ``"cpu"``
    takes CPU tensors in float32, bfloat16 and float16, ``"reference"`` takes everything.

    Example:
        >>> available_backends()["reference"] is None
        True
    """
    return {name: backend.unavailable for name, backend in _BACKENDS.items()}


def choose(name: str | None, device: torch.device, dtype: torch.dtype) -> str:
    """The backend to run a problem: the one named, or the fastest that can.

    Raises:
        TypeError: ``name`` is neither None nor a string.
        ValueError: No backend of this name, or it does not take operands of this device or dtype.
        RuntimeError: It does not exist in this installation.
    """
    if name is None:
        return next(each for each, backend in _BACKENDS.items() if backend.refusal(device, dtype) is None)
    if not isinstance(name, str):
        raise TypeError(f"backend: expected None or one of {_list(_BACKENDS)}, got {name!r}")
    if name not in _BACKENDS:
        raise ValueError(f"backend: expected None or one of {_list(_BACKENDS)}, got {name!r}")
    refusal = _BACKENDS[name].refusal(device, dtype)
    if refusal is not None:
        kind = ValueError if _BACKENDS[name].unavailable is None else RuntimeError
        raise kind(f'backend: {name!r} cannot run this: {refusal}; backend="reference" can')
    return name


def refusals(device: torch.device, dtype: torch.dtype) -> dict[str, str]:
    """The backends that cannot run a problem, each with its reason."""
    reasons = {name: backend.refusal(device, dtype) for name, backend in _BACKENDS.items()}
    return {name: reason for name, reason in reasons.items() if reason is not None}


def _list(names: object) -> str:
    return ", ".join(map(str, names))
