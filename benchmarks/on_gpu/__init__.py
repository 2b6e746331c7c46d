"""The steps of a session on a machine with a GPU (benchmarks/gpu_session.py), and what they share.

Each step is a program of its own, started with a limit of time; what it finds out it writes at once, as a
line of records.jsonl (`records`). What may lose the CUDA context or hang runs in a process of its own
(`isolation`).
"""
