"""Imports of what a command needs beyond torch, with an error that says how to get it."""

from __future__ import annotations

import importlib
from types import ModuleType

from .errors import CommandError


def need(module: str, extra: str) -> ModuleType:
    """Import a module of this package that depends on the packages of an extra.

    Args:
        module: Relative to the package, such as ``"models.training.trainer"``.
        extra: Of pyproject.toml, such as ``"train"``.

    Raises:
        CommandError: One of the packages is missing; the message has the command that installs it.
    """
    try:
        return importlib.import_module(f"contextual_attention.{module}")
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("contextual_attention"):
            raise
        package = error.name.partition(".")[0]
        raise CommandError(
            f'this needs the package {package}: pip install "contextual_attention[{extra}]"'
        ) from error
