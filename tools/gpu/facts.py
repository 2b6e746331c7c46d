"""The machine: its GPU and software, and its rates, which are the floor of all times there.

python -m tools.gpu.facts --records FILE [--device cpu]

A record for each fact as soon as it is known; one that cannot be found out stops none after it.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import statistics
import sys
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from tools.gpu import programs
from tools.gpu.records import Records

# What the other steps look for.
PRODUCT, COPY = "rate of a bf16 product", "rate of a copy"
_QUERY = (
    "name,driver_version,memory.total,memory.used,clocks.sm,clocks.max.sm,clocks.mem,power.draw,power.limit,"
    "temperature.gpu"
)
_NVCC = "/usr/local/cuda/bin/nvcc"
_SECONDS = 8.0  # for a program to answer
_SIDE = {"cuda": 8192, "cpu": 512}
_COPIED = {"cuda": 4 * 10**9, "cpu": 64 * 10**6}  # bytes, read once and written once
_WARM, _SAMPLES = 3, 10

Fact = dict[str, Any]


def main() -> int:
    parser = programs.parser(__doc__)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda", help="default: cuda")
    arguments = parser.parse_args()
    records, device = Records(arguments.records, "facts"), arguments.device
    good = True
    for name, find in _FACTS.items():
        if device == "cpu" and find in _OF_A_GPU:
            continue
        good &= _tell(records, name, lambda find=find: find(device))
    return 0 if good else 1


def _tell(records: Records, name: str, find: Callable[[], Fact]) -> bool:
    records.add(name, "started")
    try:
        fact = find()
    except Exception as error:
        records.add(name, "failed", f"{type(error).__name__}: {error}")
        return False
    records.add(name, "measured", **fact)
    print(fact["line"], flush=True)
    return True


def _gpu(device: str) -> Fact:
    """As it is found: nothing of it is changed."""
    command = ["nvidia-smi", f"--query-gpu={_QUERY}", "--format=csv,noheader"]
    told = _output(command).strip()
    return {"line": f"GPU, driver, memory, clocks, power, °C: {told}"}


def _software(device: str) -> Fact:
    found = {name: _version(name) for name in ("torch", "triton", "numpy")}
    about = ", ".join(f"{name} {version}" for name, version in found.items())
    return found | {"line": f"Python {platform.python_version()}, {about}, {platform.platform()}"}


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _compiler(device: str) -> Fact:
    nvcc = shutil.which("nvcc") or _NVCC
    found = re.search(r"release [\d.]+, V[\d.]+", _output([nvcc, "--version"]))
    return {"line": f"nvcc {found and found[0]}, {len(os.sched_getaffinity(0))} CPUs"}


def _output(command: list[str]) -> str:
    printed, why = programs.output(command, _SECONDS)
    if why is not None:
        raise RuntimeError(f"{command[0]}: {why}: {printed.strip()}")
    return printed


def _import(device: str) -> Fact:
    """The first in this process, maybe the first of this machine."""
    start = time.perf_counter()
    import torch

    seconds = time.perf_counter() - start
    return {
        "seconds": round(seconds, 1),
        "line": f"import torch: {seconds:.1f} s; it is built for CUDA {torch.version.cuda}",
    }


def _device(device: str) -> Fact:
    import torch

    start = time.perf_counter()
    torch.cuda.init()
    torch.cuda.synchronize()
    seconds = time.perf_counter() - start
    about = torch.cuda.get_device_properties(0)
    free, total = torch.cuda.mem_get_info()
    return {
        "name": about.name,
        "multiprocessors": about.multi_processor_count,
        "l2_bytes": about.L2_cache_size,
        "bytes": total,
        "line": f"{about.name}, sm_{about.major}{about.minor}, {about.multi_processor_count} processors, "
        f"L2 {about.L2_cache_size / 2**20:.0f} MiB, {free / 1e9:.1f} of {total / 1e9:.1f} GB free, "
        f"its context took {seconds:.1f} s",
    }


def _copy_rate(device: str) -> Fact:
    import torch

    from tools.gpu.timing.clock import milliseconds

    source = torch.empty(_COPIED[device] // 4, dtype=torch.int32, device=device).random_()
    target = torch.empty_like(source)
    samples = milliseconds(device, target.copy_, [source], _WARM + _SAMPLES)[_WARM:]
    rate = 2 * source.nbytes / statistics.median(samples) / 1e6
    return {
        "gb_per_s": round(rate, 1),
        "line": f"copy of {source.nbytes / 1e9:.1f} GB: {rate:.0f} GB/s read and written",
    }


def _product_rate(device: str) -> Fact:
    import torch

    from tools.gpu.timing.clock import milliseconds

    side = _SIDE[device]
    a, b = (torch.randn(side, side, device=device, dtype=torch.bfloat16) for _ in range(2))
    product = torch.empty_like(a)
    multiply = lambda out: torch.mm(a, b, out=out)  # noqa: E731
    samples = milliseconds(device, multiply, [product], _WARM + _SAMPLES)[_WARM:]
    rate = 2 * side**3 / statistics.median(samples) / 1e9
    return {"tflops": round(rate, 1), "line": f"bf16 product of {side}³: {rate:.0f} TFLOP/s"}


_FACTS: dict[str, Callable[[str], Fact]] = {
    "GPU": _gpu,
    "import torch": _import,
    "device": _device,
    "software": _software,
    "compiler": _compiler,
    PRODUCT: _product_rate,
    COPY: _copy_rate,
}
_OF_A_GPU = (_gpu, _device, _compiler)


if __name__ == "__main__":
    sys.exit(main())
