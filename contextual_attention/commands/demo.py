"""``demo``: the web page, on this machine: brush over what should go, and see it gone."""

from __future__ import annotations

import argparse

from .arguments import count, device
from .errors import CommandError
from .model import read_model
from .needs import need

HELP = "Show a web page that removes from photographs what is brushed over."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--host", default="127.0.0.1",
        help="where to listen (default: %(default)s, to this machine alone; 0.0.0.0: to the whole network)",
    )  # fmt: skip
    parser.add_argument("--port", type=_port, help="default: the first free one from 7860 on")
    parser.add_argument("--model", help="a folder or repository of a trained model, as a method of its own")
    parser.add_argument(
        "--device", type=device, default="cpu", help="where to compute (default: %(default)s)"
    )
    parser.add_argument(
        "--max-pixels", type=count, default=12_000_000, metavar="N",
        help="refuse photographs with more pixels (default: %(default)s)",
    )  # fmt: skip


def run(given: argparse.Namespace) -> None:
    """Serve the page until the process is stopped."""
    page = need("models.filling.page", "web")
    examples = need("models.data.bundled", "web").bundled_photographs()
    desk = page.Desk(read_model(given.model), given.device, given.max_pixels)
    try:
        page.serve(page.build(desk, examples.values()), given.host, given.port)
    except OSError as error:
        raise CommandError(f"--host {given.host}, --port {given.port or 7860}: {error}") from error


def _port(text: str) -> int:
    number = int(text)
    if not 0 < number < 2**16:
        raise argparse.ArgumentTypeError(f"expected 1 to 65535, got {text}")
    return number
