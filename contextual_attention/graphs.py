"""What the compilers of graphs (torch.compile, torch.export) must be told."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import TypeVar

import torch

_Function = TypeVar("_Function", bound=Callable)


def constant_in_graphs(function: _Function) -> _Function:
    """A graph takes the function's answer as it is: its compiler cannot look into an extension or a driver.

    What torch.compiler.assume_constant_result does, which imports the whole compiler for it.
    """
    function._dynamo_marked_constant = True
    return function


@constant_in_graphs
def has_autocast(device: str) -> bool:
    """Whether autocast knows of a kind of device; of "meta" it does not."""
    return torch.amp.is_autocast_available(device)


def without_autocast(device: str) -> contextlib.AbstractContextManager:
    """Within, operands keep their dtypes, whatever the caller's autocast says."""
    # Entering one costs as much as a kernel or two.
    if not (has_autocast(device) and torch.is_autocast_enabled(device)):
        return contextlib.nullcontext()
    return torch.autocast(device, enabled=False)
