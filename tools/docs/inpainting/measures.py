"""How good a filled hole is: the measures of docs/inpainting.md, all of the hole alone.

Shape legend: H, W the picture; pictures are (H, W, 3) uint8, holes (H, W) bool, True = was missing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from skimage.color import rgb2lab
from skimage.metrics import structural_similarity

MEASURES = {
    "PSNR": "dB",
    "SSIM": "mean of its map over the hole",
    "pd": "perceptual distance without a network, 0 to 2, lower is better: how far local means and "
    "deviations of lightness, colour and edges in four directions are apart, at four scales",
    "seam": "mean step across the hole's border over that within 4 pixels outside, above the photograph's "
    "own; 0: invisible",
    "gradient": "mean length of the gradient, as a share of the photograph's",
    "l1": "% of the range",
}
SCALES = 4
# Of the windows in which means and deviations are taken: their sigma in pixels of the finest scale. A scale
# has half the resolution of the one before and a smaller window, so that it sees 4/3 as much of the picture.
WINDOW, NARROWER = 5.0, 1.5
EDGES = 0.7  # sigma of the derivatives
LIGHTNESS_STEP = 20.0  # CIE Lab: means that are this far apart, or farther, count as wholly different
_TRUNCATE = 4.0  # ndimage's own: where its Gaussian filters end, in sigmas
_FEWEST = 16  # missing pixels that a coarser scale is worth looking at for


class Judge:
    """Measures fillings of one hole against what was there, whose own statistics are computed once.

    Args:
        truth: The whole picture, (H, W, 3) uint8.
        hole: What was missing, (H, W) bool.
    """

    def __init__(self, truth: np.ndarray, hole: np.ndarray) -> None:
        self.truth, self.hole = truth, hole
        self._grey = truth.mean(2)
        self._views = list(_views(hole))
        self._statistics = [*_statistics(truth, self._views)]

    def measure(self, filled: np.ndarray) -> dict[str, float]:
        """Every measure of MEASURES."""
        hole, grey = self.hole, filled.mean(2)
        difference = filled[hole].astype(float) - self.truth[hole]
        error = (difference**2).mean()
        similarity = structural_similarity(self.truth, filled, channel_axis=2, full=True)[1]
        return {
            "PSNR": float(10 * np.log10(255**2 / error)) if error else np.inf,
            "SSIM": float(similarity[hole].mean()),
            "pd": self._perceptual_distance(filled),
            "seam": _seam(grey, hole) - _seam(self._grey, hole),
            "gradient": float(_lengths(grey)[hole].mean() / max(_lengths(self._grey)[hole].mean(), 1e-9)),
            "l1": float(100 * np.abs(difference).mean() / 255),
        }

    def _perceptual_distance(self, filled: np.ndarray) -> float:
        """The mean over scales and channels of 1 - (2 s t + 1) / (s^2 + t^2 + 1), s and t the deviations.

        To that of lightness and the two colours the distance of the means is added.
        """
        distances = []
        both = zip(self._statistics, _statistics(filled, self._views), strict=True)
        for (channel, view, (mean, deviation)), (*_, (other_mean, other_deviation)) in both:
            alike = (2 * deviation * other_deviation + 1) / (deviation**2 + other_deviation**2 + 1)
            distance = 1 - alike
            if channel < 3:
                distance += np.minimum(np.abs(mean - other_mean) / LIGHTNESS_STEP, 1)
            distances.append(distance[view.missing].mean())
        return float(np.mean(distances))


# Local means and deviations, of channels at scales


@dataclass(frozen=True)
class _View:
    """What is looked at of one scale: the part around the hole that decides about it."""

    rows: slice
    columns: slice
    missing: np.ndarray  # of that part
    sigma: float


def _views(hole: np.ndarray) -> Iterator[_View]:
    """One for the finest scale, and for each that still shows enough of the hole."""
    share = hole.astype(float)
    for scale in range(SCALES):
        missing = share > 0.5
        if scale and missing.sum() < _FEWEST:
            return
        sigma = WINDOW / NARROWER**scale
        reach = int(_TRUNCATE * sigma + 0.5) + int(_TRUNCATE * EDGES + 0.5)
        rows, columns = (
            slice(max(0, int(at.min()) - reach), int(at.max()) + 1 + reach) for at in np.nonzero(missing)
        )
        yield _View(rows, columns, missing[rows, columns], sigma)
        share = _halved(share)


def _statistics(
    picture: np.ndarray, views: list[_View]
) -> Iterator[tuple[int, _View, tuple[np.ndarray, np.ndarray]]]:
    """Means and deviations in Gaussian windows, of every channel in every view."""
    lab = rgb2lab(picture)
    for place, view in enumerate(views):
        if place:
            lab = np.stack([_halved(lab[..., channel]) for channel in range(3)], 2)
        for channel, values in enumerate(_channels(lab[view.rows, view.columns])):
            mean = ndimage.gaussian_filter(values, view.sigma, truncate=_TRUNCATE)
            square = ndimage.gaussian_filter(values**2, view.sigma, truncate=_TRUNCATE)
            yield channel, view, (mean, np.sqrt(np.maximum(square - mean**2, 0)))


def _channels(lab: np.ndarray) -> list[np.ndarray]:
    """Lightness, the two colours, and the derivatives of lightness across, down and along both diagonals."""
    lightness = lab[..., 0]
    across, down = (ndimage.gaussian_filter(lightness, EDGES, order=order) for order in ((0, 1), (1, 0)))
    diagonals = [(across + down) / np.sqrt(2), (across - down) / np.sqrt(2)]
    return [lightness, lab[..., 1], lab[..., 2], across, down, *diagonals]


def _halved(plane: np.ndarray) -> np.ndarray:
    return ndimage.zoom(ndimage.gaussian_filter(plane, 1), 0.5, order=1)


# Borders and gradients


def _seam(grey: np.ndarray, hole: np.ndarray) -> float:
    """The mean step between a missing pixel and a known one, over that between known ones near the hole."""
    near = ndimage.binary_dilation(hole, iterations=4) & ~hole
    border, around = [], []
    for values, missing, known in ((grey, hole, near), (grey.T, hole.T, near.T)):
        steps = np.abs(np.diff(values, axis=0))
        border.append(steps[missing[1:] != missing[:-1]])
        around.append(steps[known[1:] & known[:-1]])
    return float(np.concatenate(border).mean() / max(np.concatenate(around).mean(), 1e-9))


def _lengths(grey: np.ndarray) -> np.ndarray:
    """Of the gradient, by differences to the next row and column; those of the last ones are 0."""
    down = np.diff(grey, axis=0, append=grey[-1:])
    across = np.diff(grey, axis=1, append=grey[:, -1:])
    return np.hypot(down, across)
