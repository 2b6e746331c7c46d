"""Published checkpoints of the generator into ours.

What a published network does differently stays as it is, by its `GeneratorConfig`; only colours are brought
to red, green, blue, by exchanging the channels of the first and the last weights.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple
from zipfile import BadZipFile

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from .generator import InpaintGenerator
from .layers import ConvLayer, Padding
from .layouts import LAYOUTS, Layout

_FORMATS = "\n".join(f"- {each.name} ({each.origin}): {each.prefixes[0]}{each.example}" for each in LAYOUTS)
ACCEPTED = (
    "Accepted are, each with the key of its first layer,\n"
    f"{_FORMATS},\n"
    "in a file of torch.save, a .safetensors, an .npz of TensorFlow variables or a TensorFlow checkpoint."
)
_COLOURS = 3
_BLUE_GREEN_RED = [2, 1, 0]


class ConversionError(ValueError):
    """A file that is no checkpoint that can be converted; the message says what is accepted."""


class Converted(NamedTuple):
    """A generator made of a published checkpoint, and the format that this was in."""

    generator: InpaintGenerator
    layout: Layout


def convert(
    path: str | Path,
    *,
    padding: Padding | None = None,
    attention: str | None = None,
    is_bgr: bool | None = None,
) -> Converted:
    """Read a published checkpoint, recognised by its keys, as an `InpaintGenerator` for RGB images.

    Args:
        path: A file of torch.save (a state dict, or a dict that has one as ``"state_dict"``), a .safetensors,
            an .npz of TensorFlow variables under their names, or a TensorFlow checkpoint: its prefix, one of
            its files or its folder, which needs the extra ``tensorflow``.
        padding, attention: As in `GeneratorConfig`, for weights that were moved from one implementation to
            another. Default: as the format's publisher has them.
        is_bgr: Whether the network was trained on images of channels blue, green, red. Default: likewise.

    Raises:
        ConversionError: Nothing that is accepted, weights missing or of other shapes than this network's, or
            a number of channels, a padding or an attention that `GeneratorConfig` refuses.
        OSError: The file cannot be read.
    """
    weights = read_weights(Path(path))
    layout, prefix = _recognise(weights, path)
    named = {
        name: _tensor(weights, prefix + name, path, layout.is_hwio and name.endswith(layout.weight))
        for layer in layout.layers
        for name in (layer + layout.weight, layer + layout.bias)
    }
    given = {"padding": padding, "attention": attention}
    options = layout.options | {name: each for name, each in given.items() if each is not None}
    try:
        generator = InpaintGenerator(cnum=named[layout.example].shape[0], **options)
    except ValueError as error:
        raise ConversionError(f"{path}: no generator of this package: {error}") from error
    _fill(generator, named, layout, path)
    if layout.is_bgr if is_bgr is None else is_bgr:
        _exchange_colours(generator)
    return Converted(generator.eval(), layout)


def _recognise(weights: Mapping[str, Any], path: str | Path) -> tuple[Layout, str]:
    for layout in LAYOUTS:
        prefix = layout.prefix_in(weights)
        if prefix is not None:
            return layout, prefix
    found = ", ".join(list(weights)[:3]) or "nothing"
    raise ConversionError(f"{path}: no checkpoint of a known format: its keys are {found}, ...\n{ACCEPTED}")


def _tensor(weights: Mapping[str, Any], key: str, path: str | Path, is_hwio: bool) -> Tensor:
    if key not in weights:
        raise ConversionError(f"{path}: {key} is missing: it does not hold the whole generator")
    tensor = torch.as_tensor(weights[key]).float()
    return tensor.permute(3, 2, 0, 1) if is_hwio and tensor.dim() == 4 else tensor


@torch.no_grad()
def _fill(generator: InpaintGenerator, named: dict[str, Tensor], layout: Layout, path: str | Path) -> None:
    for name, layer in zip(layout.layers, _convolutions(generator), strict=True):
        for suffix, parameter in ((layout.weight, layer.weight), (layout.bias, layer.bias)):
            tensor = named[name + suffix]
            if tensor.shape != parameter.shape:
                raise ConversionError(
                    f"{path}: {name}{suffix}: expected shape {tuple(parameter.shape)}, out x in x height x "
                    f"width, got {tuple(tensor.shape)}: another network, such as version 2 with its gates"
                )
            parameter.copy_(tensor)


def _convolutions(generator: nn.Module) -> Iterator[ConvLayer]:
    """In the order in which layouts list them."""
    return (module for module in generator.modules() if isinstance(module, ConvLayer))


@torch.no_grad()
def _exchange_colours(generator: InpaintGenerator) -> None:
    """Make a network of blue, green, red into the same network of red, green, blue."""
    refinement = generator.refinement
    for layer in (generator.coarse[0], refinement.convolutions[0], refinement.attention.encoder[0]):
        layer.weight[:, :_COLOURS] = layer.weight[:, _BLUE_GREEN_RED]
    for layer in (generator.coarse[-1], refinement.decoder[-1]):
        layer.weight[:] = layer.weight[_BLUE_GREEN_RED]
        layer.bias[:] = layer.bias[_BLUE_GREEN_RED]


# Files


def read_weights(path: Path) -> Mapping[str, Any]:
    """The tensors of a file by name. Of pickles, only tensors and plain containers are loaded, no code."""
    prefix = _tensorflow_prefix(path)
    if prefix is not None:
        return _read_tensorflow(prefix)
    if path.is_dir():
        raise ConversionError(f"{path}: a folder without a TensorFlow checkpoint\n{ACCEPTED}")
    try:
        return _READERS.get(path.suffix, _read_torch)(path)
    except _UNREADABLE as error:
        reason = str(error).partition("\n")[0]
        raise ConversionError(f"{path}: not a file of named tensors ({reason})\n{ACCEPTED}") from error


def _read_torch(path: Path) -> Mapping[str, Any]:
    loaded = torch.load(path, map_location="cpu", weights_only=True)
    if isinstance(loaded, Mapping) and isinstance(loaded.get("state_dict"), Mapping):
        loaded = loaded["state_dict"]
    if not isinstance(loaded, Mapping) or not all(isinstance(each, str) for each in loaded):
        raise ValueError(f"it holds a {type(loaded).__name__}")
    return loaded


def _read_npz(path: Path) -> Mapping[str, Any]:
    with np.load(path, allow_pickle=False) as arrays:
        return {name.removesuffix(":0"): arrays[name] for name in arrays.files}


_READERS = {".npz": _read_npz, ".safetensors": load_file}
# What they raise for a file that is not what it should be.
_UNREADABLE = (pickle.UnpicklingError, EOFError, RuntimeError, ValueError, BadZipFile, SafetensorError)


def _tensorflow_prefix(path: Path) -> Path | None:
    """What TensorFlow calls a checkpoint: the path of its files without their endings, or their folder."""
    if (path / "checkpoint").is_file():
        return path
    if path.is_dir():  # "." has no name
        return None
    name = path.name.removesuffix(".index").removesuffix(".meta").partition(".data-")[0]
    prefix = path.with_name(name)
    return prefix if prefix.with_name(f"{name}.index").is_file() else None


def _read_tensorflow(prefix: Path) -> Mapping[str, Any]:
    try:
        import tensorflow
    except ModuleNotFoundError as error:
        raise ConversionError(
            f"{prefix}: reading TensorFlow's files needs TensorFlow: pip install "
            '"contextual_attention[tensorflow]"; or convert an .npz of the variables, made where it is '
            "installed: reader = tf.train.load_checkpoint(path); np.savez(file, "
            "**{n: reader.get_tensor(n) for n in reader.get_variable_to_shape_map()})"
        ) from error
    try:
        reader = tensorflow.train.load_checkpoint(str(prefix))
        return {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}
    except (tensorflow.errors.OpError, RuntimeError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise ConversionError(f"{prefix}: TensorFlow cannot read it ({reason})") from error
