"""Trains the structure network for so many minutes, and draws how far it has come.

    python -m tools.structure.train --photographs PHOTOGRAPHS --validation DIR --minutes 100 --out RUN

and once more with --resume for as long again. PHOTOGRAPHS is what tools.structure.collect wrote; in DIR the
package lxqt-themes is unpacked, into DIR/lxqt-themes. Its photographs and those of scikit-image and
scikit-learn are never trained on: they are written into RUN/validation, and tell how far training is. The
weights are RUN/best (docs/training.md); RUN/curve.png has the errors over steps and hours, RUN/sheet.png what
the best network makes of some of the held-out crops.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from contextual_attention.cli import main as package
from contextual_attention.commands.arguments import minutes
from contextual_attention.files import replace_folder
from contextual_attention.models.network.pretrained import load_model
from contextual_attention.models.training.gallery import Gallery
from contextual_attention.models.training.recipes import make_recipe
from contextual_attention.models.training.run_log import read_losses, read_validation
from contextual_attention.models.training.settings import from_dict
from contextual_attention.models.training.trainer import BEST, MODEL
from contextual_attention.models.training.validation import held_out_samples
from contextual_attention.photos import write_photos

from ..curves import over_steps, picture_of_axes
from ..docs.inpainting.photographs import VALIDATION
from ..photographs import Photograph
from .collect import LONGEST

_HELD_OUT = "validation"
_CPU = Path("/proc/cpuinfo")
# Of the curve of the terms of each step; rows of the sheet.
_POINTS, _ROWS = 200, 16


def main(arguments: Sequence[str] | None = None) -> None:
    given = _arguments(arguments)
    held_out = given.out / _HELD_OUT
    try:
        if not held_out.is_dir():
            given.out.mkdir(parents=True, exist_ok=True)
            write_validation(VALIDATION, given.validation, held_out)
    except OSError as error:
        raise SystemExit(str(error)) from None
    status = package(train_arguments(given, held_out))
    if status:
        raise SystemExit(status)
    draw_curve(read_losses(given.out), read_validation(given.out), given.out / "curve.png")
    draw_sheet(given.out, given.out / "sheet.png")
    print(f"{given.out / 'curve.png'}, {given.out / 'sheet.png'}")


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tools.structure.train", description=__doc__.split("\n")[0]
    )
    add = parser.add_argument
    add("--photographs", type=Path, required=True, metavar="DIR", help="what is trained on")
    add("--validation", type=Path, required=True, metavar="DIR", help="where lxqt-themes is unpacked")
    add("--minutes", type=minutes, required=True, help="how long")
    add("--out", type=Path, required=True, metavar="RUN", help="the run's folder")
    add("--preset", default="structure", help="default: %(default)s")
    add("--resume", action="store_true", help="go on from the run's newest checkpoint")
    add("--set", action="append", default=[], metavar="NAME=VALUE", dest="settings", help="as of `train`")
    return parser.parse_args(arguments)


def write_validation(photographs: Sequence[Photograph], packages: Path, out: Path) -> None:
    """Write photographs into a new folder, whole or not at all, made smaller as those that are trained on.

    Raises:
        FileNotFoundError: One is not where it should be.
    """
    read = {one.name: torch.from_numpy(one.read(packages, LONGEST)).permute(2, 0, 1) for one in photographs}
    replace_folder(
        out, lambda folder: write_photos({folder / f"{name}.png": photo for name, photo in read.items()})
    )


def train_arguments(given: argparse.Namespace, held_out: Path) -> list[str]:
    """The command line of the package's `train`; what is given with --set comes last, and counts."""
    settings = [f"validation.path={held_out}"]
    begun = ["--resume"]
    if not given.resume:
        precision, why = choose_precision()
        print(f"precision: {precision}, for {why}")
        settings += [f"precision={precision}", "validation.every=250"]
        begun = ["--preset", given.preset]
    sets = [f"--set={setting}" for setting in [*settings, *given.settings]]
    run = ["--data", str(given.photographs), "--out", str(given.out), "--minutes", str(given.minutes)]
    return ["train", *run, *begun, *sets]


def choose_precision() -> tuple[str, str]:
    """The precision in which this machine trains fastest, and why."""
    if torch.cuda.is_available():
        return "bf16-mixed", "there is a GPU"
    known = re.search(r"\b(amx_bf16|avx512_bf16)\b", _CPU.read_text() if _CPU.is_file() else "")
    if known is None:
        return "32-true", "there is no GPU, and the processor has neither avx512_bf16 nor amx_bf16"
    return "bf16-mixed", f"the processor has {known[1]}"


def draw_curve(losses: list[dict[str, float]], validation: list[dict[str, float]], path: Path) -> None:
    """The hole's l1 of training, smoothed, and that of validation; beside it the PSNR of validation."""
    steps = np.array([line["step"] for line in losses])
    hours = np.cumsum([line["seconds"] for line in losses]) / 3600
    trained, measured = smoothed(losses, "hole_l1"), [line["step"] for line in validation]
    with picture_of_axes(path, 1, 2, (9, 3.6)) as ((l1, psnr),):
        l1.plot(*trained, color="C7", label="training")
        l1.plot(measured, [line["hole_l1"] for line in validation], color="C0", label="validation")
        psnr.plot(measured, [line["hole_psnr"] for line in validation], color="C0")
        for axis, label in ((l1, "l1 in the hole, % of the range"), (psnr, "PSNR in the hole, dB")):
            over_steps(axis, steps[-1], ylabel=label)
            functions = _along(steps, hours), _along(hours, steps)
            axis.secondary_xaxis("top", functions=functions).set_xlabel("hours of steps")
        l1.legend()


def smoothed(losses: list[dict[str, float]], term: str) -> tuple[list[float], list[float]]:
    """Steps, and means of a term over parts of a run that end with them; of steps that have it."""
    lines = [line for line in losses if term in line]
    parts = [part for part in np.array_split(np.arange(len(lines)), _POINTS) if len(part)]
    means = [float(np.mean([lines[place][term] for place in part])) for part in parts]
    return [lines[part[-1]]["step"] for part in parts], means


def _along(x: np.ndarray, y: np.ndarray) -> Any:
    """From x to y, both growing, and on beyond the last of them as before: axes reach a little further."""
    slope = y[-1] / x[-1]
    return lambda at: np.interp(at, [0, *x], [0, *y]) + slope * (np.clip(at, x[-1], None) - x[-1])


def draw_sheet(run: Path, path: Path) -> None:
    """Some of the crops that a run is validated on, and what its best network makes of them: a `Gallery`."""
    config = from_dict(json.loads((run / "config.json").read_text(encoding="utf-8")))
    best = run / BEST if (run / BEST).is_dir() else run / MODEL
    rows = min(_ROWS, config.validation.samples)
    gallery = Gallery(held_out_samples(config), make_recipe(config).complete, rows)
    drawn = gallery.draw(load_model(best), torch.device("cpu"))
    write_photos({path: drawn})


if __name__ == "__main__":
    main()
