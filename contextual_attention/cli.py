"""The commands of ``python -m contextual_attention``.

A command is a function that adds its arguments, a function that runs it, and a line in COMMANDS. What it
needs beyond torch (Pillow, ...) it imports when it runs, so that ``info`` and ``--help`` work everywhere.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib.metadata
import platform
import re
import sys
import time
import typing
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import torch
from torch import Tensor

from . import backends
from .functional import contextual_attention
from .options import PRESETS, Options
from .visualize import offsets_to_image

PROGRAM = "python -m contextual_attention"


class CommandError(Exception):
    """A command cannot do what it was asked: the message is all that its user sees, and says the way out."""


class Command(NamedTuple):
    help: str
    add_arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], None]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command: exit status 0, or 2 and one line on stderr that says what was wrong."""
    given = parser().parse_args(arguments)
    try:
        COMMANDS[given.command].run(given)
    # OSError: a file, a full disk, a closed pipe. Anything else is a bug here, and shows its traceback.
    except (CommandError, OSError) as error:
        print(f"{PROGRAM} {given.command}: error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    return 0


def parser() -> argparse.ArgumentParser:
    """The command line, with a subcommand for each of COMMANDS."""
    top = argparse.ArgumentParser(prog=PROGRAM, description="Contextual attention for image inpainting.")
    commands = top.add_subparsers(dest="command", required=True, metavar="command")
    for name, command in COMMANDS.items():
        command.add_arguments(commands.add_parser(name, help=command.help, description=command.help))
    return top


# ----------------------------------------------------------------------------------------------------------
# info


def _no_arguments(parser: argparse.ArgumentParser) -> None:
    pass


def info(_given: argparse.Namespace) -> None:
    """Print what is installed and what of it works here."""
    lines = {
        "contextual_attention": f"{_version()} in {Path(__file__).parent}",
        "python": f"{platform.python_version()} on {platform.system()} {platform.machine()}",
        "torch": f"{torch.__version__}, {torch.get_num_threads()} threads",
        **_extension_info(),
    }
    for name, reason in backends.available_backends().items():
        lines[f"backend {name}"] = "available" if reason is None else f"not available: {reason}"
    width = max(map(len, lines)) + 2
    for name, text in lines.items():
        print(f"{name:<{width}}{text}")


def _version() -> str:
    try:
        return importlib.metadata.version("contextual_attention")
    except importlib.metadata.PackageNotFoundError:
        return "(not installed: a source folder)"


def _extension_info() -> dict[str, str]:
    """What the compiled extension was built with, and which of its SIMD levels runs."""
    extension = backends.extension
    if extension is None:
        return {"extension": f"not available: {backends.extension_error}"}
    build, supported = extension.build_info(), extension.supported_simd_levels()
    return {
        "extension": f"built by {build['compiler']} with the headers of torch {build['torch_headers']}",
        "SIMD levels": (
            f"{_list(build['simd_levels'])} built; {_list(supported)} supported here; "
            f"{extension.simd_level()} active"
        ),
        "CUDA architectures": _list(build["cuda_architectures"]),
    }


def _list(names: Sequence[str]) -> str:
    return ", ".join(names) or "none"


# ----------------------------------------------------------------------------------------------------------
# transfer

# The layer's 10 suits learned features; patches of colours are so alike that it would average hundreds.
TRANSFER_OPTIONS = Options(softmax_scale=50.0)
TRANSFER_MAX_SIZE = 512


def _transfer_arguments(parser: argparse.ArgumentParser) -> None:
    for name, required, text in (
        ("foreground", True, "the photograph to rebuild"),
        ("background", True, "the photograph to take patches from"),
        ("output", True, "where to write the result"),
        ("offsets", False, "where to write the attention picture"),
    ):
        parser.add_argument(f"--{name}", required=required, type=Path, metavar="FILE", help=text)
    parser.add_argument(
        "--max-size", type=_count, default=TRANSFER_MAX_SIZE, metavar="N",
        help="reduce larger photographs to N pixels on the longest side (default: %(default)s); "
             "the time grows with the product of the two areas",
    )  # fmt: skip
    _add_layer_arguments(parser, f'the preset "paper" with softmax scale {TRANSFER_OPTIONS.softmax_scale:g}')


def transfer(given: argparse.Namespace) -> None:
    """Rebuild one photograph from the patches of another: RGB in [-1, 1] are the features and the values."""
    photos = _photos()
    for path in filter(None, (given.output, given.offsets)):
        photos.check_writable(path)
    if given.offsets is not None and given.offsets.resolve() == given.output.resolve():
        raise CommandError(f"--output and --offsets are the same file, {given.output}")
    options = _layer_options(given, TRANSFER_OPTIONS)
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
        from . import photos
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


# ----------------------------------------------------------------------------------------------------------
# Arguments that choose the layer, for every command that runs it


def _add_layer_arguments(parser: argparse.ArgumentParser, default: str) -> None:
    layer = parser.add_argument_group("options of the layer", f"explained in README.md; default: {default}")
    layer.add_argument("--preset", choices=PRESETS, help="what to start from; the options below change it")
    for name, kind in typing.get_type_hints(Options).items():
        layer.add_argument(f"--{name.replace('_', '-')}", **_argument_of(kind))
    layer.add_argument("--backend", help="default: the fastest that can run; see the command info")
    layer.add_argument(
        "--workspace", type=_byte_count, metavar="BYTES", help="bound on the score scratch, such as 64M or 1G"
    )


def _argument_of(kind: Any) -> dict[str, Any]:
    """How argparse reads an option of the layer: what its type admits; Options itself checks the range."""
    if kind is bool:
        return {"action": argparse.BooleanOptionalAction, "default": None}
    if kind in (int, float):
        return {"type": kind, "metavar": kind.__name__.upper()}
    return {"choices": typing.get_args(kind)}


def _layer_options(given: argparse.Namespace, default: Options) -> Options:
    """The preset, or the command's own default, changed by the options on the command line."""
    changes = {
        field.name: getattr(given, field.name)
        for field in dataclasses.fields(Options)
        if getattr(given, field.name) is not None
    }
    try:
        return dataclasses.replace(default if given.preset is None else PRESETS[given.preset], **changes)
    except ValueError as error:
        raise CommandError(str(error)) from error


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"expected an integer of at least 1, got {text}")
    return number


def _byte_count(text: str) -> int:
    match = re.fullmatch(r"(\d+)([KMG]?)(?:i?B)?", text, re.IGNORECASE)
    if match is None:
        raise argparse.ArgumentTypeError(f"expected bytes such as 33554432, 32M or 1G, got {text!r}")
    return int(match[1]) * 1024 ** " KMG".index(match[2].upper() or " ")


COMMANDS = {
    "info": Command("Say what is installed and which backends work here.", _no_arguments, info),
    "transfer": Command("Rebuild one photograph from the patches of another.", _transfer_arguments, transfer),
}
