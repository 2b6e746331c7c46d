"""What the compilers of graphs (torch.compile, torch.export) must be told."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

_Function = TypeVar("_Function", bound=Callable)


def constant_in_graphs(function: _Function) -> _Function:
    """A graph takes the function's answer as it is: its compiler cannot look into an extension or a driver.

    What torch.compiler.assume_constant_result does, which imports the whole compiler for it.
    """
    function._dynamo_marked_constant = True
    return function
