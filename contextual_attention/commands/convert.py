"""``convert``: a published checkpoint as a folder of ours."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..files import replace_folder
from ..options import PRESETS
from .errors import CommandError
from .needs import need
from .progress import progress

HELP = "Turn a published checkpoint of the generator into a folder that from_pretrained reads."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "source", type=Path, metavar="SRC",
        help="file of torch.save, .safetensors, .npz of TensorFlow variables, or TensorFlow checkpoint; its "
             "format is recognised by its keys",
    )  # fmt: skip
    parser.add_argument("output", type=Path, metavar="OUT", help="folder to make")
    for name, choices, text in (
        ("padding", ("mirror", "same", "zero"), "of the convolutions"),
        ("attention", tuple(PRESETS), "preset of the attention"),
        ("channels", ("rgb", "bgr"), "order in which the published network has its colours"),
    ):
        parser.add_argument(f"--{name}", choices=choices, help=f"{text}; default: as the format's publisher")


def run(given: argparse.Namespace) -> None:
    """Read, recognise and convert a checkpoint, and write it whole or not at all."""
    convert = need("models.network.convert", "models")
    if given.output.exists():
        raise CommandError(f"{given.output}: exists; remove it, or name another folder")
    if not given.output.absolute().parent.is_dir():
        raise CommandError(f"{given.output}: there is no folder {given.output.parent}")
    is_bgr = None if given.channels is None else given.channels == "bgr"
    try:
        with progress("converting"):
            generator, layout = convert.convert(
                given.source, padding=given.padding, attention=given.attention, is_bgr=is_bgr
            )
    except ValueError as error:
        raise CommandError(str(error)) from error
    print(f"{given.source}: {layout.name}, {layout.origin}")
    print(", ".join(f"{name}={value}" for name, value in vars(generator.config).items()))
    replace_folder(given.output, generator.save_pretrained)
    print(f"written: {given.output}")
