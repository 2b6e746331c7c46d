"""The compiled half of filling, csrc/cpu/filling."""

from __future__ import annotations

import functools
from typing import Any

import torch

from contextual_attention import extension


@functools.cache
def operators() -> Any:
    """Its operators.

    Raises:
        RuntimeError: There is no compiled module, or it does not fit; says what to do.
    """
    try:
        extension.load()
    except ImportError as error:
        raise RuntimeError(f"filling needs the compiled module, but for a model alone: {error}") from error
    return torch.ops.contextual_attention_filling
