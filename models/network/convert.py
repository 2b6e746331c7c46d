"""Published checkpoints of the generator into ours.

What a published network does differently stays as it is, by its `GeneratorConfig`; only colours are brought
to red, green, blue, by exchanging the channels of the first and the last weights.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .generator import GeneratorConfig, InpaintGenerator
from .layers import ConvLayer, Padding
from .layouts import LAYOUTS, Layout
from .weight_files import WeightsError, as_tensor, check_finite, read_weights

_FORMATS = "\n".join(f"- {each.name} ({each.origin}): {each.prefixes[0]}{each.example}" for each in LAYOUTS)
ACCEPTED = (
    "Accepted are, each with the key of its first layer,\n"
    f"{_FORMATS},\n"
    "in a file of torch.save, a .safetensors, an .npz of TensorFlow variables or a TensorFlow checkpoint."
)
_COLOURS = 3
_BLUE_GREEN_RED = [2, 1, 0]


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
        WeightsError: Nothing that is accepted, and what is; weights missing, of other shapes than this
            network's, or not finite; or a number of channels, a padding or an attention that
            `GeneratorConfig` refuses.
        OSError: The file cannot be read.
    """
    weights = _read(Path(path))
    layout, prefix = _recognise(weights, path)
    named = {
        name: _tensor(weights, prefix + name, path, layout.is_hwio and name.endswith(layout.weight))
        for layer in layout.layers
        for name in (layer + layout.weight, layer + layout.bias)
    }
    given = {"padding": padding, "attention": attention}
    options = layout.options | {name: each for name, each in given.items() if each is not None}
    cnum, *_ = (*named[layout.example].shape, 0)  # 0, which no generator has, for a single number
    try:
        config = GeneratorConfig(cnum=cnum, **options)
    except ValueError as error:
        raise WeightsError(f"{path}: no generator of this package: {error}") from error
    with torch.device("meta"):  # no memory before it is known that the file fills it
        _check_shapes(InpaintGenerator(config), named, layout, path)
    generator = InpaintGenerator(config)
    _fill(generator, named, layout, path)
    if layout.is_bgr if is_bgr is None else is_bgr:
        _exchange_colours(generator)
    return Converted(generator.eval(), layout)


def _recognise(weights: Mapping[str, Any], path: str | Path) -> tuple[Layout, str]:
    for layout in LAYOUTS:
        prefix = layout.prefix_in(weights)
        if prefix is not None:
            return layout, prefix
    found = ", ".join(key[:80] for key in list(weights)[:3]) or "nothing"
    raise WeightsError(f"{path}: no checkpoint of a known format: its keys are {found}, ...\n{ACCEPTED}")


def _tensor(weights: Mapping[str, Any], key: str, path: str | Path, is_hwio: bool) -> Tensor:
    if key not in weights:
        raise WeightsError(f"{path}: {key} is missing: it does not hold the whole generator")
    tensor = as_tensor(weights[key], key, path)
    return tensor.permute(3, 2, 0, 1) if is_hwio and tensor.dim() == 4 else tensor


def _check_shapes(
    generator: InpaintGenerator, named: dict[str, Tensor], layout: Layout, path: str | Path
) -> None:
    for name, parameter in _parameters(generator, layout):
        if named[name].shape != parameter.shape:
            raise WeightsError(
                f"{path}: {name}: expected shape {tuple(parameter.shape)}, out x in x height x width, got "
                f"{tuple(named[name].shape)}: another network, such as version 2 with its gates"
            )


@torch.no_grad()
def _fill(generator: InpaintGenerator, named: dict[str, Tensor], layout: Layout, path: str | Path) -> None:
    for name, parameter in _parameters(generator, layout):
        parameter.copy_(named[name])
        check_finite(parameter, name, path)


def _parameters(generator: InpaintGenerator, layout: Layout) -> Iterator[tuple[str, Tensor]]:
    """Weights and biases by the names that a layout has for them, in its order."""
    layers = (module for module in generator.modules() if isinstance(module, ConvLayer))
    for name, layer in zip(layout.layers, layers, strict=True):
        yield name + layout.weight, layer.weight
        yield name + layout.bias, layer.bias


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


def _read(path: Path) -> Mapping[str, Any]:
    prefix = _tensorflow_prefix(path)
    if prefix is not None:
        return _read_tensorflow(prefix)
    if path.is_dir():
        raise WeightsError(f"{path}: a folder without a TensorFlow checkpoint\n{ACCEPTED}")
    try:
        weights = read_weights(path)
    except WeightsError as error:
        raise WeightsError(f"{error}\n{ACCEPTED}") from error
    return {name.removesuffix(":0"): weight for name, weight in weights.items()}  # as TensorFlow names them


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
        raise WeightsError(
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
        raise WeightsError(f"{prefix}: TensorFlow cannot read it ({reason})") from error
