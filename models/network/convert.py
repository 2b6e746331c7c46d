"""Published checkpoints into networks of ours.

What a published network does differently stays as it is, by its configuration; only colours are brought to
red, green, blue, by exchanging the channels of the first and the last weights.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from .folders import FolderOfWeights
from .layers import Padding
from .layouts import LAYOUTS, Layout
from .layouts.layout import Weights
from .weight_files import WeightsError, read_weights

ORIGIN = "origin.json"
_FORMATS = "\n".join(f"- {each.name} ({each.origin}): {each.example}" for each in LAYOUTS)
_ACCEPTED = f"Accepted are, each with the key of its first layer,\n{_FORMATS}"
_FILES = (
    "Accepted are a file of torch.save, a .safetensors, a .t7 of Torch7, an .npz of TensorFlow variables and "
    "a TensorFlow checkpoint"
)


class Converted(NamedTuple):
    """A network made of a published checkpoint.

    Attributes:
        network: In evaluation mode.
        layout: The format that the checkpoint was in.
        variant: The name of the behaviour that the network has; None where there is but one.
    """

    network: FolderOfWeights
    layout: Layout
    variant: str | None

    def save(self, folder: Path, source: Path) -> None:
        """Write a folder of `save_pretrained`, and in it where the weights are from: origin.json.

        Args:
            folder: To make.
            source: The file that was converted.
        """
        self.network.save_pretrained(folder)
        origin = {
            "file": source.name,
            "format": self.layout.name,
            "variant": self.variant,
            "published": self.layout.origin,
            "licence": self.layout.licence,
        }
        (folder / ORIGIN).write_text(json.dumps(origin, indent=2) + "\n", encoding="utf-8")


def convert(
    path: str | Path,
    *,
    padding: Padding | None = None,
    attention: str | None = None,
    is_bgr: bool | None = None,
    mean: Sequence[float] | None = None,
    variant: str | None = None,
) -> Converted:
    """Read a published checkpoint, recognised by its keys and shapes, as a network for RGB images.

    Args:
        path: A file of torch.save (a state dict, or a dict that has one as ``"state_dict"`` or ``"G"``), a
            .safetensors, a binary .t7 of Torch7, an .npz of TensorFlow variables under their names, or a
            TensorFlow checkpoint: its prefix, one of its files or its folder, which needs the extra
            ``tensorflow``.
        padding, attention: As in `GeneratorConfig`, for weights that were moved from one implementation to
            another. Default: as the format's publisher has them.
        is_bgr: Whether the network was trained on images of channels blue, green, red. Default: likewise.
        mean: Red, green and blue in 0 to 1, of the pictures that the network was trained on, for formats that
            keep it elsewhere. Default: the one that was published.
        variant: For formats whose weights compute one thing in one program and another in the next: which;
            a name of ``layout.variants``. Default: the first of them.

    Raises:
        WeightsError: Nothing that is accepted, and what is; weights missing, of other shapes than this
            network's, or not finite; an option that the format does not have, or that its network refuses.
        OSError: The file cannot be read.
    """
    weights = Weights(_read(Path(path)), path)
    layout, weights = _recognise(weights)
    named = {"padding": padding, "attention": attention, "is_bgr": is_bgr, "mean": mean}
    given = {name: each for name, each in named.items() if each is not None}
    for name in given.keys() - layout.choices:
        known = ", ".join(map(_said, sorted(layout.choices))) or "none"
        raise WeightsError(f"{path}: {_said(name)}: not for the format {layout.name}, which takes {known}")
    chosen = _variant(layout, variant, path)
    try:
        network = layout.build(weights, {**given, "variant": layout.variants.get(chosen, {})})
    except WeightsError:
        raise
    except ValueError as error:
        raise WeightsError(f"{path}: no network of this package: {error}") from error
    return Converted(network, layout, chosen)


def _recognise(weights: Weights) -> tuple[Layout, Weights]:
    for layout in LAYOUTS:
        prefix = layout.prefix_in(weights)
        if prefix is not None:
            return layout, weights.under(prefix)
    found = ", ".join(key[:80] for key in list(weights.values)[:3]) or "nothing"
    raise WeightsError(
        f"{weights.path}: no checkpoint of a known format: its keys are {found}, ...\n{_ACCEPTED}"
    )


def _variant(layout: Layout, name: str | None, path: str | Path) -> str | None:
    if name is None:
        return next(iter(layout.variants), None)
    if name not in layout.variants:
        expected = ", ".join(layout.variants) or f"none, the format {layout.name} has one behaviour"
        raise WeightsError(f"{path}: variant: expected {expected}; got {name!r}")
    return name


def _said(choice: str) -> str:
    """An option as the command has it, too."""
    return "is_bgr (--channels)" if choice == "is_bgr" else choice


# Files


def _read(path: Path) -> Mapping[str, Any]:
    prefix = _tensorflow_prefix(path)
    if prefix is not None:
        return _read_tensorflow(prefix)
    if path.is_dir():
        raise WeightsError(f"{path}: a folder without a TensorFlow checkpoint. {_FILES}")
    try:
        weights = read_weights(path)
    except WeightsError as error:
        raise WeightsError(f"{error}. {_FILES}") from error
    # As TensorFlow names variables, and as torch.nn.DataParallel names what is in the network it wraps.
    return {name.removesuffix(":0").removeprefix("module."): weight for name, weight in weights.items()}


def _tensorflow_prefix(path: Path) -> Path | None:
    """What TensorFlow calls a checkpoint: the path of its files without their endings, or their folder."""
    if (path / "checkpoint").is_file():
        return path
    if path.is_dir():  # "." has no name
        indices = list(path.glob("*.index"))  # published ones have their file checkpoint renamed, or none
        return indices[0].with_suffix("") if len(indices) == 1 else None
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
