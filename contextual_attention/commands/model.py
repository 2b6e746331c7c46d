"""The trained network of a command."""

from __future__ import annotations

import argparse
from typing import Any

from .errors import CommandError
from .needs import need


def check_model(given: argparse.Namespace) -> None:
    """Refuse ``--method model`` without a ``--model``, a ``--model`` that the method would not use, and a
    method whose packages are missing.
    """
    if given.method == "model" and given.model is None:
        raise CommandError("--method model needs a --model")
    takes_one = given.method in ("structure", "model")
    if given.model is not None and not takes_one:
        raise CommandError(f"--model is for --method structure and model, got --method {given.method}")
    if takes_one:
        try:
            need("models.network.pretrained", "models")
        except CommandError as error:
            raise CommandError(f"{error}; --method exemplar needs no network") from error


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
