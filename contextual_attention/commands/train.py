"""``train``: an inpainting model from a folder of photographs, on one device or many machines."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..files import replace_file
from .arguments import count, minutes
from .errors import CommandError
from .needs import need
from .progress import progress

HELP = "Train an inpainting model."
_CONFIG = "config.json"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=Path, required=True, metavar="RUN", help="the run's folder")
    parser.add_argument(
        "--data", metavar="DATA",
        help="a folder, a glob pattern, a list file, hf:owner/name[:split], or drawn: procedural[:SEED], "
             "dead leaves, the default, or scenes[:SEED], simplified photographs",
    )  # fmt: skip
    parser.add_argument(
        "--preset",
        help="of Yu et al. 2018: paper (default), published (where the code differs), small (on a CPU); "
             "of others: deepfill-v2, iizuka, context-encoder, each also with -small; context-encoder-random",
    )  # fmt: skip
    parser.add_argument("--steps", type=count, help="steps of the schedule, in all")
    parser.add_argument(
        "--minutes", type=minutes, help="stop after so many since the command began; --resume goes on then"
    )
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", type=_setting, dest="settings",
        help="change a number of the preset, such as optimiser.batch=8; --dry-run lists them",
    )  # fmt: skip
    parser.add_argument("--resume", action="store_true", help="go on from the run's newest checkpoint")
    parser.add_argument("--dry-run", action="store_true", help="say what would be done, and in what memory")
    machine = parser.add_argument_group("where; under torchrun its processes are taken as they are")
    machine.add_argument("--accelerator", default="auto", help="cpu, cuda, ... (default: what there is)")
    machine.add_argument("--devices", type=count, help="of this machine (default: 1)")


def run(given: argparse.Namespace) -> None:
    """Train, until the steps are done, the time is over or a signal asks to stop."""
    ends = None if given.minutes is None else time.monotonic() + 60 * given.minutes
    try:
        config = _configuration(given)
        if given.dry_run:
            need("models.training.estimate", "train").describe(config, print)
            return
    except (ValueError, TypeError) as error:
        raise CommandError(str(error)) from error
    _train(config, given, ends)


def _setting(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"expected NAME=VALUE, got {text!r}")
    return name, value


def _configuration(given: argparse.Namespace) -> Any:
    """The preset, or the resumed run's configuration, with the changes of the command line."""
    presets = need("models.training.presets", "train").PRESETS
    settings = need("models.training.settings", "train")
    changes = dict(given.settings)
    changes |= {} if given.data is None else {"data.path": given.data}
    changes |= {} if given.steps is None else {"steps": str(given.steps)}
    if not given.resume:
        preset = given.preset or "paper"
        if preset not in presets:
            raise CommandError(f"--preset: expected one of {', '.join(presets)}, got {preset}")
        return settings.change(presets[preset], changes)
    if given.preset is not None:
        raise CommandError("--preset: a resumed run has its configuration already; leave it out")
    fixed = changes.keys() - set(settings.RESUMABLE)
    if fixed:
        raise CommandError(
            f"{', '.join(sorted(fixed))}: cannot change when a run is resumed, unlike "
            f"{', '.join(settings.RESUMABLE)}"
        )
    return settings.change(_saved(given.out / _CONFIG, settings), changes)


def _saved(path: Path, settings: Any) -> Any:
    """The configuration of the run that is resumed."""
    try:
        return settings.from_dict(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError as error:
        raise CommandError(f"--resume: there is no run in {path.parent} (no {path.name})") from error
    # ValueError: no JSON, or not of a configuration. TypeError: values of other kinds.
    except (ValueError, TypeError) as error:
        raise CommandError(f"--resume: {path} is not the configuration of a run: {error}") from error


def _train(config: Any, given: argparse.Namespace, ends: float | None) -> None:
    trainer = need("models.training.trainer", "train")
    fabric = _fabric(config, given)
    try:
        training = trainer.Trainer(config, fabric, given.out, given.resume)
        if fabric.is_global_zero:
            _save(config, given.out / _CONFIG)
        with _progress(training, fabric.is_global_zero) as report:
            finished = training.run(report=report, ends=ends)
    # ValueError: what the trainer refuses. RuntimeError: NaN, no readable data, no such device or memory.
    # OSError: files. What a decoding process raises comes with its traceback as text, its message last.
    except (ValueError, RuntimeError, OSError) as error:
        raise CommandError(str(error).strip().splitlines()[-1]) from error
    if fabric.is_global_zero:
        why = f"the {given.minutes:g} minutes are over" if training.is_late else "stopped as asked"
        done = "finished" if finished else f"{why}; go on with --resume"
        print(f"step {training.step} of {config.steps}: {done}; the model is {given.out / trainer.MODEL}")
        best = training.validation.best
        if best is not None:
            measured = f"step {best.step}, hole l1 {best.figures['hole_l1']:.2f} %"
            print(f"the best by validation ({measured}) is {given.out / trainer.BEST}")


def _fabric(config: Any, given: argparse.Namespace) -> Any:
    launch = need("models.training.launch", "train")
    devices = given.devices or 1
    try:
        return launch.make_fabric(given.accelerator, devices, config.precision)
    # Fabric refuses devices that are not there by any of these.
    except (ValueError, RuntimeError) as error:
        raise CommandError(f"--accelerator {given.accelerator}, --devices {devices}: {error}") from error


def _save(config: Any, path: Path) -> None:
    """What the run is, for --resume and for its reader."""
    text = json.dumps(need("models.training.settings", "train").to_dict(config), indent=1) + "\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, lambda file: file.write(text.encode()))


@contextmanager
def _progress(training: Any, is_shown: bool) -> Iterator[Callable[..., None] | None]:
    """What the trainer tells of each step, shown by one of its processes."""
    if not is_shown:
        yield None
        return
    steps, of_validation = training.config.steps, need("models.training.validation", "train").HEADLINE
    headline, validated = training.recipe.headline | of_validation, {}
    with progress("training") as advance:
        advance(training.step / steps)

        def report(step: int, terms: Mapping[str, float]) -> None:
            validated.update({name: terms[name] for name in of_validation if name in terms})
            known = validated | terms  # figures stay until there are newer ones
            shown = "  ".join(form.format(known[name]) for name, form in headline.items() if name in known)
            advance(step / steps, f"step {step} of {steps}  {shown}")

        yield report
