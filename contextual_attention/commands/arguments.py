"""Arguments that commands share: those that choose the layer or the data, and the numbers that they read."""

from __future__ import annotations

import argparse
import dataclasses
import math
import re
import typing
from typing import Any

import torch

from ..options import PRESETS, Options
from .errors import CommandError


def add_layer_arguments(parser: argparse.ArgumentParser, default: str) -> None:
    layer = parser.add_argument_group("options of the layer", f"see docs/layer.md; default: {default}")
    layer.add_argument("--preset", choices=PRESETS, help="what to start from; the options below change it")
    for name, kind in typing.get_type_hints(Options).items():
        layer.add_argument(f"--{name.replace('_', '-')}", **_argument_of(kind))
    layer.add_argument("--backend", help="default: the fastest that can run; see the command info")
    layer.add_argument(
        "--workspace", type=byte_count, metavar="BYTES", help="bound on the score scratch, such as 64M or 1G"
    )


def _argument_of(kind: Any) -> dict[str, Any]:
    """How argparse reads an option of the layer: what its type admits; Options itself checks the range."""
    if kind is bool:
        return {"action": argparse.BooleanOptionalAction, "default": None}
    if kind in (int, float):
        return {"type": kind, "metavar": kind.__name__.upper()}
    return {"choices": typing.get_args(kind)}


def layer_options(given: argparse.Namespace, default: Options) -> Options:
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


def add_split(parser: argparse.ArgumentParser, splits: str) -> None:
    """Which pictures of a published data set: ``splits`` says what there is, and the command's default."""
    parser.add_argument("--split", metavar="NAME", help=splits)
    parser.add_argument(
        "--layout", default="auto", metavar="NAME",
        help="of the data set, where several would do; plain: take a folder as it is (default: %(default)s)",
    )  # fmt: skip


def count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"expected an integer of at least 1, got {text}")
    return number


def minutes(text: str) -> float:
    number = float(text)
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"expected a number of minutes above 0, got {text}")
    return number


def device(text: str) -> str:
    """The name of a device that torch can compute on here."""
    try:
        torch.empty(0, device=text)
    # RuntimeError: there is none of the name. AssertionError: this build of torch knows none of the kind.
    except (RuntimeError, AssertionError) as error:
        reason = str(error).partition("\n")[0]
        raise argparse.ArgumentTypeError(f"cannot compute on {text!r} here: {reason}") from error
    return text


def byte_count(text: str) -> int:
    match = re.fullmatch(r"(\d+)([KMG]?)(?:i?B)?", text, re.IGNORECASE)
    if match is None:
        raise argparse.ArgumentTypeError(f"expected bytes such as 33554432, 32M or 1G, got {text!r}")
    return int(match[1]) * 1024 ** " KMG".index(match[2].upper() or " ")
