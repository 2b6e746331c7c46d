"""Holes in photographs, drawn by seed, in groups; and those of the race of sizes.

Shape legend: H, W the picture.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from PIL import Image

from contextual_attention.models.data.bundled import bundled_photographs

from . import places, shapes


@dataclass(frozen=True)
class Case:
    """A hole in a photograph; truth (H, W, 3) uint8, hole (H, W) bool."""

    name: str
    group: str
    photograph: str
    truth: np.ndarray
    hole: np.ndarray

    def seen(self) -> np.ndarray:
        """What a method gets to see: the photograph, black where it is missing."""
        return np.where(self.hole[..., None], 0, self.truth).astype(np.uint8)


# Lists: how many holes of a kind, of which group, and in which photographs


@dataclass(frozen=True)
class _Kind:
    group: str
    draw: Callable[[shapes.Canvas, np.ndarray], np.ndarray]
    count: int
    # Photographs with a high value of this are taken, the better share of all of them; None: any.
    suits: Callable[[np.ndarray], float] | None = None
    share: float = 1.0


def _straightest(grey: np.ndarray) -> float:
    return float(np.quantile(places.straightness(grey, 8.0)[0], 0.999))


def _smoothest(grey: np.ndarray) -> float:
    return -float(np.quantile(places.roughness(grey, 30.0), 0.01))


def _most(score: Callable[[np.ndarray, float], np.ndarray]) -> Callable[[np.ndarray], float]:
    """Photographs by the best of such places in them."""
    return lambda grey: float(np.quantile(score(grey, 1.0), 0.99))


@dataclass(frozen=True)
class Holes:
    """What is drawn in a list of photographs: so many of each kind, and what its groups are."""

    kinds: dict[str, _Kind]
    groups: dict[str, str]


# The goals of `exemplar` are about these. New kinds come last: those before are then drawn as ever.
WIDE = Holes(
    {
        "square": _Kind("squares", shapes.square, 14),
        "edge": _Kind("structure", shapes.edge, 8, _straightest, 2 / 3),
        "smooth": _Kind("structure", shapes.smooth, 4, _smoothest, 1 / 3),
        "anything": _Kind("structure", shapes.anything, 4),
        "scratches": _Kind("thin", shapes.scratches, 7),
        "text": _Kind("thin", shapes.text, 5),
    },
    {
        "squares": "squares of 80 to 140 pixels anywhere",
        "structure": "half of them strips and blobs across the straightest edges, a quarter blobs where the "
        "photograph is smoothest, a quarter blobs and ellipses anywhere",
        "thin": "scratches, 4 to 8 curves of 3 to 6 pixels, and lines of text",
    },
)
# And those of `structure` about these.
MIXED = Holes(
    {
        "box": _Kind("squares", shapes.box, 12),
        "crossing": _Kind("structure", shapes.crossing, 8, _straightest, 2 / 3),
        "rim": _Kind("structure", shapes.rim, 6, _most(places.bending), 1 / 2),
        "horizon": _Kind("structure", shapes.horizon, 6, _most(places.levelness), 1 / 2),
        "gradient": _Kind("structure", shapes.gradient, 6, _most(places.slope), 1 / 2),
        "object": _Kind("structure", shapes.thing, 12, _straightest, 2 / 3),
        "rough": _Kind("texture", shapes.rough, 10, _most(places.disorder), 1 / 3),
    },
    {
        "squares": "squares of 32 to 128 pixels anywhere",
        "structure": "boxes and blobs of 32 to 128 pixels across straight edges, rims, horizons and slopes "
        "of brightness, and outlines of things, 64 to 128 pixels long, before straight edges",
        "texture": "boxes and blobs of 32 to 128 pixels where much is going on in no direction",
    },
)


JUDGED_AGAIN = "judged, 32 to 128"
# By the name of each list of photographs: lists of cases, by their own names, and the holes of each.
DRAWN = {
    "judged": {"judged": WIDE, JUDGED_AGAIN: MIXED},
    "validation": {"validation": MIXED},
    "trained": {"trained": MIXED},
}


def draw_cases(photographs: dict[str, np.ndarray], holes: Holes, seed: int) -> list[Case]:
    """The cases of a list of photographs, of which none gets a second hole of a kind before all have one."""
    random = np.random.default_rng(seed)
    greys = {name: picture.mean(2) for name, picture in photographs.items()}
    cases = []
    for kind, wanted in holes.kinds.items():
        names = sorted(greys)
        if wanted.suits is not None:
            names.sort(key=lambda name: wanted.suits(greys[name]), reverse=True)
            names = names[: max(1, round(wanted.share * len(names)))]
        order = [str(name) for _ in range(wanted.count) for name in random.permutation(names)]
        for name in order[: wanted.count]:
            height, width = greys[name].shape
            hole = wanted.draw(shapes.Canvas(height, width, random.spawn(1)[0]), greys[name])
            title = f"{len(cases):02d} {kind} {name}"
            cases.append(Case(title, wanted.group, name, photographs[name], hole))
    return cases


# Textures: crops of bundled photographs

TEXTURE = "squares of 48 pixels in crops of 256 of four textures"

CROP, SQUARE, MARGIN = 256, 48, 24


@dataclass(frozen=True)
class _Texture:
    """A bundled photograph, where its crop is (top, left; None: drawn), and the first row for holes in it."""

    photograph: str
    corner: tuple[int, int] | None = None
    first_row: int = MARGIN


TEXTURES = {
    "brick": _Texture("brick"),
    "grass": _Texture("grass"),
    "gravel": _Texture("gravel"),
    "foliage": _Texture("china", (171, 320), 150),
}


def texture_cases(holes: int = 3) -> Iterator[Case]:
    """So many holes in a crop of each texture; without a corner the crops differ too."""
    for name, texture in TEXTURES.items():
        with Image.open(bundled_photographs()[texture.photograph]) as file:
            image = np.array(file.convert("RGB"))
        for seed in range(holes):
            random = np.random.default_rng(seed)
            drawn = [int(random.integers(0, n - CROP + 1)) for n in image.shape[:2]]
            top, left = texture.corner or drawn
            hole = np.zeros((CROP, CROP), bool)
            firsts = texture.first_row, MARGIN
            row, column = (random.integers(first, CROP - SQUARE - MARGIN) for first in firsts)
            hole[row : row + SQUARE, column : column + SQUARE] = True
            crop = np.ascontiguousarray(image[top : top + CROP, left : left + CROP])
            yield Case(f"{name} {seed}", "texture", name, crop, hole)


# Sizes: one photograph, made larger or smaller

HOLES = {"1 %": 0.01, "10 %": 0.1, "scratches": None}


def size_cases(photograph: Image.Image, megapixels: float) -> Iterator[Case]:
    """A square hole of each share of the picture, and scratches."""
    scale = (megapixels * 1e6 / photograph.width / photograph.height) ** 0.5
    size = round(scale * photograph.width), round(scale * photograph.height)
    image = np.array(photograph.resize(size, Image.Resampling.LANCZOS))
    for seed, (name, share) in enumerate(HOLES.items()):
        canvas = shapes.Canvas(size[1], size[0], np.random.default_rng(seed))
        if share is None:
            hole = shapes.scratches(canvas, image[..., 0])
        else:
            side = (share * size[0] * size[1]) ** 0.5
            hole = canvas.rectangle((size[1] // 2, size[0] // 2), 0.0, side, side)
        yield Case(f"{megapixels:g} MP, {name}", name, "size", image, hole)
