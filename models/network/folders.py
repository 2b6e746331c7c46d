"""Networks saved as folders, config.json beside model.safetensors, that may come from anywhere.

config.json has the whole configuration and, as ``"system"``, of which system the network is.
"""

from __future__ import annotations

import contextlib
import dataclasses
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

SYSTEM = "system"


class FolderOfWeights(PyTorchModelHubMixin):
    """The mixin of huggingface_hub for a network, its files checked before memory is taken for them.

    Attributes:
        Config: The dataclass of what config.json holds. A network can be made of one, and has it as
            ``config``.
        system: The name of its kind in `systems.SYSTEMS`.
        has_offsets: Whether its ``forward`` takes ``return_offsets=True``.
    """

    Config: type
    system: str
    has_offsets: bool = False

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
            cls._check_config(Path(source, CONFIG_NAME))
        return super().from_pretrained(source, **given)

    @classmethod
    def _from_pretrained(cls: type[Network], *, strict: bool = True, **given: Any) -> Network:
        given.pop(SYSTEM, None)  # of config.json, which is no option of a network
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
        values = {SYSTEM: self.system, **dataclasses.asdict(self.config)}
        text = json.dumps(values, sort_keys=True, indent=2)
        Path(save_directory, CONFIG_NAME).write_text(text, encoding="utf-8")

    @classmethod
    def _check_config(cls, path: Path) -> None:
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            system = values.pop(SYSTEM, cls.system) if isinstance(values, dict) else cls.system
            if system != cls.system:
                raise ValueError(f"its {SYSTEM} is {system!r}, expected {cls.system!r}")
            cls.Config(**values)
        # ValueError: no JSON, or a field out of its range. TypeError: fields of other names or kinds.
        except (ValueError, TypeError, RecursionError) as error:
            raise WeightsError(f"{path}: not the configuration of a network ({error})") from error
