"""How fast the inpainting network is here, with this package's layer and with the textbook's.

    python benchmarks/bench_model.py                                      everything: minutes on a CPU
    python benchmarks/bench_model.py --quick                              small networks and images, seconds
    python benchmarks/bench_model.py --work inference-512x680 --json benchmarks/results/model-mine.json

Inference at 256x256 and 512x680, and one training iteration (5 critic updates and a generator update) at
256x256. The same network runs with the package's layer, with the textbook form of textbook.py, and without
attention; what a form takes more than the last is its attention's share. The refined images of both layers
are compared before anything is timed.

Time: the forms take turns in one process; medians. Memory: each form once in a fresh process, the highest
growth beyond weights and inputs; for training with the gradients and the optimisers' state.

Ends with status 1 if the two layers disagree, whatever the times are.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import devices
import torch
from measure import in_fresh_process, interleave
from model_work import (
    FORMS,
    QUICK,
    WORKS,
    ModelRow,
    Work,
    compare,
    make_generator,
    make_inputs,
    make_step,
    peak_bytes,
    seconds_of,
)
from results import commit, machine, save
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from wording import bytes_text, ratio_text, time_text

# Of pixels in [-1, 1]: two float32 forms of the layer, and a decoder of seven layers after them.
_ALLOWED = 1e-4


def main() -> int:
    arguments = _parser().parse_args()
    torch.set_num_threads(arguments.threads)
    console = Console()
    if not console.is_terminal:
        console = Console(width=110)
    works = _works(arguments)
    about = machine([arguments.device])
    console.print(f"{arguments.device}: {devices.describe(arguments.device)}")
    if arguments.json:
        # Refuses another machine's file before anything is measured.
        save(arguments.json, about, [], ModelRow)
    is_wrong = False
    for work in works:
        error = disagreement(work)
        if not error <= _ALLOWED:
            console.print(f"[red]wrong: {work.name}: the layers differ by {error:.1e} of {_ALLOWED:.0e}")
            is_wrong = True
            continue
        rows = measure(work, arguments.threads, arguments.budget, console)
        console.print(table(work, rows), "")
        if arguments.json:
            save(arguments.json, about, rows, ModelRow)
    return 1 if is_wrong else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--work", nargs="+", choices=WORKS, help="default: all")
    add("--batch", type=int, default=1, help="images at a time; default: 1")
    add("--device", default="cpu", choices=("cpu", "cuda"), help="default: cpu")
    add("--threads", type=int, default=torch.get_num_threads(), help="of the CPU; default: torch's")
    add("--budget", type=float, default=2.0, metavar="SECONDS", help="to time each form for; default: 2")
    add("--json", type=Path, help="file of results, to write or to add to")
    add("--quick", action="store_true", help="small networks and images")
    return parser


def _works(arguments: argparse.Namespace) -> list[Work]:
    chosen = QUICK if arguments.quick else [WORKS[name] for name in arguments.work or WORKS]
    return [replace(work, batch=arguments.batch, device=arguments.device) for work in chosen]


def disagreement(work: Work) -> float:
    """The largest difference of a pixel between the package's layer and the textbook's."""
    image, mask = make_inputs(work)
    with torch.no_grad():
        package, other = (make_generator(work, form)(image, mask).refined for form in FORMS[:2])
    return (package - other).abs().max().item()


def measure(work: Work, threads: int, budget: float, console: Console) -> list[ModelRow]:
    """A row for every form."""
    rows = [_row(work, form, threads) for form in FORMS]
    with console.status("") as status:
        runs = {form: seconds_of(make_step(work, form), work.device) for form in FORMS}
        status.update(f"{work.name}: first runs")
        first = {form: run(1) for form, run in runs.items()}
        samples = interleave(
            runs, first, set(FORMS), budget, 3, lambda form: status.update(f"{work.name}: {form}")
        )
        runs.clear()
        for row in rows:
            row.take(samples[row.form])
            status.update(f"{work.name}: memory of {row.form}")
            grown = in_fresh_process(peak_bytes, work, row.form, threads)
            row.peak_bytes, row.note = (None, grown) if isinstance(grown, str) else (grown, None)
    compare(rows)
    return rows


def _row(work: Work, form: str, threads: int) -> ModelRow:
    return ModelRow(
        work=work.name,
        batch=work.batch,
        cnum=work.cnum,
        device=work.device,
        threads=threads,
        form=form,
        load=os.getloadavg()[0],
        commit=commit(),
        date=datetime.now(timezone.utc).isoformat(timespec="seconds"),
    )


def table(work: Work, rows: Sequence[ModelRow]) -> Any:
    """A rich table of the rows of one work."""
    title = f"{work.name} · batch {work.batch} · cnum {work.cnum} · {work.device}, {rows[0].threads} threads"
    shown = Table(title=title, title_style="bold", title_justify="left", box=SIMPLE_HEAD)
    shown.add_column("layer", no_wrap=True)
    for heading in ("time", "±", "n", "ratio", "attention", "memory"):
        shown.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        shown.add_row(
            row.form,
            time_text(row.median),
            "" if row.spread is None else f"{100 * row.spread:.0f} %",
            str(len(row.seconds)),
            ratio_text(row.ratio),
            "" if row.form == "without" else f"{100 * row.attention_share:.0f} %",
            row.note or bytes_text(row.peak_bytes),
        )
    return shown


if __name__ == "__main__":
    raise SystemExit(main())
