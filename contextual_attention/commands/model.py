"""Reading a trained network for a command."""

from __future__ import annotations

from typing import Any

from .errors import CommandError
from .needs import need


def read_model(name: str | None) -> Any:
    """The `InpaintGenerator` in a run of `train`, a folder or a repository; None if none is named.

    Raises:
        CommandError: There is none, or its weights do not fit.
    """
    if name is None:
        return None
    try:
        return need("models.pretrained", "models").load_generator(name)
    except ValueError as error:
        raise CommandError(f"--{error}") from error
