"""``convert``: a published checkpoint as a folder of ours."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..files import check_new_folder, replace_folder
from ..options import PRESETS
from .errors import CommandError
from .needs import need
from .progress import progress

HELP = "Turn a published checkpoint of an inpainting network into a folder that every command takes."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "source", type=Path, metavar="SRC",
        help="file of torch.save, .safetensors, .t7 of Torch7, .npz of TensorFlow variables, or TensorFlow "
             "checkpoint; its format is recognised by its keys. Weights keep their licence, which is written "
             "to the folder: the authors' of all systems, and what is converted from them, are not for "
             "commercial use",
    )  # fmt: skip
    parser.add_argument("output", type=Path, metavar="OUT", help="folder to make")
    for name, choices, text in (
        ("padding", ("mirror", "same", "zero"), "of the convolutions"),
        ("attention", tuple(PRESETS), "preset of the attention"),
        ("channels", ("rgb", "bgr"), "order in which the published network has its colours"),
    ):
        parser.add_argument(f"--{name}", choices=choices, help=f"{text}; default: as the format's publisher")
    parser.add_argument(
        "--mean", type=_colour, metavar="R,G,B",
        help="of Iizuka et al.: mean colour of the pictures it was trained on, each 0 to 1; default: that in "
             "the file, for otenim that in config.json beside it, else that of Places2",
    )  # fmt: skip
    parser.add_argument(
        "--variant", metavar="NAME",
        help="which of several programs to follow, where they make different things of the same weights: of "
             "nipponjo's states_tf original (default) or networks_tf",
    )  # fmt: skip


def _colour(text: str) -> tuple[float, ...]:
    try:
        colour = tuple(float(part) for part in text.split(","))
    except ValueError:
        colour = ()
    if len(colour) != 3 or not all(0 <= part <= 1 for part in colour):
        raise argparse.ArgumentTypeError(f"expected three numbers from 0 to 1, as 0.5,0.4,0.4, got {text!r}")
    return colour


def run(given: argparse.Namespace) -> None:
    """Read, recognise and convert a checkpoint, and write it whole or not at all."""
    convert = need("models.network.convert", "models")
    try:
        check_new_folder(given.output)
    except OSError as error:
        raise CommandError(f"{given.output}: {error}") from error
    is_bgr = None if given.channels is None else given.channels == "bgr"
    try:
        with progress("converting"):
            converted = convert.convert(
                given.source, padding=given.padding, attention=given.attention, is_bgr=is_bgr,
                mean=given.mean, variant=given.variant,
            )  # fmt: skip
    except ValueError as error:
        raise CommandError(str(error)) from error
    layout, config = converted.layout, converted.network.config
    variant = "" if converted.variant is None else f", variant {converted.variant}"
    print(f"{given.source}: {layout.name}, {layout.origin}{variant}")
    print(f"licence of the weights: {layout.licence}")
    print(", ".join(f"{name}={value}" for name, value in vars(config).items()))
    replace_folder(given.output, lambda folder: converted.save(folder, given.source))
    print(f"written: {given.output}")
