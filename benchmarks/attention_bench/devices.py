"""Everything that depends on where tensors live: which backend runs where, the clock, memory, names."""

from __future__ import annotations

import ctypes
import os
import platform
import re
import time
from collections.abc import Callable
from pathlib import Path

import torch

from contextual_attention import backends
from contextual_attention.triton import plan

_DEVICE_OF_BACKEND = {"cuda": "cuda", "triton": "cuda"}
_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
_CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")
_CGROUP_USE = Path("/sys/fs/cgroup/memory.current")
# Sides of the square matrix product that a device's rate is measured with: long enough to reach it.
_GEMM_SIDE = {"cpu": 2048, "cuda": 8192}


def device_of(backend: str) -> str:
    return _DEVICE_OF_BACKEND.get(backend, "cpu")


def prepare() -> None:
    """float32 is float32 everywhere: by default torch lets a GPU's convolutions round it to tf32."""
    torch.backends.cudnn.allow_tf32 = False
    torch.set_float32_matmul_precision("highest")


def synchronize(device: str) -> None:
    """Wait for what was asked of the device: a CPU has done it already."""
    if device == "cuda":
        torch.cuda.synchronize()


def mean_seconds(device: str, act: Callable[[], object], calls: int = 1) -> float:
    """Of one call of `act`, the device idle before the first and waited for after the last."""
    synchronize(device)
    start = time.perf_counter()
    for _ in range(calls):
        act()
    synchronize(device)
    return (time.perf_counter() - start) / calls


def gemm_side(device: str, quick: bool) -> int:
    return _GEMM_SIDE[device] // (2 if quick else 1)


# Memory


def default_workspace(device: str) -> int:
    """The fused backends' own bound on the scores."""
    if device == "cuda":
        return plan.default_workspace(torch.cuda.get_device_properties().total_memory)
    return 32 * 2**20


def free_bytes(device: str) -> int:
    """What a variant may take: the memory that is available now, within the limit of this container."""
    if device == "cuda":
        # What torch keeps for later is free, too.
        kept = torch.cuda.memory_reserved() - torch.cuda.memory_allocated()
        return torch.cuda.mem_get_info()[0] + kept
    available = int(re.search(r"MemAvailable:\s+(\d+)", Path("/proc/meminfo").read_text())[1]) * 1024
    limit = _CGROUP_LIMIT.read_text().strip() if _CGROUP_LIMIT.exists() else "max"
    if limit == "max":
        return available
    return min(available, int(limit) - int(_CGROUP_USE.read_text()))


def growth(device: str, function: Callable[[], object]) -> int:
    """By how many bytes memory has grown at its highest while `function` ran, its result included.

    On the CPU this is the resident size as the kernel keeps it (VmHWM, reset before), so that memory of any
    allocator counts; it grows by whole pages, as they are first touched. Meant for a fresh process: in one
    that has freed memory without returning it, reuse would not show.
    """
    if device == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        function()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before
    libc = ctypes.CDLL(None)
    if hasattr(libc, "malloc_trim"):  # or what the warm-up has left in it would be used again unseen
        libc.malloc_trim(0)
    _CLEAR.write_text("5")  # VmHWM becomes VmRSS
    before = _resident("VmRSS")
    function()
    return _resident("VmHWM") - before


def _resident(which: str) -> int:
    return int(re.search(rf"{which}:\s+(\d+) kB", _STATUS.read_text())[1]) * 1024


# Names


def describe(device: str) -> str:
    """The model of the device, with what its speed depends on."""
    if device == "cuda":
        about = torch.cuda.get_device_properties()
        capability = torch.cuda.get_device_capability()
        return (
            f"{about.name}, {about.multi_processor_count} multiprocessors, "
            f"{about.total_memory / 1e9:.0f} GB, compute capability {'.'.join(map(str, capability))}, "
            f"CUDA {torch.version.cuda}"
        )
    extension = backends.extension
    simd = f", kernels for {extension.simd_level()}" if extension is not None else ""
    return f"{processor()}, {len(os.sched_getaffinity(0))} CPUs{simd}"


def processor() -> str:
    """The model of the processor."""
    model = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
    return model[1] if model else platform.machine()
