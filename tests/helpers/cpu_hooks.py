"""What the CPU kernels do, counted; and their products, disturbed.

The extension has but the places for it, csrc/cpu/hooks.h: so it is the one that ships which is tested. What
hangs there, tests/native/cpu_hooks.cpp, is built at its first use, and hangs there while it is used.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import cache
from types import ModuleType
from typing import Any

from contextual_attention import backends
from contextual_attention.problem import Problem
from helpers import native_build
from helpers.native_build import CSRC, NATIVE


@cache
def _native() -> ModuleType:
    builder = native_build.Builder(native_build.load_build_script(), native_build.folder_of("hooks"))
    tests_own = [NATIVE / f"{name}.cpp" for name in ("cpu_hooks", "rounding", "work")]
    planner = [CSRC / f"{name}.cpp" for name in ("common/stages", "cpu/layout", "cpu/plan", "cpu/schedule")]
    return native_build.load_library("cpu_hooks", builder.library("cpu_hooks", [*tests_own, *planner]))


@contextlib.contextmanager
def counted_work() -> Iterator[dict[str, Any]]:
    """The counts of what is done within, once it is done, as tests/native/work.h has them."""
    work: dict[str, Any] = {}
    _native().start_counting_work()
    backends.extension.set_hooks(_native().table())
    try:
        yield work
    finally:
        work.update(_native().stop_counting_work())
        backends.extension.set_hooks(_native().table())


def cut_of(problem: Problem, threads: int, workspace: int, backward: bool) -> str:
    """How the planner cuts a problem, in words, as the "cuts" that are counted; empty: nothing fits."""
    return _native().cut(problem, threads, workspace, backward)


def perturb_products(seed: int, anew: bool) -> None:
    """From now on products round otherwise, as tests/native/rounding.h has it. Seed 0: as they did."""
    _native().perturb_products(seed, anew)
    backends.extension.set_hooks(_native().table())
