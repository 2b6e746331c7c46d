"""Compiles every Triton kernel ahead of time, which needs no GPU, and tells what it takes of one.

    python tests/helpers/aot_triton.py 80 90

prints a line of JSON for every kernel, variant and compute capability. The kernels are launched like the
backend's, for windows of several sizes, so that Triton makes of the arguments what it makes of them on a
GPU. A process of its own: triton must not have been imported for its interpreter.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.runtime import driver
from triton.runtime.jit import KernelInterface

from contextual_attention.triton import launch
from contextual_attention.triton.launch import Combine, Epilogue, Mode, Scores, Taps
from contextual_attention.triton.windows import Area, Window

TOOLS = Path(triton.__file__).parent / "backends" / "nvidia" / "bin"
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}

# With the numbers that Triton compiles anew for, where it is let: 1, and those divisible by 16.
WINDOWS = [
    Window(0, 0, 1, 1, 1, 1),
    Window(0, 0, 16, 16, 16, 16),
    Window(1, 16, 3, 5, 7, 32),
]


class NoGPU:
    """What Triton asks a driver for before it launches a kernel."""

    def __init__(self, capability: int) -> None:
        self._target = GPUTarget("cuda", capability, 32)

    def get_current_target(self) -> GPUTarget:
        return self._target

    def get_current_device(self) -> int:
        return self._target.arch  # kernels are remembered by device

    def get_current_stream(self, device: int) -> int:
        return 0


def variants(window: Window) -> Iterator[tuple[str, Callable[[], object]]]:
    """Every use of every kernel by forward and backward: its name, and its launch for a window."""
    area = Area(window, window)
    scores = _scores(area)
    of_rows = torch.zeros(2, window.height * window.width)
    of_samples, memory = torch.zeros(2), torch.zeros(10**6)

    def diagonal_sum(taps: Taps, *used: str, out: str = "fp32", **options: Epilogue) -> Callable[[], object]:
        target = _scores(area, DTYPES[out])
        return partial(launch.diagonal_sum, target, scores, taps, **dict.fromkeys(used, of_rows), **options)

    gains, both = ("row_gain", "column_gain"), ("row_scale", "column_scale")
    for k in (3, 7):
        plain, wrapped, adjoint = (Taps(k, -(k // 2), 1, mode) for mode in Mode)
        yield f"similarity {k}", diagonal_sum(plain, *gains)
        yield f"logits {k}", diagonal_sum(plain, *gains, "valid", epilogue=Epilogue.LARGEST)
        yield f"weights {k}", diagonal_sum(plain, *gains, "valid", "offset", epilogue=Epilogue.WEIGH)
        yield f"propagation {k}", diagonal_sum(plain, "row_scale", "valid", epilogue=Epilogue.MASK_AND_SUM)
        yield f"known propagation {k}", diagonal_sum(plain, "row_scale", "valid", epilogue=Epilogue.MASK)
        yield f"propagated gradient {k}", diagonal_sum(plain)
        for taps in (plain, wrapped):
            name = f"propagated logits {k}, {taps.mode.value}"
            yield name, diagonal_sum(taps, "valid", epilogue=Epilogue.LARGEST)
            yield f"known {name}", diagonal_sum(taps, "valid", "offset", epilogue=Epilogue.WEIGH)
        yield f"similarity gradient {k}, wrapped", diagonal_sum(adjoint)
        for out in ("fp32", "bf16"):
            yield f"gram gradient {k}, {out}", diagonal_sum(plain, *both, out=out)
        norms = partial(
            launch.norm_gradients, scores, scores, beta=of_rows, area=area, taps=plain, memory=memory
        )
        yield f"norm gradients {k}", partial(norms, alpha=of_rows)
        yield f"norm gradients {k}, background", partial(norms, alpha=None)
    for out in DTYPES:
        yield f"cells, {out}", diagonal_sum(launch.PASTING, "row_scale", out=out)
    yield "attention gradient", diagonal_sum(launch.PASTED)
    yield "exponentials", partial(launch.exponentials, scores, of_rows, of_rows)
    yield "dot", partial(launch.dot, scores, scores, area)
    yield "softmax gradient", partial(launch.centre, scores, scores, None, of_rows, of_rows)
    yield "rescaling gradient", partial(launch.centre, scores, None, of_rows, of_rows, of_rows)
    yield "rescaling gradient, uncentred", partial(launch.centre, scores, None, of_rows, of_rows, None)
    yield "largest", partial(launch.largest, scores, area)
    uses = {
        Combine.MAXIMUM: {},
        Combine.INVERSE: {"scale": of_rows, "offset": of_rows, "invalid": of_samples},
        Combine.SCALED: {"scale": of_rows},
        Combine.ADD_SCALED: {"scale": of_rows},
    }
    part = torch.zeros(2, window.pixels, window.rows)
    for operation, used in uses.items():
        name = f"combine, {operation.value}"
        yield name, partial(launch.combine, part, window, of_rows, operation, **used)


def _scores(area: Area, dtype: torch.dtype = torch.float32) -> Scores:
    return Scores(torch.zeros(2, area.p.pixels, area.q.pixels, dtype=dtype), area)


def compiled(launches: Callable[[], object]) -> Any:
    """The kernel that a function launches, compiled and not run."""
    found = []

    def launcher(kernel: Any, grid: object) -> Callable[..., None]:
        return lambda *arguments, **options: found.append(
            kernel.run(*arguments, grid=grid, warmup=True, **options)
        )

    with mock.patch.object(KernelInterface, "__getitem__", launcher):
        launches()
    (kernel,) = found
    return kernel


def resources(kernel: Any) -> dict[str, int]:
    """Registers and stack of a thread, shared memory of a program."""
    with tempfile.NamedTemporaryFile(suffix=".cubin") as binary:
        binary.write(kernel.asm["cubin"])
        binary.flush()
        usage = subprocess.run(
            [TOOLS / "cuobjdump", "-res-usage", binary.name], capture_output=True, text=True, check=True
        ).stdout
    registers, stack = (int(re.search(rf"{what}:(\d+)", usage)[1]) for what in ("REG", "STACK"))
    return {"registers": registers, "stack": stack, "shared": kernel.metadata.shared}


def main() -> None:
    for capability in map(int, sys.argv[1:]):
        driver.set_active(NoGPU(capability))
        for uses in zip(*map(variants, WINDOWS), strict=True):
            (name,) = {name for name, _ in uses}
            kernels = {kernel.hash: kernel for kernel in (compiled(launches) for _, launches in uses)}
            found = {"kernel": name, "capability": capability, "binaries": len(kernels)}
            print(json.dumps(found | resources(next(iter(kernels.values())))), flush=True)


if __name__ == "__main__":
    main()
