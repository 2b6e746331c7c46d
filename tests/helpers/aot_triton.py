"""Compiles every Triton kernel ahead of time, which needs no GPU, and tells what it takes of one.

    python tests/helpers/aot_triton.py 80 90

prints a line of JSON for every kernel, variant and compute capability. A process of its own: triton must not
have been imported for its interpreter.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from contextual_attention.triton import kernels, kernels_backward, kernels_reductions, launch
from contextual_attention.triton.launch import Combine, Epilogue, Mode

TOOLS = Path(triton.__file__).parent / "backends" / "nvidia" / "bin"
BLOCKS = {"BLOCK_P": launch.BLOCK_P, "BLOCK_Q": launch.BLOCK_Q}
POINTERS = {
    *("out", "source", "row_scale", "column_scale", "row_gain", "column_gain", "valid", "offset", "part"),
    *("scores", "x", "y", "weights", "centres", "gram", "gradient", "alpha", "beta", "row_part"),
    *("column_part", "value_part", "index_part", "scale", "invalid"),
}
_OTHER_TYPES = {"factor": "fp32", "index_part": "*i32"}


@dataclass(frozen=True)
class Variant:
    """A kernel as one of its uses compiles it: constexprs, absent pointers, the dtype of `out`."""

    kernel: Any
    name: str
    constants: dict[str, int]
    absent: tuple[str, ...] = ()
    out: str = "fp32"
    warps: int = launch._WARPS

    def source(self) -> ASTSource:
        constants = {**dict.fromkeys(self.absent), **self.constants}
        signature = {name: self._type(name) for name in self.kernel.arg_names}
        pointers = [i for i, name in enumerate(self.kernel.arg_names) if signature[name].startswith("*")]
        aligned = {(i,): [["tt.divisibility", 16]] for i in pointers}
        return ASTSource(self.kernel, signature, constants, aligned)

    def _type(self, name: str) -> str:
        if name in self.constants or name in self.absent:
            return "constexpr"
        if name == "out":
            return f"*{self.out}"
        return _OTHER_TYPES.get(name) or ("*fp32" if name in POINTERS else "i32")


def _sum(name: str, taps: int, used: tuple[str, ...], mode: Mode = Mode.PLAIN,
         epilogue: Epilogue = Epilogue.KEEP, out: str = "fp32") -> Variant:  # fmt: skip
    optional = ("row_scale", "column_scale", "row_gain", "column_gain", "valid", "offset", "part")
    constants = {"TAPS": taps, "MODE": int(mode), "EPILOGUE": int(epilogue), **BLOCKS}
    absent = tuple(each for each in optional if each not in used)
    return Variant(kernels.diagonal_sum, name, constants, absent, out)


def variants() -> Iterator[Variant]:
    """Every use of every kernel by forward and backward."""
    gains, both = ("row_gain", "column_gain"), ("row_scale", "column_scale")
    for k in (3, 7):
        yield _sum(f"similarity {k}", k, gains)
        yield _sum(f"logits {k}", k, (*gains, "valid", "part"), epilogue=Epilogue.LARGEST)
        yield _sum(f"weights {k}", k, (*gains, "valid", "offset"), epilogue=Epilogue.WEIGH)
        yield _sum(f"propagation {k}", k, ("row_scale", "valid", "part"), epilogue=Epilogue.MASK_AND_SUM)
        yield _sum(f"known propagation {k}", k, ("row_scale", "valid"), epilogue=Epilogue.MASK)
        yield _sum(f"propagated gradient {k}", k, ())
        for mode in (Mode.PLAIN, Mode.WRAPPED):
            name = f"propagated logits {k}, {mode.name.lower()}"
            yield _sum(name, k, ("valid", "part"), mode, Epilogue.LARGEST)
            yield _sum(f"known {name}", k, ("valid", "offset"), mode, Epilogue.WEIGH)
        yield _sum(f"similarity gradient {k}, wrapped", k, (), Mode.WRAPPED_ADJOINT)
        for out in ("fp32", "bf16"):
            yield _sum(f"gram gradient {k}, {out}", k, both, out=out)
        norms = {"TAPS": k, **BLOCKS}
        yield Variant(kernels_backward.norm_gradients, f"norm gradients {k}", norms)
        yield Variant(kernels_backward.norm_gradients, f"norm gradients {k}, background", norms, ("alpha",))
    for out in ("fp32", "bf16", "fp16"):
        yield _sum(f"cells, {out}", 2, ("row_scale",), out=out)
    yield _sum("attention gradient", 2, ())
    yield Variant(kernels.exponentials, "exponentials", BLOCKS)
    yield Variant(kernels_backward.dot, "dot", BLOCKS)
    yield Variant(kernels_backward.centre, "softmax gradient", BLOCKS, ("valid",))
    yield Variant(kernels_backward.centre, "rescaling gradient", BLOCKS, ("weights",))
    yield Variant(kernels_backward.centre, "rescaling gradient, uncentred", BLOCKS, ("weights", "centres"))
    yield Variant(kernels_reductions.largest, "largest", BLOCKS)
    for operation, absent in (
        (Combine.MAXIMUM, ("scale", "offset", "invalid")),
        (Combine.INVERSE, ()),
        (Combine.SCALED, ("offset", "invalid")),
        (Combine.ADD_SCALED, ("offset", "invalid")),
    ):
        constants = {"OPERATION": int(operation), "BLOCK_P": 128}
        yield Variant(
            kernels_reductions.combine, f"combine, {operation.name.lower()}", constants, absent, warps=4
        )


def resources(variant: Variant, capability: int) -> dict[str, Any]:
    """Registers and stack of a thread, shared memory of a program."""
    target = GPUTarget("cuda", capability, 32)
    compiled = triton.compile(variant.source(), target=target, options={"num_warps": variant.warps})
    with tempfile.NamedTemporaryFile(suffix=".cubin") as binary:
        binary.write(compiled.asm["cubin"])
        binary.flush()
        usage = subprocess.run(
            [TOOLS / "cuobjdump", "-res-usage", binary.name], capture_output=True, text=True, check=True
        ).stdout
    registers, stack = (int(re.search(rf"{what}:(\d+)", usage)[1]) for what in ("REG", "STACK"))
    return {
        "kernel": variant.name,
        "capability": capability,
        "registers": registers,
        "stack": stack,
        "shared": compiled.metadata.shared,
    }


def main() -> None:
    for capability in map(int, sys.argv[1:]):
        for variant in variants():
            print(json.dumps(resources(variant, capability)), flush=True)


if __name__ == "__main__":
    main()
