"""The trained network of a command."""

from __future__ import annotations

import argparse
from typing import Any

from .errors import CommandError
from .needs import need


def check_model(given: argparse.Namespace) -> None:
    """Refuse ``--method model`` without a ``--model``, and a ``--model`` that no method would use."""
    if (given.method == "model") != (given.model is not None):
        raise CommandError("--method model and --model belong together")


def read_model(name: str | None) -> Any:
    """The network in a run of `train`, a folder or a repository; None if none is named.

    Raises:
        CommandError: There is none, or its weights do not fit.
    """
    if name is None:
        return None
    try:
        return need("models.network.pretrained", "models").load_model(name)
    except ValueError as error:
        raise CommandError(f"--{error}") from error
