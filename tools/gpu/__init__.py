"""A session on a machine with a GPU: session.py, the command, its steps, and what they share.

Each step is a program of its own, started as a module, `python -m tools.gpu.NAME` with the checkout and its
benchmarks/ on the path, and with a limit of time; what it finds out it writes at once, as a line of
records.jsonl (`records`). What may lose the CUDA context or hang runs in a process of its own (`isolation`).

    course/     which there are, in which order, how they run, what is told of them in the end
    trials/     the small cases of `smoke`
    timing/     what a case of `times` or `compare` takes
"""

from pathlib import Path

# The checkout.
ROOT = Path(__file__).resolve().parents[2]
