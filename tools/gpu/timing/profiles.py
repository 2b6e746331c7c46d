"""What a trace of torch.profiler says of the device: time by kernel, gaps, and short names of kernels."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from tools.gpu import ROOT

# What a device does, as a trace calls it; on a CPU its operators stand in, nested ones counted twice.
CATEGORIES = {"cuda": ("kernel", "gpu_memcpy", "gpu_memset"), "cpu": ("cpu_op",)}
LONGEST_NAME = 60
_SINKS = ROOT / "csrc/cuda/sinks.h"


@dataclass(frozen=True)
class Event:
    """Something that ran on the device, in microseconds."""

    name: str
    start: float
    duration: float


@dataclass(frozen=True)
class Kernel:
    """All launches of a kernel together."""

    name: str
    calls: int
    milliseconds: float


@dataclass(frozen=True)
class Profile:
    """Kernels, the longest first, and how long the device was at work (`busy`) of the time from the first
    event's start to the last one's end (`span`), in milliseconds."""

    kernels: Sequence[Kernel]
    busy: float
    span: float

    @property
    def launches(self) -> int:
        return sum(kernel.calls for kernel in self.kernels)

    @property
    def milliseconds(self) -> float:
        return sum(kernel.milliseconds for kernel in self.kernels)


def device_events(trace: dict[str, Any], device: str) -> list[Event]:
    """Those of a trace as `export_chrome_trace` writes it."""
    return [
        Event(each["name"], float(each["ts"]), float(each["dur"]))
        for each in trace["traceEvents"]
        if each.get("ph") == "X" and each.get("cat") in CATEGORIES[device]
    ]


def summarised(events: Iterable[Event]) -> Profile:
    """The events of a profile, by kernel."""
    events = sorted(events, key=lambda event: event.start)
    calls: dict[str, int] = {}
    microseconds: dict[str, float] = {}
    busy, end = 0.0, float("-inf")
    for event in events:
        calls[event.name] = calls.get(event.name, 0) + 1
        microseconds[event.name] = microseconds.get(event.name, 0.0) + event.duration
        # What runs at the same time on another stream is no longer time.
        last = event.start + event.duration
        busy += max(0.0, last - max(event.start, end))
        end = max(end, last)
    kernels = [Kernel(name, calls[name], microseconds[name] / 1e3) for name in calls]
    kernels.sort(key=lambda kernel: -kernel.milliseconds)
    return Profile(kernels, busy / 1e3, (end - events[0].start) / 1e3 if events else 0.0)


def table(title: str, profile: Profile, calls: int) -> str:
    """All kernels of a profile of some calls: of one call, with their full names."""
    mean, launches = profile.milliseconds / calls, profile.launches / calls
    lines = [f"== {title}: {mean:.3f} ms, {launches:g} launches a call"]
    for kernel in profile.kernels:
        one, share = kernel.milliseconds / calls, kernel.milliseconds / max(profile.milliseconds, 1e-9)
        lines.append(f"{one:9.4f} ms {100 * share:5.1f} % {kernel.calls / calls:8g} x  {kernel.name}")
    return "\n".join(lines) + "\n"


def short_name(name: str) -> str:
    """The recognisable part of a demangled kernel's name, of at most LONGEST_NAME characters.

    Demanglers differ: that of the profiler writes "(anonymous namespace)" and "3", Nsight Compute's
    "<unnamed>" and "(int)3".
    """
    name = re.sub(r"\(anonymous namespace\)|<unnamed>", "unnamed", name.removeprefix("void "))
    name = re.sub(r"\(([\w: ]+)\)(-?\d+)", _constant, name)
    name = _without_parameters(name).strip()
    if name.startswith("at::native::"):
        # What torch's elementwise kernels compute stands inside of what runs it, behind sizes of blocks.
        name = re.sub(r"<(?:\d+, )+", "<", re.sub(r"(?:\w+::)*gpu_kernel_impl\w*<", "", name))
    name = re.sub(r"(?:\w+::)+", "", name)
    name = re.sub(r"(?<=[,>]) +|\s+(?=>)", "", name)
    inner, lambda_, _ = name.partition("(")
    name = inner + ("…" if lambda_ else "")
    return name if len(name) <= LONGEST_NAME else name[: LONGEST_NAME - 1] + "…"


def _constant(match: re.Match[str]) -> str:
    """A template's constant, without its type; one of ours by its name."""
    if match[1].endswith("ScoreKind"):
        kinds = _score_kinds()
        return kinds[int(match[2])] if int(match[2]) < len(kinds) else match[2]
    return match[2]


@cache
def _score_kinds() -> list[str]:
    found = re.search(r"enum class ScoreKind[^{]*\{(.*?)\}", _SINKS.read_text(encoding="utf-8"), re.DOTALL)
    return re.findall(r"^\s*(\w+)", found[1], re.MULTILINE) if found else []


def _without_parameters(name: str) -> str:
    """Up to the parenthesis that is in no template's arguments."""
    depth = 0
    for i, character in enumerate(name):
        depth += (character == "<") - (character == ">")
        if character == "(" and depth == 0:
            return name[:i]
    return name
