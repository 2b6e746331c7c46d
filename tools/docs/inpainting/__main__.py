"""Compares ways to fill holes in photographs that need no model, and writes docs/inpainting.md.

    python -m tools.docs.inpainting --lists validation              of the bundled photographs alone, a table
    python -m tools.docs.inpainting --photographs DIR --keep KEPT --write        all of docs/inpainting.md

DIR has packages of Debian, each unpacked into a folder of its name; photographs.py says which. With KEPT a
race that was broken off goes on, and --again METHOD runs that one anew. Needs the extra bench; of the other
tools those run that are installed: pip install pypatchmatch gmic patchmatch-cython.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from ...photographs import BUNDLED
from ..speed import write_docs
from .cases import DRAWN, MIXED, WIDE, Case, draw_cases, size_cases, texture_cases
from .kept import Kept
from .methods import FEW, METHODS, OURS, RIVAL
from .page import page, sheet, sheets, sizes_table, table
from .photographs import LARGE, LISTS, read_list
from .race import ROOT, Results, Timed, installed, race, race_sizes

DOCS, PICTURE = ROOT / "docs/inpainting.md", ROOT / "docs/images/inpainting.jpg"
ROUNDS = {0.5: 3, 2.0: 1, 12.0: 1}  # by megapixels
SHOWN = ("square", "edge", "anything", "scratches", "text")  # of the wide holes
SHOWN_MIXED = ("horizon", "object")


def main() -> None:
    given = _parser().parse_args()
    if given.write and (given.only or given.methods or given.draw or not given.photographs):
        raise SystemExit(
            "--write is of everything: give --photographs, leave out --only, --methods and --draw"
        )
    methods, left_out = installed(given.methods or list(METHODS))
    cases, missing = _cases(given.lists, given.photographs, given.draw)
    if given.only:
        cases = {name: [case for case in some if given.only in case.name] for name, some in cases.items()}
    for reason in left_out + missing:
        print(f"left out: {reason}")
    only = {} if given.methods else dict.fromkeys(("validation", "trained"), FEW)
    results = race(cases, methods, Kept(given.keep, given.again), given.limit, only)
    results.left_out[:0] = left_out + missing
    sizes: list[Timed] = []
    if given.sizes and given.photographs:
        racing = [method for method in (*OURS, RIVAL) if method in methods]
        try:
            sizes = _race_sizes(given.sizes, racing, given.photographs, given.limit)
        except FileNotFoundError as error:
            results.left_out.append(f"the race of sizes: {error}")
    for name in cases:
        print(f"\n{name}\n{table(results, name)}")
    print(f"\n{sizes_table(sizes)}" if sizes else "")
    if given.write:
        write_docs(page(results, sizes), DOCS)
        shown = [case for name in ("textures", "shown") for case in cases[name]]
        sheet(_first_holes(shown), results, FEW).save(PICTURE, quality=88)
    if given.strips:
        _write_strips(given.strips, cases, results)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tools.docs.inpainting",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--photographs", type=Path, metavar="DIR", help="folder of unpacked packages")
    add("--lists", nargs="*", choices=LISTS, default=list(LISTS), help="of photographs (default: all)")
    add("--draw", type=int, default=0, metavar="N", help="other holes than those of docs/, the draw 0")
    add("--methods", nargs="+", choices=METHODS, help="default: all that are installed")
    add("--only", metavar="TEXT", help="cases whose name has this in it")
    add("--keep", type=Path, metavar="KEPT", help="folder of results: what is there is not run again")
    add("--again", nargs="+", choices=METHODS, default=[], help="methods that are")
    add("--sizes", nargs="*", type=float, choices=ROUNDS, default=list(ROUNDS), help="megapixels")
    add("--limit", type=float, default=300.0, help="seconds a picture after which a method is left out")
    add("--write", action="store_true", help="write docs/inpainting.md and its picture")
    add("--strips", type=Path, metavar="DIR", help="write pictures of every case there, to look at")
    return parser


def _cases(lists: list[str], folder: Path | None, draw: int) -> tuple[dict[str, list[Case]], list[str]]:
    """The cases by list of photographs, and what is not there of them."""
    cases, missing = {}, []
    for seed, name in enumerate(LISTS):
        if name in lists:
            photographs, left_out = read_list(name, folder)
            for listed, holes in DRAWN[name].items():
                cases[listed] = draw_cases(photographs, holes, seed + draw) if photographs else []
            missing += left_out
    cases["textures"] = list(texture_cases())
    cases["shown"] = _shown()
    return cases, missing


def _shown() -> list[Case]:
    """For the picture alone: a case of most kinds in photographs that come with packages of Python."""
    bundled = {one.name: one.read(None) for one in LISTS["validation"] if one.package == BUNDLED}
    mixed = replace(MIXED, kinds={kind: replace(MIXED.kinds[kind], count=1) for kind in SHOWN_MIXED})
    drawn = draw_cases(bundled, WIDE, seed=0)
    cases = [next(case for case in drawn if f" {kind} " in case.name) for kind in SHOWN]
    cases += draw_cases(bundled, mixed, seed=0)
    return [replace(case, name=f"shown {case.name}") for case in cases]  # no name of a list's case


def _first_holes(cases: list[Case]) -> list[Case]:
    """The first case of each photograph."""
    return list({case.photograph: case for case in reversed(cases)}.values())[::-1]


def _race_sizes(megapixels: list[float], methods: list[str], folder: Path, limit: float) -> list[Timed]:
    photograph = LARGE.open(folder)
    timed = []
    for size in megapixels:
        timed += race_sizes(list(size_cases(photograph, size)), methods, ROUNDS[size], limit)
        print(f"{size:g} megapixels: done", flush=True)
    return timed


def _write_strips(folder: Path, cases: dict[str, list[Case]], results: Results) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, some in cases.items():
        for first, drawn in sheets(some, results):
            drawn.save(folder / f"{name} {first}.png")


if __name__ == "__main__":
    main()
