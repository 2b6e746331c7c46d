"""Maps that are mostly zero."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor


def blank(shape: Sequence[int], dtype: type[np.generic]) -> Tensor:
    """Zeros, which take memory only where something is written: so NumPy asks for them; torch writes them."""
    return torch.from_numpy(np.zeros(tuple(shape), dtype))
