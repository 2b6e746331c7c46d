"""Loading trained networks from where they are: a run, a folder of weights, this package, a repository."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import hf_hub_download
from huggingface_hub.constants import CONFIG_NAME

from . import shipped
from .folders import SYSTEM, FolderOfWeights
from .systems import FIRST, SYSTEMS
from .weight_files import WeightsError

WEIGHTS = "model.safetensors"


def load_model(source: str | os.PathLike[str], device: torch.device | str = "cpu") -> FolderOfWeights:
    """Load a trained network, whichever system it is of, ready to complete pictures.

    Args:
        source: A folder as for `model_folder`. Where there is no such folder, ``"structure"`` is the network
            that comes with the package (`shipped.NAME`), and another name that of a repository of
            huggingface.co, which is downloaded unless it has been before.
        device: Where to put it. Default: the CPU.

    Returns:
        A network of one of `systems.SYSTEMS`, in evaluation mode: ``network(image, mask)`` is an `Inpainted`.

    Raises:
        ValueError: No network is there, or none that fits; weights of the package that are damaged.
    """
    return _loaded(source).to(device)


def _loaded(source: str | os.PathLike[str]) -> FolderOfWeights:
    try:
        if os.path.isdir(source):
            return _from_folder(model_folder(source))
        return shipped.load_shipped() if str(source) == shipped.NAME else _from_repository(str(source))
    except WeightsError as error:
        raise ValueError(f"model: {error}") from error


def start_from(network: FolderOfWeights, source: str | os.PathLike[str]) -> None:
    """Give a network the weights of a trained one of the same configuration.

    Args:
        network: Changed in place.
        source: As for `load_model`.

    Raises:
        ValueError: No network is there, or one of another system or configuration.
    """
    try:
        trained = load_model(source)
    except ValueError as error:
        raise ValueError(f"start: {error}") from error
    if type(trained) is not type(network) or trained.config != network.config:
        raise ValueError(
            f"start: expected the weights of {network.system} with {network.config}, but {source} has those "
            f"of {trained.system} with {trained.config}"
        )
    network.load_state_dict(trained.state_dict())


def model_folder(path: str | os.PathLike[str]) -> Path:
    """The folder of the weights: that of ``save_pretrained``, or ``model`` in a training run.

    Raises:
        ValueError: No network is there.
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


def _from_folder(folder: Path) -> FolderOfWeights:
    return _class_of(folder / CONFIG_NAME).from_pretrained(folder)


def _from_repository(name: str) -> FolderOfWeights:
    try:
        return _class_of(Path(hf_hub_download(name, CONFIG_NAME))).from_pretrained(name)
    # OSError: every failure of the network and of the repository. ValueError: no possible name of one, or
    # weights that do not fit.
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ValueError(
            f"model: {name!r} is no folder here, and no repository that can be loaded ({reason})"
        ) from error


def _class_of(config: Path) -> type[FolderOfWeights]:
    """The class of the network that a configuration is of."""
    try:
        values: Any = json.loads(config.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return SYSTEMS[FIRST]  # whose own way of loading says what is missing
    except (ValueError, RecursionError) as error:
        raise WeightsError(f"{config}: not the configuration of a network ({error})") from error
    system = values.get(SYSTEM, FIRST) if isinstance(values, dict) else FIRST
    if system not in SYSTEMS:
        raise WeightsError(f"{config}: {SYSTEM}: expected one of {', '.join(SYSTEMS)}, got {system!r}")
    return SYSTEMS[system]
