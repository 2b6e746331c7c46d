"""The steps of a session on a machine with a GPU (benchmarks/gpu_session.py), and what they share.

Each step is a program of its own, started as a module, `python -m on_gpu.NAME` with benchmarks/ on the path,
and with a limit of time; what it finds out it writes at once, as a line of records.jsonl (`records`). What
may lose the CUDA context or hang runs in a process of its own (`isolation`).

    session/    their course: which there are, how they run, what is told of them in the end
    trials/     the small cases of `smoke`
    timing/     what a case of `times` takes
"""

from pathlib import Path

# The checkout.
ROOT = Path(__file__).resolve().parents[2]
