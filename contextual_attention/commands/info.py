"""``info``: what is installed and what of it works here."""

from __future__ import annotations

import argparse
import importlib.metadata
import platform
from collections.abc import Sequence
from pathlib import Path

import torch

from .. import backends

HELP = "Say what is installed and which backends work here."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """It takes none."""


def run(_given: argparse.Namespace) -> None:
    """Print what is installed and what of it works here."""
    lines = {
        "contextual_attention": f"{_version()} in {Path(__file__).parents[1]}",
        "python": f"{platform.python_version()} on {platform.system()} {platform.machine()}",
        "torch": f"{torch.__version__}, {torch.get_num_threads()} threads",
        **_extension_info(),
    }
    for name, reason in backends.available_backends().items():
        lines[f"backend {name}"] = "available" if reason is None else f"not available: {reason}"
    width = max(map(len, lines)) + 2
    for name, text in lines.items():
        print(f"{name:<{width}}{text}")


def _version() -> str:
    try:
        return importlib.metadata.version("contextual_attention")
    except importlib.metadata.PackageNotFoundError:
        return "(not installed: a source folder)"


def _extension_info() -> dict[str, str]:
    """What the compiled extension was built with, and which of its SIMD levels runs."""
    extension = backends.extension
    if extension is None:
        return {"extension": f"not available: {backends.extension_error}"}
    build, supported = extension.build_info(), extension.supported_simd_levels()
    return {
        "extension": extension.__file__,
        "built by": f"{build['compiler']} with the headers of torch {build['torch_headers']}",
        "SIMD levels": (
            f"{_list(build['simd_levels'])} built; {_list(supported)} supported here; "
            f"{extension.simd_level()} active"
        ),
        "CUDA architectures": _list(build["cuda_architectures"]),
    }


def _list(names: Sequence[str]) -> str:
    return ", ".join(names) or "none"
