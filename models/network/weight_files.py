"""Files of named tensors that others wrote, read by what is in them and not by what they are called.

Nothing that a file says of itself is believed: whatever its bytes, it runs no code, takes memory in
proportion to its own size, and fails with one line that names it.
"""

from __future__ import annotations

import copy
import os
import re
import stat
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from .torch7_files import is_torch7, read_torch7

# By how much an .npz may grow when it is read. Trained weights hardly compress at all; a file of zeros
# grows a thousandfold.
_MOST_INFLATION = 8
# Under which files of torch.save have a state dict beside other things.
_WRAPPINGS = ("state_dict", "G")
_ZIP, _NPY = b"PK\x03\x04", b"\x93NUMPY"


class WeightsError(ValueError):
    """A file that holds no weights, or none that can be taken; the message names it and what is wrong."""


def read_weights(path: Path) -> Mapping[str, Any]:
    """The tensors of a file by name.

    Args:
        path: Of torch.save (a state dict, or a dict that has one as ``"state_dict"``, or as ``"G"``, a
            generator's), a .safetensors or an .npz, or of Torch7 (a table or a network), under any name.

    Returns:
        Tensors on the CPU or arrays; also whatever else such a file may hold, which `as_tensor` refuses.

    Raises:
        WeightsError: It holds no named tensors.
        OSError: It cannot be read.
    """
    with _damage_named(path, "not a file of named tensors"):
        kind = _kind(path)
        if kind == "npz":
            return _read_npz(path)
        if kind == "torch7":
            return read_torch7(path)
        loaded = load_file(path) if kind == "safetensors" else _unpickle(path)
        for wrapping in _WRAPPINGS:
            if isinstance(loaded, Mapping) and isinstance(loaded.get(wrapping), Mapping):
                loaded = loaded[wrapping]
        if not isinstance(loaded, Mapping) or not all(isinstance(each, str) for each in loaded):
            raise ValueError(f"it holds a {type(loaded).__name__}")
        return loaded


def read_saved(path: Path, called: Path | None = None) -> Any:
    """What torch.save wrote, on the CPU: tensors and plain values alone.

    Args:
        path: Of the file.
        called: What messages name in its place.

    Raises:
        WeightsError: It is damaged, or of another kind.
        OSError: It cannot be read.
    """
    with _damage_named(called or path, "damaged"):
        if _kind(path) != "torch":
            raise ValueError("not a file of torch.save")
        # Away from the file, which may be removed or replaced while the state is in use.
        return copy.deepcopy(_unpickle(path))


def as_tensor(value: Any, name: str, path: str | os.PathLike[str], *, is_count: bool = False) -> Tensor:
    """One value of a file as a tensor that is safe to compute with.

    Args:
        value: As `read_weights` returned it.
        name, path: Of the value and its file, for the message.
        is_count: Whether integers are expected, as a norm counts its batches, and not weights.

    Returns:
        Dense, floating or of int64, not empty, on the CPU; with no more elements than the file has numbers
        for.

    Raises:
        WeightsError: It is none.
    """
    if isinstance(value, np.ndarray) and value.dtype.kind == "f":
        with np.errstate(over="ignore"):  # infinite then, which `check_finite` names
            value = torch.from_numpy(value.astype(np.float32))  # in this machine's order of bytes
    fits = isinstance(value, Tensor) and (
        value.dtype == torch.int64 if is_count else value.is_floating_point()
    )
    if not fits:
        expected = "int64" if is_count else "floating-point numbers"
        kind = value.dtype if isinstance(value, (Tensor, np.ndarray)) else type(value).__name__
        raise WeightsError(f"{path}: {name}: expected a tensor of {expected}, got {kind}")
    if value.layout != torch.strided or value.is_nested or value.device.type != "cpu":
        raise WeightsError(
            f"{path}: {name}: expected a dense tensor, got {value.layout} on {value.device.type}"
        )
    needed = value.numel() * value.element_size()
    if not needed or needed > value.untyped_storage().nbytes():
        raise WeightsError(f"{path}: {name}: there are no numbers for its shape {tuple(value.shape)}")
    return value.detach()


def check_finite(tensor: Tensor, name: str, path: str | os.PathLike[str]) -> None:
    """Refuse a weight that would make every picture NaN.

    Raises:
        WeightsError: An element is NaN or infinite, in the dtype that it has been brought to, or a variance
            is negative.
    """
    if name.endswith("running_var") and (tensor < 0).any():
        raise WeightsError(f"{path}: {name}: has variances below 0")
    if not tensor.isfinite().all():
        raise WeightsError(f"{path}: {name}: has elements that are NaN or infinite")


def fitted(
    model: nn.Module, weights: Mapping[str, Any], path: str | os.PathLike[str], strict: bool
) -> dict[str, Tensor]:
    """The weights of a file as those of a network, of its shapes and dtypes, all finite.

    Args:
        model: The network; it may be on the device meta.
        weights: As `read_weights` returned them.
        path: Of their file, for the message.
        strict: Whether a weight that is missing or unknown is an error.

    Raises:
        WeightsError: They do not fit.
    """
    own = model.state_dict()
    for what, names in (("missing", own.keys() - weights), ("unknown", weights.keys() - own.keys())):
        if strict and names:
            raise WeightsError(f"{path}: {min(names)[:80]} is {what}: weights of another network")
    tensors = {}
    for name in own.keys() & weights.keys():
        tensor = as_tensor(weights[name], name, path, is_count=not own[name].is_floating_point())
        if tensor.shape != own[name].shape:
            raise WeightsError(
                f"{path}: {name}: expected shape {tuple(own[name].shape)}, got {tuple(tensor.shape)}: "
                "weights of another configuration"
            )
        tensors[name] = tensor.to(own[name].dtype)
        check_finite(tensors[name], name, path)
    return tensors


def _kind(path: Path) -> str:
    if not stat.S_ISREG(os.stat(path).st_mode):  # a pipe would be waited for
        raise ValueError("not a regular file")
    with open(path, "rb") as file:
        start = file.read(9)
    if not start:
        raise ValueError("it is empty")
    if is_torch7(start):
        return "torch7"
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            return "npz" if any(name.endswith(".npy") for name in archive.namelist()) else "torch"
    if start.startswith(_ZIP):
        raise ValueError("a zip archive that is cut short")
    if start.startswith(_NPY):
        raise ValueError("a single array (.npy); expected named ones (.npz)")
    return "safetensors" if start[8:] == b"{" else "torch"  # after the length of its header


def _unpickle(path: Path) -> Any:
    size = path.stat().st_size
    is_archive = zipfile.is_zipfile(path)
    if is_archive:
        _check_archive(path, size)
    declared = 0

    def stay(storage: torch.UntypedStorage, _location: str) -> torch.UntypedStorage:
        nonlocal declared
        declared += storage.nbytes()
        if declared > size:
            raise ValueError(f"its tensors have more bytes than its {size:,}")
        return storage

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of old and odd pickles, which are read all the same, or refused
        # Mapped, a tensor cannot reach beyond the file, whatever size it declares.
        return torch.load(path, map_location=stay, weights_only=True, mmap=is_archive)


def _check_archive(path: Path, size: int) -> None:
    """What torch.load does not look at: lengths, and the sums by which damaged numbers are known."""
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        if any(entry.filename.endswith("/constants.pkl") for entry in entries):
            raise ValueError("a TorchScript archive, which is code")
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
            raise ValueError("its entries are compressed, which torch.save never does")
        if sum(entry.file_size for entry in entries) > size:
            raise ValueError(f"its entries have more bytes than its {size:,}")
        damaged = archive.testzip()
        if damaged is not None:
            raise ValueError(f"its entry {damaged} is damaged")


def _read_npz(path: Path) -> Mapping[str, Any]:
    size = path.stat().st_size
    with zipfile.ZipFile(path) as archive:
        inflated = sum(entry.file_size for entry in archive.infolist())
    if inflated > _MOST_INFLATION * size:
        raise ValueError(
            f"it would grow from {size:,} to {inflated:,} bytes; weights do not compress so well"
        )
    weights = {}
    with np.load(path, allow_pickle=False) as arrays:
        for name in arrays.files:
            with _damage_named(path, f"{name} cannot be read"):
                weights[name] = arrays[name]
    return weights


@contextmanager
def _damage_named(path: Path, what: str) -> Iterator[None]:
    """Whatever goes wrong inside becomes a WeightsError, unless it is about the file as such."""
    try:
        yield
    except WeightsError:
        raise
    # Decoders raise whatever damaged bytes lead them to: KeyError, struct.error, MemoryError, ...
    except Exception as error:
        if isinstance(error, OSError) and error.filename is not None:
            raise
        raise WeightsError(f"{path}: {what} ({_reason(error)})") from error


def _reason(error: Exception) -> str:
    """The first line of what an error says; of torch's pages about pickles, what is wrong with this one."""
    text = str(error).rpartition("WeightsUnpickler error:")[2].strip()
    refused = re.search(r"GLOBAL (\S+) was not an allowed", text)
    if refused:
        return (
            f"it holds {refused[1]}, which is code; if you trust it, save its tensors alone: "
            'torch.save(torch.load(FILE, weights_only=False)["state_dict"], NEW)'
        )
    return text.partition("\n")[0][:300] or type(error).__name__
