"""Work in a process of its own: a lost CUDA context, a crash or a hang ends that process alone.

An illegal access poisons a process: every later call of CUDA fails with the same message. Processes are
forked from a server that has imported torch and initialised nothing, so that each takes a moment and not an
import.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from multiprocessing import reduction
from typing import Any

from tools.gpu import programs

# The exit status of a process whose CUDA context is lost.
LOST = 70
# torch._dynamo is what the first call of a custom operator imports, for seconds.
_PRELOADED = ["torch", "torch._dynamo", "triton", "contextual_attention"]
# From the interrupt, which lets Python say where it was, to the kill.
_GRACE = 3.0


def in_child(function: Callable[..., None], *arguments: Any, limit: float) -> str | None:
    """Run a function of a module in a process of its own; what it prints goes where this process prints.

    Args:
        function: Found by its module and name in the child.
        arguments: That can be pickled.
        limit: Seconds until it is ended.

    Returns:
        None if it returned; else why it did not, in a line.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_PRELOADED)
    process = context.Process(target=_work, args=(_Output(), function, arguments))
    start = time.monotonic()
    process.start()
    process.join(limit)
    if process.is_alive():
        _end(process)
        how = "could not be ended" if process.is_alive() else "ended"
        return f"{how} after {time.monotonic() - start:.0f} s"
    if process.exitcode == 0:
        return None
    if process.exitcode == LOST:
        return "the CUDA context was lost"
    how = programs.how_ended(process.exitcode)
    return how if process.exitcode < 0 else f"ended with {how}"


def _end(process: multiprocessing.process.BaseProcess) -> None:
    os.kill(process.pid, signal.SIGINT)
    process.join(_GRACE)
    if process.is_alive():
        process.kill()
        process.join(_GRACE)  # one that hangs within the driver cannot be ended


class _Output:
    """Where this process prints, on its way to a child: the server may have been started elsewhere."""

    def __reduce__(self) -> tuple[Callable[..., None], tuple]:
        return _print_there, (reduction.DupFd(1), reduction.DupFd(2))


def _print_there(*files: Any) -> None:
    for place, file in enumerate(files, 1):
        os.dup2(file.detach(), place)


def _work(_output: None, function: Callable[..., None], arguments: tuple) -> None:
    try:
        function(*arguments)
    except BaseException:
        traceback.print_exc()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(LOST if context_is_lost() else 1)


def context_is_lost() -> bool:
    """Whether every later call of CUDA in this process would fail: asked after a failure."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return False
    try:
        torch.cuda.synchronize()
    except RuntimeError:
        return True
    return False
