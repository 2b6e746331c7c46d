"""How long work takes: by events on a GPU, which nothing waits for until all of it is asked for."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch


def milliseconds(
    device: str, act: Callable[[Any], object], prepared: Sequence[Any] | Callable[[int], Any], count: int
) -> list[float]:
    """Of every call of `act`, one after the other without a pause.

    Args:
        device: "cuda" or "cpu".
        act: Given what was prepared for it.
        prepared: For each call in turn, taken round and round; or what makes it, which is not timed.
        count: Of calls.
    """
    make = prepared if callable(prepared) else lambda i: prepared[i % len(prepared)]
    if device == "cpu":
        return [_host_milliseconds(act, make(i)) for i in range(count)]
    events = []
    for i in range(count):
        given = make(i)
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        act(given)
        end.record()
        events.append((start, end))
    torch.cuda.synchronize()
    return [start.elapsed_time(end) for start, end in events]


def issue_milliseconds(
    act: Callable[[Any], object], prepared: Callable[[int], Any], count: int
) -> list[float]:
    """How long each call keeps the host, the GPU idle when it begins."""
    found = []
    for i in range(count):
        given = prepared(i)
        torch.cuda.synchronize()
        found.append(_host_milliseconds(act, given))
    torch.cuda.synchronize()
    return found


def _host_milliseconds(act: Callable[[Any], object], given: Any) -> float:
    start = time.perf_counter()
    act(given)
    return 1e3 * (time.perf_counter() - start)


def calls_within(budget: float, one: float, least: int = 5, most: int = 100) -> int:
    """How many calls of `one` millisecond each to make in about `budget` seconds: `least` at least, unless
    these would take ten times as long."""
    fitting = 1e3 * budget / max(one, 1e-3)
    return max(1, int(min(max(fitting, min(least, 10 * fitting)), most)))


def summary(samples: Sequence[float]) -> dict[str, float]:
    """Their median, the quartiles and their number, to four digits."""
    low, middle, high = (
        statistics.quantiles(samples, n=4, method="inclusive") if len(samples) > 1 else 3 * [samples[0]]
    )
    return {"median": rounded(middle), "low": rounded(low), "high": rounded(high), "calls": len(samples)}


def rounded(x: float) -> float:
    return float(f"{x:.4g}")
