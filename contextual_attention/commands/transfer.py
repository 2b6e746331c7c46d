"""``transfer``: one photograph rebuilt from the patches of another."""

from __future__ import annotations

import argparse
import dataclasses
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import torch
from torch import Tensor

from .. import backends
from ..files import check_distinct
from ..functional import contextual_attention
from ..options import Options
from ..visualize import offsets_to_image
from .arguments import add_layer_arguments, count, layer_options
from .errors import CommandError
from .needs import need
from .progress import is_watched, progress

HELP = "Rebuild one photograph from the patches of another."

# The layer's 10 suits learned features; patches of colours are so alike that it would average hundreds.
TRANSFER_OPTIONS = Options(softmax_scale=50.0)
TRANSFER_MAX_SIZE = 512
# The share of the rows, one of so many, that is attended first to tell how long all of them will take.
_PROBE = 32


def add_arguments(parser: argparse.ArgumentParser) -> None:
    for name, required, text in (
        ("foreground", True, "the photograph to rebuild; what is transparent is taken as white"),
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
    photos = need("photos", "demo")
    pictures = {"--output": given.output, "--offsets": given.offsets}
    pictures = {name: path for name, path in pictures.items() if path is not None}
    read = {"--foreground": given.foreground, "--background": given.background}
    check_distinct(pictures, read)
    for path in pictures.values():
        photos.check_writable(path, "RGB")
    options = layer_options(given, TRANSFER_OPTIONS)
    foreground, background = (
        _fit(_read(photos, role, path, given.max_size), options)
        for role, path in (("foreground", given.foreground), ("background", given.background))
    )
    output, offsets = _attend(foreground, background, options, given)
    results = {given.output: photos.to_uint8(output)[0]}
    if given.offsets is not None:
        results[given.offsets] = offsets_to_image(offsets, output.shape[2:])[0]
    photos.write_photos(results)
    for path in results:
        print(f"written: {path}")


def _read(photos: ModuleType, role: str, path: Path, max_size: int) -> Tensor:
    photo = photos.read_photo(path, max_size)
    left_out = photos.left_out(path)
    print(f"{role}: {path}, {_size(photo)} pixels{left_out and f'; {left_out}'}")
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
    def attend(rows: Tensor) -> tuple[Tensor, Tensor]:
        return contextual_attention(
            rows, background, backend=given.backend, workspace=given.workspace, return_offsets=True,
            **dataclasses.asdict(options),
        )  # fmt: skip

    try:
        backend = backends.choose(given.backend, foreground.device, foreground.dtype)
        print(f"attending: {_size(foreground)} to {_size(background)}, backend {backend} ...", flush=True)
        with torch.no_grad(), progress("attending") as advance:
            if is_watched():
                advance(None, f"attending, {_expected(attend, foreground, options)} in all")
            start = time.perf_counter()
            result = attend(foreground)
            seconds = time.perf_counter() - start
    # ValueError: a workspace or a size that the layer refuses. RuntimeError: no such backend, out of memory.
    except (ValueError, RuntimeError) as error:
        raise CommandError(str(error)) from error
    print(f"attended in {seconds:.2f} s on {torch.get_num_threads()} threads")
    return result


def _expected(attend: Callable[[Tensor], object], foreground: Tensor, options: Options) -> str:
    """How long all of the foreground will take, in words, by how long its first rows do.

    The layer is one operator, which does not say how far it is; its time goes with the foreground's rows.
    """
    height = foreground.shape[2]
    rows = min(height, -(-height // _PROBE // options.rate) * options.rate)
    start = time.perf_counter()
    attend(foreground[:, :, :rows])
    seconds = (time.perf_counter() - start) * height / rows
    return f"about {seconds:.0f} s" if seconds < 120 else f"about {seconds / 60:.0f} min"


def _size(photo: Tensor) -> str:
    return f"{photo.shape[3]}x{photo.shape[2]}"
