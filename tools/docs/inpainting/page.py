"""The results as docs/inpainting.md has them: goals, tables, lists of photographs; and as pictures."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

import numpy as np
from PIL import Image, ImageDraw

from attention_bench.devices import processor

from .cases import DRAWN, JUDGED_AGAIN, TEXTURE, Case
from .goals import exemplar_goals, structure_goals
from .measures import MEASURES
from .methods import FEW, METHODS
from .photographs import LISTS
from .race import Results, Timed

# Lists of cases in the order in which they are reported.
TITLES = {
    JUDGED_AGAIN: "Photographs that judge: nothing was ever tuned or trained on them",
    "judged": "Photographs that judge, with the holes of the goals of `exemplar`",
    "validation": "Photographs for validation: never trained on; `structure` was chosen and tuned by them",
    "trained": "Photographs that `structure` was trained on",
    "textures": "Textures",
}
COLUMNS = {
    **MEASURES,
    "seconds": "processor time of all threads a picture",
    "MiB": "the most memory of the process, what it has loaded included",
}
_DIGITS = {"SSIM": 3, "pd": 3, "MiB": 0}


def page(results: Results, sizes: Sequence[Timed]) -> str:
    """What the command writes into docs/inpainting.md."""
    lists = [name for name in TITLES if any(row.photographs == name for row in results.rows)]
    shown = [name for name in FEW if any(row.method == name for row in results.rows)]
    parts = [
        "![](images/inpainting.jpg)",
        f"*From left: the hole, {', '.join(shown)}, the photograph; all come with scikit-image or "
        "scikit-learn.*",
        "The goals of `structure`:",
        structure_goals(results, sizes),
        "The goals of `exemplar`, on the photographs that judge:",
        exemplar_goals(results, sizes),
        *(f"## {TITLES[name]}\n\n{table(results, name)}" for name in lists),
        "; ".join(f"*{name}*: {meaning}" for name, meaning in COLUMNS.items()) + ".",
        *([f"## Sizes\n\n{sizes_table(sizes)}"] if sizes else []),
        f"## The lists of photographs\n\n{listed_photographs()}",
    ]
    if results.left_out:
        parts.append("Left out of this race:\n\n" + "\n".join(f"- {reason}." for reason in results.left_out))
    return "\n\n".join(parts)


def table(results: Results, photographs: str) -> str:
    """Means over the cases of each group of a list, in Markdown; of textures, those of each photograph."""
    rows = [row for row in results.rows if row.photographs == photographs]
    by = "photograph" if photographs == "textures" else "group"
    lines = [f"| {by} | method | {' | '.join(COLUMNS)} |", "|---" * (len(COLUMNS) + 2) + "|"]
    for name in dict.fromkeys(getattr(row, by) for row in rows):
        for method in dict.fromkeys(row.method for row in rows if getattr(row, by) == name):
            means = {
                column: results.mean(column, method, photographs=photographs, **{by: name})
                for column in COLUMNS
            }
            cells = " | ".join(_number(column, mean) for column, mean in means.items() if mean is not None)
            lines.append(f"| {name} | {method} | {cells} |")
    return "\n".join(lines)


def _number(column: str, mean: float) -> str:
    sign = "+" if column == "seam" else ""
    return f"{mean:{sign}.{_DIGITS.get(column, 2)}f}"


def sizes_table(sizes: Sequence[Timed]) -> str:
    """Processor time, time and memory of each method on each picture, in Markdown."""
    methods = list(dict.fromkeys(timed.method for timed in sizes))
    lines = [f"| picture | missing | {' | '.join(methods)} |", "|---" * (len(methods) + 2) + "|"]
    for case in dict.fromkeys(timed.case for timed in sizes):
        of_case = {timed.method: timed for timed in sizes if timed.case == case}
        missing = next(iter(of_case.values())).missing
        cells = " | ".join(_size_text(of_case[method]) for method in methods)
        lines.append(f"| {case} | {100 * missing:.1f} % | {cells} |")
    told = "Seconds of processor time of all threads, seconds that pass, and MiB of the process at most"
    return "\n".join([*lines, "", f"*{told}; {processor()}, {os.cpu_count()} CPUs.*"])


def _size_text(timed: Timed) -> str:
    if timed.seconds is None or timed.elapsed is None or timed.peak is None:
        return timed.failed.partition(": ")[2]
    return f"{timed.seconds:.2f} s, {timed.elapsed:.2f} s, {timed.peak:.0f} MiB"


def listed_photographs() -> str:
    """The names of each list by the package they are in, in Markdown."""
    lines = []
    for name, photographs in LISTS.items():
        for package in dict.fromkeys(photograph.package for photograph in photographs):
            names = ", ".join(one.name for one in photographs if one.package == package)
            lines.append(f"- {name}, {package}: {names}.")
    return "\n".join([*lines, "", _listed_holes()])


def _listed_holes() -> str:
    """What the groups of each list of cases are."""
    told: dict[str, list[str]] = {}
    for drawn in DRAWN.values():
        for cases, holes in drawn.items():
            text = "; ".join(f"*{group}*: {meaning}" for group, meaning in holes.groups.items())
            told.setdefault(text, []).append(cases)
    lines = [f"Holes of {' and '.join(cases)}: {text}." for text, cases in told.items()]
    return "\n\n".join([*lines, f"Holes of textures: {TEXTURE}."])


# Pictures


def sheet(
    cases: Sequence[Case], results: Results, methods: Sequence[str], side: int = 120, named: bool = False
) -> Image.Image:
    """A row for each case: the hole, what each method made of it, the photograph; cut out around the hole."""
    known = [name for name in methods if any((case.name, name) in results.pictures for case in cases)]
    columns = ("the hole", *known, "the photograph")
    drawn = Image.new("RGB", (side * len(columns), 14 + side * len(cases)), "white")
    for place, title in enumerate(columns):
        ImageDraw.Draw(drawn).text((place * side + 2, 1), title, fill="black")
    for row, case in enumerate(cases):
        pictures = [np.where(case.hole[..., None], 255, case.truth).astype(np.uint8)]
        pictures += [results.pictures[case.name, method] for method in known]
        for column, picture in enumerate([*pictures, case.truth]):
            cut = Image.fromarray(picture).crop(_around(case.hole))
            drawn.paste(cut.resize((side, side), Image.Resampling.LANCZOS), (column * side, 14 + row * side))
        if named:
            ImageDraw.Draw(drawn).text((2, 16 + row * side), case.name, fill="red")
    return drawn


def _around(hole: np.ndarray) -> tuple[int, int, int, int]:
    """A square around a hole, (left, top, right, bottom): twice its size, of scattered ones a part."""
    height, width = hole.shape
    rows, columns = np.nonzero(hole)
    extent = max(np.ptp(rows), np.ptp(columns)) + 1
    side = int(min(2 * extent, 2 * height / 3, 2 * width / 3))
    if 2 * extent > side:
        middle = len(rows) // 2  # a missing pixel in the middle of the picture, more or less
        centre = rows[middle], columns[middle]
    else:
        centre = (rows.min() + rows.max()) // 2, (columns.min() + columns.max()) // 2
    top, left = (
        int(min(max(0, at - side // 2), n - side)) for at, n in zip(centre, (height, width), strict=True)
    )
    return left, top, left + side, top + side


def sheets(cases: Sequence[Case], results: Results, each: int = 20) -> Iterator[tuple[str, Image.Image]]:
    """All cases, so many to a picture, with every method; and the first case's name of each."""
    for start in range(0, len(cases), each):
        some = cases[start : start + each]
        yield some[0].name, sheet(some, results, list(METHODS), side=220, named=True)
