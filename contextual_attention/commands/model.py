"""Reading a trained network for a command."""

from __future__ import annotations

from typing import Any

from .errors import CommandError
from .needs import need


def read_model(name: str | None) -> Any:
    """The `InpaintGenerator` in a folder or repository; None if none is named.

    Raises:
        CommandError: There is none, or its weights do not fit.
    """
    if name is None:
        return None
    generator = need("models.generator", "models")
    try:
        return generator.InpaintGenerator.from_pretrained(name)
    # OSError: no such folder or repository. ValueError, RuntimeError, TypeError: other weights or options.
    except (OSError, ValueError, RuntimeError, TypeError) as error:
        raise CommandError(f"--model {name}: {error}") from error
