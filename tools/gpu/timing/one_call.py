"""One call of a backend between the marks that Nsight Compute profiles from and to (`counters`).

python -m tools.gpu.timing.one_call --preset paper --shape 1x1024x1024 [--backend cuda]

Prints, as a line of JSON, how many scores each tile of the call has of its own.
"""

from __future__ import annotations

import argparse
import json
import sys

import torch

from tools.gpu.timing.phases import Job, Work, last_tiling


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name, default in (("preset", "paper"), ("shape", "1x1024x1024"), ("backend", "cuda")):
        parser.add_argument(f"--{name}", default=default, help=f"default: {default}")
    arguments = parser.parse_args()
    job = Job(arguments.backend, arguments.preset, arguments.shape, "forward")
    run = Work(job).runs[0]
    run.forward()
    torch.cuda.synchronize()
    torch.cuda.profiler.start()
    run.forward()
    torch.cuda.synchronize()
    torch.cuda.profiler.stop()
    print(json.dumps({"tile_scores": tile_scores() if job.backend == "cuda" else None}), flush=True)
    return 0


def tile_scores() -> int:
    """Those that a whole tile of the last forward answers for, halos not counted."""
    cut = last_tiling("forward")
    (y, x), (v, u) = cut["foreground"], cut["background"]
    return cut["samples"] * y * x * v * u


if __name__ == "__main__":
    sys.exit(main())
