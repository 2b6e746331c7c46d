"""What a fresh interpreter finds of the package here, as every later step begins.

The step `load` starts it, again after a build. A line of JSON tells each field of `load.Look` as soon as it
is known, for what comes next may end the process.
"""

from __future__ import annotations

import importlib
import json
import os
import time
from typing import Any


def look(device: str) -> None:
    start = time.monotonic()
    import torch

    seconds = {"torch": round(time.monotonic() - start, 2)}
    _tell(torch=torch.__version__)
    no_device = _no_device(device)
    if device == "cuda" and no_device is None:
        _tell(capability=torch.cuda.get_device_capability())
    start = time.monotonic()
    from contextual_attention import backends

    seconds["contextual_attention"] = round(time.monotonic() - start, 2)
    if backends.extension is not None:
        file = backends.extension.__file__
        about = {"file": file, "bytes": os.path.getsize(file), "import_seconds": seconds}
        _tell(module={**about, "build": backends.extension.build_info()})
    place = torch.device("cuda", 0) if device == "cuda" else torch.device(device)
    refusals = backends.refusals(place, torch.float32)
    if no_device is not None:
        refusals |= dict.fromkeys(("cuda", "triton"), no_device)
    elif device == "cuda" and "triton" not in refusals and (reason := _does_not_import(_KERNELS)):
        refusals["triton"] = reason
    _tell(refusals=refusals)
    _tell(host_loops=_host_loops())


_KERNELS = "contextual_attention.triton.operator"


def _no_device(device: str) -> str | None:
    """Why CUDA cannot be had; what torch.cuda.is_available() keeps to itself."""
    import torch

    if device != "cuda":
        return None
    try:
        torch.cuda.init()
    except Exception as error:  # AssertionError, RuntimeError: as the driver has it
        return f"CUDA: {_in_words(error)}"
    return None


def _does_not_import(name: str) -> str | None:
    try:
        importlib.import_module(name)
    except Exception as error:  # whatever a version of triton has against the kernels
        return f"{name}: {_in_words(error)}"
    return None


def _host_loops() -> tuple[str, str | None]:
    """State and reason, of what tests/helpers/emulated_build.py builds."""
    from helpers import emulated

    try:
        module = emulated.load_ready_made()
    except ImportError as error:
        return "failed", str(error)
    return ("left out", "not built for this Python: make gpu-bundle") if module is None else ("passed", None)


def _in_words(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def _tell(**field: Any) -> None:
    print(json.dumps(field), flush=True)
