"""The weights that come with the package, which are those of a `StructureNetwork` (docs/weights.md)."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

import torch
from huggingface_hub.constants import CONFIG_NAME, SAFETENSORS_SINGLE_FILE

from .structure import StructureNetwork
from .weight_files import WeightsError

# By which `load_model` knows them.
NAME = StructureNetwork.system
FOLDER = Path(__file__).with_name("weights") / NAME
FILES = (CONFIG_NAME, SAFETENSORS_SINGLE_FILE)
# In the folder too: the SHA-256 of each file and its name, as the program sha256sum writes and checks them.
SUMS = "SHA256SUMS"
_WAY_OUT = "install the package again"


def shipped_structure(device: torch.device | str = "cpu") -> StructureNetwork:
    """The structure network that comes with the package; needs no connection.

    Args:
        device: Where it is. Default: the CPU.

    Returns:
        The same network every time on a device, float32 and in evaluation mode; copy it before you change it.

    Raises:
        WeightsError, a ValueError: Its files are damaged or gone.

    Examples:
        >>> network = shipped_structure()
        >>> image, hole = torch.zeros(1, 3, 32, 32), torch.zeros(1, 1, 32, 32)
        >>> hole[..., 8:24, 8:24] = 1
        >>> network(image, hole).completed.shape
        torch.Size([1, 3, 32, 32])
    """
    return _on(torch.device(device))


@cache
def _on(device: torch.device) -> StructureNetwork:
    return load_shipped().to(device)


def load_shipped(folder: Path = FOLDER) -> StructureNetwork:
    """The same, read anew, of a folder that `write_sums` has been called for.

    Raises:
        WeightsError, a ValueError: A file of it is damaged or gone.
    """
    sums = _read(folder, SUMS).decode("ascii", "replace")
    for name in FILES:
        if _line(folder, name) not in sums.splitlines():
            raise WeightsError(
                f"{folder / name}: not the file that came with the package; {_WAY_OUT} (its SHA-256 is not "
                f"that of {SUMS})"
            )
    return StructureNetwork.from_pretrained(folder)


def write_sums(folder: Path) -> None:
    """Write what `load_shipped` holds the files of a folder against."""
    text = "".join(f"{_line(folder, name)}\n" for name in FILES)
    (folder / SUMS).write_text(text, encoding="ascii")


def _line(folder: Path, name: str) -> str:
    return f"{hashlib.sha256(_read(folder, name)).hexdigest()}  {name}"


def _read(folder: Path, name: str) -> bytes:
    try:
        return (folder / name).read_bytes()
    except OSError as error:
        raise WeightsError(f"{folder / name}: {error.strerror}; {_WAY_OUT}") from error
