"""One call of the layer, as it goes from the public functions to a backend."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from .options import Options
from .positions import resolution


@dataclass(frozen=True)
class Call:
    """The arguments of `contextual_attention.contextual_attention`, checked (checks.py) and cast."""

    foreground: Tensor  # (B, C, H, W)
    background: Tensor  # (B, C, Hb, Wb)
    mask: Tensor | None  # (B or 1, 1, j * Hb, j * Wb); None: nothing is missing
    value: Tensor  # (B, Cv, m * Hb, m * Wb)
    foreground_mask: Tensor | None  # (B or 1, 1, j * H, j * W); None: everything is rebuilt
    options: Options
    workspace: int | None = None
    return_offsets: bool = True

    @property
    def m(self) -> int:
        """The resolution of the value over the background's."""
        return resolution(self.value, self.background)
