"""The forward of the CUDA kernels with its Gram matrix in memory and on the chip, side by side.

    python -m tools.gpu.compare --records FILE --profile FILE [--limit 120]

A process for each preset and shape, in which both ways are captured in CUDA graphs and replayed in turns;
how far their results are apart, and the kernels of each. bfloat16, C = 128, inputs of bench_attention.py.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from attention_bench.measure import Run
from contextual_attention import backends
from tools.gpu import programs
from tools.gpu.records import Records
from tools.gpu.times import PRESETS, measure_all
from tools.gpu.timing.clock import calls_within, milliseconds, rounded, summary
from tools.gpu.timing.phases import Job, Report, Told, Work, last_tiling, sizes

STEP = "compare"
# Names of the module's GramPlace.
WAYS = ("in_memory", "on_chip")
_SHAPES = ("1x1024x1024", "1x512x680", "16x256x256", "1x2048x2048")


def main() -> int:
    parser = programs.parser(__doc__)
    add = parser.add_argument
    add("--profile", type=Path, required=True, help="file for tables of all kernels, to add to")
    add("--limit", type=float, default=120.0, metavar="SECONDS", help="for everything; default: 120")
    arguments = parser.parse_args()
    records = Records(arguments.records, STEP)
    good = measure_all(list(jobs()), records, arguments.profile, arguments.limit, measure_case)
    return 0 if good else 1


def jobs() -> Iterator[Job]:
    """In the order of their worth."""
    for shape, preset in product(_SHAPES, PRESETS):
        yield Job("cuda", preset, shape, "forward")


def measure_case(job: Job, records: Records, profile: Path) -> None:
    """Measure a case both ways and record it, as "measured" or as "failed".

    Args:
        job: The case, of a forward.
        records: Where to.
        profile: File to which a table of all kernels is added for each way.
    """
    told = Told(job, records)
    told.take(lambda: sizes(job.problem))
    told.take(lambda: compared(job, profile))
    told.end()


def compared(job: Job, profile: Path) -> Report:
    """Times, kernels and plans of each way, and |on the chip - in memory| / |in memory| of the results."""
    extension = backends.extension
    report: Report = {}
    works: list[Work] = []
    passes: list[Sequence[Any]] = []
    outputs: list[Tensor] = []
    try:
        for way in WAYS:
            extension.place_cuda_gram(getattr(extension.GramPlace, way))
            work = Work(job)
            outputs.append(work.runs[0].forward().float())
            plan = last_tiling(job.direction)
            if plan["gram_on_chip"] != (way == "on_chip"):
                raise RuntimeError(f"{way}: the Gram matrix was placed otherwise, {plan}")
            found = {"plan": plan} | work.profiled(profile, f"{job.name}, {way}")
            report |= {f"{way}_{name}": x for name, x in found.items()}
            works.append(work)
            passes.append(work.captured(Run.forward) if work.device == "cuda" else work.runs)
    finally:
        extension.place_cuda_gram(extension.GramPlace.in_memory)
    in_memory, on_chip = outputs
    report["differs"] = rounded(float((on_chip - in_memory).norm() / in_memory.norm()))
    return report | interleaved(works[0].device, passes, job.budget)


def interleaved(device: str, passes: Sequence[Sequence[Any]], budget: float) -> Report:
    """The times of each way, of which one pass follows one of the other.

    Args:
        device: "cuda" or "cpu".
        passes: Of each way, for each set of inputs: graphs on "cuda", else runs.
        budget: Seconds for each way.
    """
    act: Callable[[Any], object] = torch.cuda.CUDAGraph.replay if device == "cuda" else Run.forward
    in_turns = [each for of_inputs in zip(*passes, strict=True) for each in of_inputs]
    one = max(milliseconds(device, act, in_turns, len(in_turns))[-len(passes) :])
    samples = milliseconds(device, act, in_turns, len(passes) * calls_within(budget, one))
    return {f"{way}_ms": summary(samples[i :: len(passes)]) for i, way in enumerate(WAYS)}


if __name__ == "__main__":
    sys.exit(main())
