"""Networks saved as folders, config.json beside model.safetensors, that may come from anywhere."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
from pathlib import Path
from typing import Any, TypeVar

import torch
from huggingface_hub import PyTorchModelHubMixin
from huggingface_hub.constants import CONFIG_NAME
from safetensors import SafetensorError

from .weight_files import WeightsError, fitted, read_weights

Network = TypeVar("Network", bound="FolderOfWeights")


class FolderOfWeights(PyTorchModelHubMixin):
    """The mixin of huggingface_hub for a network, its files checked before memory is taken for them.

    Attributes:
        Config: The dataclass of what config.json holds. A network can be made of one, and has it as
            ``config``.
    """

    Config: type

    @classmethod
    def from_pretrained(cls: type[Network], source: str | os.PathLike[str], **given: Any) -> Network:
        """Load a network, in evaluation mode.

        Args:
            source: A folder that `save_pretrained` wrote, or the name of a repository of huggingface.co.
            **given: As of huggingface_hub's ``from_pretrained``. ``strict=False`` accepts weights that are
                missing or unknown, which are errors otherwise.

        Raises:
            WeightsError, a ValueError: The configuration or the weights are damaged, or do not belong
                together; weights are not finite.
            OSError: Files or repositories that are not there, or cannot be read.
        """
        if os.path.isdir(source):
            _check_config(Path(source, CONFIG_NAME), cls.Config)
        return super().from_pretrained(source, **given)

    @classmethod
    def _from_pretrained(cls: type[Network], *, strict: bool = True, **given: Any) -> Network:
        # Shapes without numbers, to compare the file with; and what huggingface_hub prints is no result.
        with torch.device("meta"), contextlib.redirect_stdout(io.StringIO()):
            return super()._from_pretrained(strict=strict, **given)

    @classmethod
    def _load_as_safetensor(
        cls: type[Network], model: Network, model_file: str, map_location: str, strict: bool
    ) -> Network:
        """The network of which ``model`` is the shape."""
        with torch.device("cpu"):
            weights = fitted(model, read_weights(Path(model_file)), model_file, strict)
            network = cls(model.config)
            network.load_state_dict(weights, strict=strict)
        return network.to(map_location).eval()

    _load_as_pickle = _load_as_safetensor  # which looks into the file itself

    def _save_pretrained(self, save_directory: Path) -> None:
        try:
            super()._save_pretrained(save_directory)
        except SafetensorError as error:
            code = re.search(r"os error (\d+)", str(error))
            if code is None:
                raise
            raise OSError(int(code[1]), os.strerror(int(code[1])), str(save_directory)) from error


def _check_config(path: Path, kind: type) -> None:
    try:
        kind(**json.loads(path.read_text(encoding="utf-8")))
    # ValueError: no JSON, or a field out of its range. TypeError: fields of other names or kinds.
    except (ValueError, TypeError, RecursionError) as error:
        raise WeightsError(f"{path}: not the configuration of a network ({error})") from error
