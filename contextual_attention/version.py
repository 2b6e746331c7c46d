"""The version, which stands in pyproject.toml alone."""

from __future__ import annotations

import importlib.metadata
import re
from pathlib import Path


def find_version() -> str:
    """Of a checkout what its pyproject.toml says, installed or not; elsewhere what was installed."""
    project = Path(__file__).parents[1] / "pyproject.toml"
    if project.is_file():
        declared = re.search(
            r'(?m)^name = "contextual_attention"\nversion = "(.+)"$', project.read_text(encoding="utf-8")
        )
        if declared:
            return declared[1]
    return importlib.metadata.version("contextual_attention")
