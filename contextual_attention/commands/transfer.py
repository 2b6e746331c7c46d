"""``transfer``: one photograph rebuilt from the patches of another."""

from __future__ import annotations

import argparse
import dataclasses
import time
from pathlib import Path
from types import ModuleType

import torch
from torch import Tensor

from .. import backends
from ..functional import contextual_attention
from ..options import Options
from ..visualize import offsets_to_image
from .arguments import add_layer_arguments, count, layer_options
from .errors import CommandError

HELP = "Rebuild one photograph from the patches of another."

# The layer's 10 suits learned features; patches of colours are so alike that it would average hundreds.
TRANSFER_OPTIONS = Options(softmax_scale=50.0)
TRANSFER_MAX_SIZE = 512


def add_arguments(parser: argparse.ArgumentParser) -> None:
    for name, required, text in (
        ("foreground", True, "the photograph to rebuild"),
        ("background", True, "the photograph to take patches from"),
        ("output", True, "where to write the result"),
        ("offsets", False, "where to write the attention picture"),
    ):
        parser.add_argument(f"--{name}", required=required, type=Path, metavar="FILE", help=text)
    parser.add_argument(
        "--max-size", type=count, default=TRANSFER_MAX_SIZE, metavar="N",
        help="reduce larger photographs to N pixels on the longest side (default: %(default)s); "
             "the time grows with the product of the two areas",
    )  # fmt: skip
    add_layer_arguments(parser, f'the preset "paper" with softmax scale {TRANSFER_OPTIONS.softmax_scale:g}')


def run(given: argparse.Namespace) -> None:
    """Rebuild one photograph from the patches of another: RGB in [-1, 1] are the features and the values."""
    photos = _photos()
    for path in filter(None, (given.output, given.offsets)):
        photos.check_writable(path)
    if given.offsets is not None and given.offsets.resolve() == given.output.resolve():
        raise CommandError(f"--output and --offsets are the same file, {given.output}")
    options = layer_options(given, TRANSFER_OPTIONS)
    foreground, background = (
        _fit(_read(photos, role, path, given.max_size), options)
        for role, path in (("foreground", given.foreground), ("background", given.background))
    )
    output, offsets = _attend(foreground, background, options, given)
    pictures = {given.output: photos.to_uint8(output)[0]}
    if given.offsets is not None:
        pictures[given.offsets] = offsets_to_image(offsets, output.shape[2:])[0]
    photos.write_photos(pictures)
    for path in pictures:
        print(f"written: {path}")


def _photos() -> ModuleType:
    try:
        from .. import photos
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != "PIL":
            raise
        raise CommandError(
            'reading and writing photographs needs Pillow: pip install "contextual_attention[demo]"'
        ) from error
    return photos


def _read(photos: ModuleType, role: str, path: Path, max_size: int) -> Tensor:
    photo = photos.read_photo(path, max_size)
    print(f"{role}: {path}, {_size(photo)} pixels")
    return photo


def _fit(photo: Tensor, options: Options) -> Tensor:
    """Crop to a multiple of the rate where the layer asks for one (``downscale="aligned"``)."""
    height, width = photo.shape[2:]
    excess = options.rate if options.downscale == "aligned" else 1
    if min(height, width) < excess:
        raise CommandError(f"a photograph of {_size(photo)} pixels is too small for rate {options.rate}")
    return photo[:, :, : height - height % excess, : width - width % excess]


def _attend(
    foreground: Tensor, background: Tensor, options: Options, given: argparse.Namespace
) -> tuple[Tensor, Tensor]:
    try:
        backend = backends.choose(given.backend, foreground.device, foreground.dtype)
        print(f"attending: {_size(foreground)} to {_size(background)}, backend {backend} ...", flush=True)
        start = time.perf_counter()
        with torch.no_grad():
            result = contextual_attention(
                foreground, background, backend=given.backend, workspace=given.workspace, return_offsets=True,
                **dataclasses.asdict(options),
            )  # fmt: skip
    # ValueError: a workspace or a size that the layer refuses. RuntimeError: no such backend, out of memory.
    except (ValueError, RuntimeError) as error:
        raise CommandError(str(error)) from error
    print(f"attended in {time.perf_counter() - start:.2f} s on {torch.get_num_threads()} threads")
    return result


def _size(photo: Tensor) -> str:
    return f"{photo.shape[3]}x{photo.shape[2]}"
