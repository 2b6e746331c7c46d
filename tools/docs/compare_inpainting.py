"""Compare ways to fill holes in photographs without training: a table and a picture.

    python tools/docs/compare_inpainting.py --table docs/inpainting.md --picture docs/images/inpainting.jpg

Photographs come with scikit-image and scikit-learn; holes are drawn with fixed seeds. Needs the extra bench.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from PIL import Image
from skimage.metrics import structural_similarity

from contextual_attention.models import inpaint
from contextual_attention.models.data.bundled import bundled_photographs

CROP, HOLE, MARGIN = 256, 48, 24
TRUTH = "the photograph"
BUNDLED = bundled_photographs()


@dataclass(frozen=True)
class Photo:
    """A photograph, where its crop is (top, left; None: drawn), and the first row of the crop for holes."""

    path: Path
    corner: tuple[int, int] | None = None
    first_row: int = MARGIN


PHOTOS = {
    "brick": Photo(BUNDLED["brick"]),
    "grass": Photo(BUNDLED["grass"]),
    "gravel": Photo(BUNDLED["gravel"]),
    "foliage": Photo(BUNDLED["china"], (171, 320), 150),
    "roofs": Photo(BUNDLED["china"], (60, 80)),
    "portrait": Photo(BUNDLED["astronaut"], (0, 80)),
}


def fill_mean(image: np.ndarray, hole: np.ndarray) -> np.ndarray:
    """The mean colour of what is known."""
    result = image.copy()
    result[hole] = image[~hole].mean(0).round()
    return result


def _opencv(flag: int) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    return lambda image, hole: cv2.inpaint(image, hole.astype(np.uint8), 3, flag)


METHODS: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "exemplar": inpaint,
    "patchmatch": lambda image, hole: inpaint(image, hole, "patchmatch"),
    "Telea": _opencv(cv2.INPAINT_TELEA),
    "Navier-Stokes": _opencv(cv2.INPAINT_NS),
    "mean": fill_mean,
}
REGULAR, TEXTURES = "brick", ("grass", "gravel", "foliage")
MEASURES = {
    "PSNR": "dB, in the hole",
    "SSIM": "mean over the hole",
    "l1": "% of the range, in the hole",
    "TV": "total variation in the hole, as a share of the truth's",
    "gradient": "mean length of the gradient in the hole, as a share of the truth's",
    "seam": "mean step across the hole's border over that within 4 pixels outside; the truth's: invisible",
    "seconds": "processor time of all threads",
}


@dataclass
class Results:
    """Measures by photograph and method, a list over holes; and one row of pictures for each photograph."""

    measures: dict[str, dict[str, list[dict[str, float]]]] = field(default_factory=dict)
    rows: list[np.ndarray] = field(default_factory=list)


def crop_and_hole(photo: Photo, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A crop (256, 256, 3) uint8 and a square hole in it, drawn with the seed."""
    with Image.open(photo.path) as file:
        image = np.array(file.convert("RGB"))
    random = np.random.default_rng(seed)
    drawn = [int(random.integers(0, n - CROP + 1)) for n in image.shape[:2]]
    top, left = photo.corner or drawn
    hole = np.zeros((CROP, CROP), bool)
    row, column = (random.integers(first, CROP - HOLE - MARGIN) for first in (photo.first_row, MARGIN))
    hole[row : row + HOLE, column : column + HOLE] = True
    return np.ascontiguousarray(image[top : top + CROP, left : left + CROP]), hole


def measure(truth: np.ndarray, hole: np.ndarray, filled: np.ndarray) -> dict[str, float]:
    """All measures but the time; see MEASURES."""
    difference = (filled.astype(float) - truth)[hole]
    error = (difference**2).mean()
    similarity = structural_similarity(truth, filled, channel_axis=2, full=True)[1]
    down, across = np.abs(_steps(filled, 0)), np.abs(_steps(filled, 1))
    inside = hole[:-1, :-1] & hole[1:, 1:]
    lengths = [np.hypot(_steps(x, 0), _steps(x, 1))[inside].mean() for x in (filled, truth)]
    variations = [(np.abs(_steps(x, 0)) + np.abs(_steps(x, 1)))[inside].mean() for x in (filled, truth)]
    edges = [hole[:-1, :-1] != hole[1:, :-1], hole[:-1, :-1] != hole[:-1, 1:]]
    around = (cv2.dilate(hole.astype(np.uint8), np.ones((9, 9))) > 0) & ~hole
    outside = around[:-1, :-1] & around[1:, 1:]
    seam = np.concatenate([down[edges[0]], across[edges[1]]]).mean()
    return {
        "PSNR": 10 * np.log10(255**2 / error) if error else np.inf,
        "SSIM": similarity[hole].mean(),
        "l1": 100 * np.abs(difference).mean() / 255,
        "TV": variations[0] / variations[1],
        "gradient": lengths[0] / lengths[1],
        "seam": seam / np.concatenate([down[outside], across[outside]]).mean(),
    }


def _steps(image: np.ndarray, axis: int) -> np.ndarray:
    """Differences of neighbouring grey values down (0) or across (1), (H - 1, W - 1)."""
    grey = image.astype(float).mean(2)
    return np.diff(grey, axis=axis)[: CROP - 1, : CROP - 1]


def compare(names: list[str], holes: int) -> Results:
    """Run every method on the same holes of every photograph."""
    results = Results()
    for name in names:
        by_method: dict[str, list[dict[str, float]]] = {method: [] for method in (*METHODS, TRUTH)}
        for seed in range(holes):
            truth, hole = crop_and_hole(PHOTOS[name], seed)
            shown = [np.where(hole[..., None], 255, truth).astype(np.uint8)]
            # Methods do not get to see the truth.
            seen = np.where(hole[..., None], 0, truth).astype(np.uint8)
            for method, fill in METHODS.items():
                start = time.process_time()
                shown.append(fill(seen, hole))
                seconds = time.process_time() - start
                by_method[method].append({**measure(truth, hole, shown[-1]), "seconds": seconds})
            by_method[TRUTH].append({**measure(truth, hole, truth), "seconds": 0.0})
            if seed == 0:
                results.rows.append(_close_up([*shown, truth], hole))
            print(f"{name}, hole {seed + 1} of {holes}", flush=True)
        results.measures[name] = by_method
    return results


def _close_up(pictures: list[np.ndarray], hole: np.ndarray) -> np.ndarray:
    """The hole and as much again around it, of all pictures side by side."""
    corner = [int(max(0, at.min() - HOLE // 2)) for at in np.nonzero(hole)]
    rows, columns = (slice(at, at + 2 * HOLE) for at in corner)
    return np.concatenate([picture[rows, columns] for picture in pictures], 1)


def means(results: Results, photo: str, method: str) -> dict[str, float]:
    """The measures of a method on a photograph, over its holes."""
    rows = results.measures[photo][method]
    return {measure: float(np.mean([row[measure] for row in rows])) for measure in MEASURES}


def table(results: Results) -> str:
    """Means over the holes, in Markdown."""
    lines = ["| photo | method | " + " | ".join(MEASURES) + " |", "|---" * (len(MEASURES) + 2) + "|"]
    for photo, by_method in results.measures.items():
        for method in by_method:
            numbers = " | ".join(f"{mean:.2f}" for mean in means(results, photo, method).values())
            lines.append(f"| {photo} | {method} | {numbers} |")
    legend = "; ".join(f"*{name}*: {meaning}" for name, meaning in MEASURES.items())
    return "\n".join(lines) + f"\n\n{legend}.\n"


def goals(results: Results) -> str:
    """What `exemplar` is meant to reach, and whether it does, as a Markdown list."""
    exemplar, telea, truth = (
        {photo: means(results, photo, method) for photo in results.measures}
        for method in ("exemplar", "Telea", TRUTH)
    )
    gained = {photo: exemplar[photo]["PSNR"] - telea[photo]["PSNR"] for photo in exemplar}
    irregular = float(np.mean([gained[photo] for photo in TEXTURES]))
    kept = {photo: exemplar[photo]["gradient"] for photo in (REGULAR, *TEXTURES)}
    seams = {photo: exemplar[photo]["seam"] - truth[photo]["seam"] for photo in exemplar}
    told = [
        (
            f"the gradient kept on textures is 0.75 to 1.25: {_listed(kept)}",
            all(0.75 <= share <= 1.25 for share in kept.values()),
        ),
        (
            f"PSNR minus Telea's is at least -2.5 dB on the mean of irregular textures: {irregular:+.2f} dB",
            irregular >= -2.5,
        ),
        (
            f"and at least -0.5 dB on regular structure: {REGULAR} {gained[REGULAR]:+.2f} dB",
            gained[REGULAR] >= -0.5,
        ),
        (
            f"no visible seam, the measure at most 0.2 above the photograph's own: {_listed(seams, '+')}",
            all(excess <= 0.2 for excess in seams.values()),
        ),
    ]
    return "\n".join(f"- {'met' if met else 'NOT met'}: {text}." for text, met in told)


def _listed(numbers: dict[str, float], sign: str = "") -> str:
    return ", ".join(f"{name} {number:{sign}.2f}" for name, number in numbers.items())


PAGE = """\
# Filling holes without training

{holes} holes of {hole} x {hole} pixels in each of {photos} crops of {crop} x {crop} pixels of photographs
that come with scikit-image and scikit-learn; no method sees what was there. Made by
`python tools/docs/compare_inpainting.py --table docs/inpainting.md --picture docs/images/inpainting.jpg`.

![](images/inpainting.jpg)

*From left: the hole, {methods}, the photograph.*

`exemplar` continues structure that the picture repeats (the joints of the bricks) and fills textures with
grain as sharp as around them. It cannot know what stands nowhere else in the picture: the ear and the cheek
of the portrait become hair and skin from elsewhere. `patchmatch`, the reference system, averages the patches
that overlap, and so keeps less of a texture. Telea, Navier-Stokes and the mean are smooth: the closer to the
mean of all that might have been there, the better the PSNR, and the plainer the result.

The goals of `exemplar`:

{goals}

How the copies are joined decides about the seam. Pasted as they are, they show a border: the seam measures
1.2 to 2.1. The levels of the copies are therefore adapted by screened Poisson blending
(models/filling/blend.py), which also raises the PSNR, by 0.2 to 0.5 dB, and costs at most 0.1 of the
gradient.

{table}"""


def page(results: Results, holes: int) -> str:
    """docs/inpainting.md."""
    return PAGE.format(
        holes=holes,
        hole=HOLE,
        crop=CROP,
        photos=len(results.measures),
        methods=", ".join(METHODS),
        goals=goals(results),
        table=table(results),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photo", action="append", choices=PHOTOS, help="may be repeated; default: all")
    parser.add_argument("--holes", type=int, default=3, help="for each photograph (default: %(default)s)")
    parser.add_argument("--table", type=Path, help="write the table of all photographs as Markdown")
    parser.add_argument("--picture", type=Path, help="write hole, methods and truth side by side")
    given = parser.parse_args()
    if given.table is not None and given.photo is not None:
        parser.error("--table is of all photographs: leave out --photo")
    results = compare(given.photo or list(PHOTOS), given.holes)
    print(table(results))
    if given.table is not None:
        given.table.write_text(page(results, given.holes))
    if given.picture is not None:
        Image.fromarray(np.concatenate(results.rows)).save(given.picture, quality=88)


if __name__ == "__main__":
    main()
