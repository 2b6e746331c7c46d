"""The command line, ``python -m contextual_attention``.

A command is a module of contextual_attention/commands with ``HELP`` (one line), ``add_arguments(parser)`` and
``run(given)``, and a line in COMMANDS. What it needs beyond torch (Pillow, the models, ...) it imports when
it runs, so that ``info`` and ``--help`` work everywhere.
"""

from __future__ import annotations

import argparse
import io
import logging
import sys
import warnings
from collections.abc import Sequence

from .commands import check_data, convert, demo, evaluate, experiment, info, inpaint, train, transfer
from .commands.errors import CommandError

PROGRAM = "python -m contextual_attention"

COMMANDS = {
    "info": info,
    "transfer": transfer,
    "inpaint": inpaint,
    "demo": demo,
    "experiment": experiment,
    "convert": convert,
    "train": train,
    "evaluate": evaluate,
    "check-data": check_data,
}

# For what Pillow says of damaged files beside the error, which names them.
_NOWHERE = logging.NullHandler()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command: exit status 0, or 2 and one line on stderr that says what was wrong; 130: Ctrl-C."""
    given = parser().parse_args(arguments)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # names of files may hold bytes that are no text
            stream.reconfigure(errors="backslashreplace")
    logging.getLogger("PIL").addHandler(_NOWHERE)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"PIL\.")
            COMMANDS[given.command].run(given)
    # OSError: a file, a full disk, a closed pipe. Anything else is a bug here, and shows its traceback.
    except (CommandError, OSError) as error:
        print(f"{PROGRAM} {given.command}: error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:  # asked for, and no error: no traceback, and what shells return for it
        return 130
    return 0


def parser() -> argparse.ArgumentParser:
    """The command line, with a subcommand for each of COMMANDS."""
    top = argparse.ArgumentParser(prog=PROGRAM, description="Contextual attention for image inpainting.")
    commands = top.add_subparsers(dest="command", required=True, metavar="command")
    for name, command in COMMANDS.items():
        command.add_arguments(commands.add_parser(name, help=command.HELP, description=command.HELP))
    return top
