"""Loading trained generators from where they are: a training run, a folder of weights, a repository."""

from __future__ import annotations

import os
from pathlib import Path

from .generator import InpaintGenerator
from .weight_files import WeightsError

WEIGHTS = "model.safetensors"


def load_generator(source: str | os.PathLike[str]) -> InpaintGenerator:
    """Load a generator, ready to complete pictures.

    Args:
        source: A folder as for `generator_folder`; where there is no such folder, the name of a repository
            of huggingface.co, which is downloaded unless it has been before.

    Raises:
        ValueError: No generator is there, or none that fits.
    """
    if os.path.isdir(source):
        return _from_pretrained(generator_folder(source))
    try:
        return _from_pretrained(source)
    # OSError: every failure of the network and of the repository. ValueError: no possible name of one.
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ValueError(
            f"model: {str(source)!r} is no folder here, and no repository that can be loaded ({reason})"
        ) from error


def generator_folder(path: str | os.PathLike[str]) -> Path:
    """The folder of the weights: that of `InpaintGenerator.save_pretrained`, or ``model`` in a training run.

    Raises:
        ValueError: No generator is there.
    """
    folder = Path(path)
    folder = folder / "model" if (folder / "model").is_dir() else folder
    # Not config.json: a run that has saved nothing yet has one too, of another kind.
    if not (folder / WEIGHTS).is_file():
        raise ValueError(
            f"model: {path} is neither a training run that has saved (model/{WEIGHTS}) nor a folder that "
            f"save_pretrained wrote ({WEIGHTS})"
        )
    return folder


def _from_pretrained(source: str | os.PathLike[str]) -> InpaintGenerator:
    try:
        return InpaintGenerator.from_pretrained(source)
    except WeightsError as error:
        raise ValueError(f"model: {error}") from error
