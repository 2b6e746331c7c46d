"""Runs one method on the cases of a folder, in a process that does nothing else; race.py starts it.

    python -m tools.docs.inpainting.worker METHOD FOLDER

Each case-N.npz there has a picture and a hole; filled-N.npy is written, and a line of JSON printed.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path

import numpy as np

from .methods import METHODS

_STATUS = Path("/proc/self/status")


def peak_memory() -> float:
    """The most memory this process has held, in MiB."""
    if _STATUS.exists():
        # Not ru_maxrss, which on Linux starts with what the process held that started this one.
        line = next(line for line in _STATUS.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2  # macOS counts bytes


def main() -> None:
    method, folder = sys.argv[1], Path(sys.argv[2])
    fill = METHODS[method].make()
    small = np.zeros((64, 64), bool)
    small[28:36, 28:36] = True
    # What is loaded or set up at the first call is no part of a filling.
    fill(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8), small)
    for path in sorted(folder.glob("case-*.npz")):
        with np.load(path) as case:
            image, hole = case["image"], case["hole"]
        start = time.process_time(), time.perf_counter()
        filled = fill(image, hole)
        seconds, elapsed = time.process_time() - start[0], time.perf_counter() - start[1]
        told = {"seconds": seconds, "elapsed": elapsed, "peak": peak_memory()}
        # Some methods change known pixels a little: it is about the hole.
        np.save(
            folder / f"{path.stem.replace('case', 'filled')}.npy", np.where(hole[..., None], filled, image)
        )
        print(json.dumps(told), flush=True)


if __name__ == "__main__":
    main()
