"""How fast the layer is here, and in how much memory, against what one would write in plain PyTorch.

    python benchmarks/bench_attention.py                                  everything, in float32
    python benchmarks/bench_attention.py --quick                          under a minute
    python benchmarks/bench_attention.py --shape 512x680 --pass both --dtype float32 bfloat16
    python benchmarks/bench_attention.py --json benchmarks/results/mine.json --plot mine.png

Every backend that works here runs against the textbook form (convolutions with patches as filters, as the
published layers do it), a dense form (unfold and matrix products) and that form under torch.compile. Results
are checked before anything is timed; how time and memory are taken stands in attention_bench/measure.py.

Ends with status 1 if a result is wrong or a backend fails, whatever the times are; the others go on.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from pathlib import Path

import torch

from attention_bench import devices
from attention_bench.cases import CASES, PASSES, QUICK, Case, Problem, find_case
from attention_bench.course import Plan, measure
from attention_bench.plot import plot
from attention_bench.results import Row, machine, save
from attention_bench.screen import Screen, make_screen
from attention_bench.variants import FORMS
from attention_bench.wording import table
from contextual_attention import available_backends
from contextual_attention.options import PRESETS

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def main() -> int:
    parser = _parser()
    arguments = parser.parse_args()
    try:
        cases = [find_case(name) for name in arguments.shape or (QUICK if arguments.quick else CASES)]
    except ValueError as error:
        parser.error(str(error))
    torch.set_num_threads(arguments.threads)
    devices.prepare()
    screen = make_screen()
    _announce(arguments, screen)
    plan = _plan(arguments)
    problems = list(_problems(cases, arguments, screen))
    about = machine(sorted({problem.device for problem in problems}))
    rows: list[Row] = []
    save(arguments.json, about, rows)  # refuses another machine's file before anything is measured
    with screen.progress(len(problems)) as progress:
        for problem in problems:
            new = measure(problem, plan, progress.tell)
            rows += new
            progress.advance()
            screen.table(table(new))
            save(arguments.json, about, rows)
    if arguments.plot:
        plot(rows, arguments.plot)
    wrong = [row for row in rows if row.wrong]
    for row in wrong:
        screen.say(f"wrong: {row.label} at {row.shape}, {row.dtype}, {row.direction}: {row.note}", "red")
    return 1 if wrong else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    backends = available_backends()
    usable = [name for name, reason in backends.items() if reason is None]
    shapes = f"image sizes, as in 4x256x256, or {', '.join(CASES)}; default: these"
    patience = "where a step of the textbook form takes longer, other forms are left out; default: 30"
    add = parser.add_argument
    add("--backend", nargs="+", choices=backends, default=usable, help="default: all that work here")
    add("--against", nargs="*", choices=FORMS, default=list(FORMS), help="default: all")
    add("--shape", nargs="+", metavar="SHAPE", help=shapes)
    add("--channels", nargs="+", type=_count, help="default: 128 and 96; 128 for holes and strides")
    add("--dtype", nargs="+", choices=DTYPES, default=["float32"], help="default: float32")
    add("--pass", nargs="+", choices=PASSES, dest="passes", help="default: forward, and both as one step")
    add("--preset", choices=PRESETS, default="paper", help="default: paper")
    add("--threads", type=_count, default=torch.get_num_threads(), help="of the CPU; default: torch's")
    add("--budget", type=float, metavar="SECONDS", help="to time each variant for; default: 4, quick 0.3")
    add("--patience", type=float, metavar="SECONDS", default=30.0, help=patience)
    add("--json", type=Path, help="file of results, to write or to add to")
    add("--plot", type=Path, help="PNG of time and memory against image size")
    add("--quick", action="store_true", help="small sizes, few samples, no torch.compile")
    return parser


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"expected an integer >= 1, got {text!r}")
    return int(text)


def _plan(arguments: argparse.Namespace) -> Plan:
    quick, budget = arguments.quick, arguments.budget
    budget = (0.3 if quick else 4.0) if budget is None else budget
    backends, forms = tuple(arguments.backend), tuple(arguments.against)
    return Plan(backends, forms, budget, arguments.patience, quick)


def _announce(arguments: argparse.Namespace, screen: Screen) -> None:
    backends = available_backends()
    for name, reason in backends.items():
        if reason is not None and name in arguments.backend:
            raise SystemExit(f"--backend: {name} does not work here: {reason}")
        if reason is not None:
            screen.say(f"{name}: {reason}", "dim")
    for device in sorted({devices.device_of(name) for name in arguments.backend}):
        screen.say(f"{device}: {devices.describe(device)}")
    busy = os.getloadavg()[0]
    if busy > 0.5:
        screen.say(
            f"the load of this machine is {busy:.1f}: times will be longer than they could be", "yellow"
        )


def _problems(cases: list[Case], arguments: argparse.Namespace, screen: Screen) -> Iterator[Problem]:
    """Every problem and pass that is asked for and makes sense."""
    places = dict.fromkeys(devices.device_of(name) for name in arguments.backend)
    for device, dtype, case in product(places, arguments.dtype, cases):
        usual = case.channels[:1] if arguments.quick else case.channels
        for channels in arguments.channels or usual:
            problem = Problem(case, channels, DTYPES[dtype], arguments.preset, device)
            if _makes_sense(problem, screen):
                passes = (each for each in arguments.passes or ("forward", "both") if each in case.passes)
                yield from (replace(problem, direction=each) for each in passes)


def _makes_sense(problem: Problem, screen: Screen) -> bool:
    try:
        return bool(problem.options)
    except ValueError as error:
        screen.say(f"{problem.case.name}: not with the preset {problem.preset}: {error}", "dim")
        return False


if __name__ == "__main__":
    raise SystemExit(main())
