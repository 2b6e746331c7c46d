"""How fast the inpainting network is here, with this package's layer and with the textbook's.

    python benchmarks/bench_model.py                                      everything: minutes on a CPU
    python benchmarks/bench_model.py --quick                              small networks and images, seconds
    python benchmarks/bench_model.py --work inference-512x680 --json benchmarks/results/model-mine.json

Inference at 256x256 and 512x680, and one training iteration (5 critic updates and a generator update) at
256x256. The same network runs with the package's layer, with the textbook form of bench_attention.py, and
without attention; what a form takes more than the last is its attention's share. The refined images of both
layers are compared before anything is timed.

Time: the forms take turns in one process; medians. Memory: each form once in a fresh process, the highest
growth beyond weights and inputs; for training with the gradients and the optimisers' state.

Ends with status 1 if the two layers disagree, whatever the times are.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from attention_bench import devices
from attention_bench.model import QUICK, WORKS, ModelRow, Work, disagreement, measure
from attention_bench.results import machine, save
from attention_bench.screen import Table, make_screen
from attention_bench.wording import bytes_text, percent_text, ratio_text, time_cells

# Of pixels in [-1, 1]: two float32 forms of the layer, and a decoder of seven layers after them.
_ALLOWED = 1e-4


def main() -> int:
    arguments = _parser().parse_args()
    torch.set_num_threads(arguments.threads)
    screen = make_screen()
    works = _works(arguments)
    about = machine([arguments.device])
    screen.say(f"{arguments.device}: {devices.describe(arguments.device)}")
    save(arguments.json, about, [], ModelRow)  # refuses another machine's file before anything is measured
    is_wrong = False
    with screen.progress(len(works)) as progress:
        for work in works:
            error = disagreement(work)
            if error <= _ALLOWED:
                rows = measure(work, arguments.budget, progress.tell)
                screen.table(table(work, rows))
                save(arguments.json, about, rows, ModelRow)
            else:
                screen.say(f"wrong: {work.name}: the layers differ by {error:.1e} of {_ALLOWED:.0e}", "red")
                is_wrong = True
            progress.advance()
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


def table(work: Work, rows: Sequence[ModelRow]) -> Table:
    """Of the rows of one work."""
    title = f"{work.name} · batch {work.batch} · cnum {work.cnum} · {work.device}, {rows[0].threads} threads"
    lines = [
        [
            row.form,
            *time_cells(row),
            ratio_text(row.ratio),
            "" if row.form == "without" else percent_text(row.attention_share),
            row.note or bytes_text(row.peak_bytes),
        ]
        for row in rows
    ]
    return Table(title, ("layer", "time", "±", "n", "ratio", "attention", "memory"), lines)


if __name__ == "__main__":
    raise SystemExit(main())
