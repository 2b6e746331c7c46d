"""Compare ways to fill holes on the same pictures and holes.

Shape legend: B samples; H, W the picture.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ..data.samples import Place, Sample, Samples, collate
from ..filling import inpaint as filling
from ..network.pretrained import load_model
from .metrics import DEFINITIONS, picture_metrics

# (image (B, 3, H, W) in [-1, 1], mask (B, 1, H, W) bool) -> completed (B, 3, H, W); must not read the holes.
Method = Callable[[Tensor, Tensor], Tensor]

# Methods that need no model, by name.
METHODS: dict[str, Method] = {}

ALL_HOLES = "all"


def register_method(name: str) -> Callable[[Method], Method]:
    """Decorate a function to make it a method of the command evaluate.

    Raises:
        ValueError: The name is taken.

    Examples:
        >>> @register_method("black")
        ... def fill_with_black(image, mask):
        ...     return image.masked_fill(mask, -1)
        >>> METHODS.pop("black") is fill_with_black
        True
    """

    def register(method: Method) -> Method:
        if name in METHODS:
            raise ValueError(f"name: {name!r} is a method already; known: {', '.join(METHODS)}")
        METHODS[name] = method
        return method

    return register


@register_method("mean")
def fill_with_mean(image: Tensor, mask: Tensor) -> Tensor:
    """Fill each picture's hole with the mean colour of its known pixels; with grey if there are none."""
    known = (~mask).to(image.dtype)
    mean = (image * known).sum((2, 3), keepdim=True) / known.sum((2, 3), keepdim=True).clamp(min=1)
    return torch.where(mask, mean, image)


@register_method("grey")
def fill_with_grey(image: Tensor, mask: Tensor) -> Tensor:
    """Leave the hole mid-grey: what doing nothing scores."""
    return image.masked_fill(mask, 0)


for _name in filling.METHODS:
    if _name != "model":  # models are named by their paths
        register_method(_name)(partial(filling.inpaint, method=_name))


def model_method(path: str, device: torch.device | str = "cpu") -> Method:
    """A network as a method; where it is, as `load_model` takes it.

    Raises:
        ValueError: No network is there, or one that is guided by sketches, of which samples have none.
    """
    network = load_model(path, device)
    if getattr(network.config, "sketch", False):
        raise ValueError(f"model: {path} is guided by sketches, and the pictures have none; leave it out")

    def complete(image: Tensor, mask: Tensor) -> Tensor:
        return network(image, mask).completed

    return complete


@dataclass
class Scores:
    """The measures of every method on every picture.

    Attributes:
        values: For each method, for each name of DEFINITIONS, a number a picture.
        missing: How many pixels of each picture are.
        pixels: How many each has.
        broken: Messages about pictures that were left out.
    """

    values: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    missing: list[int] = field(default_factory=list)
    pixels: list[int] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)

    def table(self) -> list[dict[str, Any]]:
        """A row for each method on all pictures, then for each on those of every tenth of hole sizes."""
        tenths = [_tenth(*counts) for counts in zip(self.missing, self.pixels, strict=True)]
        bins = {ALL_HOLES: list(range(len(tenths)))}
        for tenth in sorted(set(tenths)):
            name = f"{10 * tenth} to {10 * tenth + 10} %"
            bins[name] = [picture for picture, own in enumerate(tenths) if own == tenth]
        return [
            {"method": method, "holes": name, "pictures": len(pictures), **_means(values, pictures)}
            for name, pictures in bins.items()
            for method, values in self.values.items()
        ]


def _tenth(missing: int, pixels: int) -> int:
    """In whole numbers: as a float32, a share of 7/10 is less than that."""
    return min(10 * missing // pixels, 9)


def _means(values: Mapping[str, list[float]], pictures: list[int]) -> dict[str, float]:
    return {name: math.fsum(row[i] for i in pictures) / len(pictures) for name, row in values.items()}


@torch.no_grad()
def evaluate(
    methods: Mapping[str, Method],
    samples: Samples,
    limit: int | None = None,
    batch: int = 8,
    device: torch.device | str = "cpu",
    progress: Callable[[float], None] | None = None,
) -> Scores:
    """Measure every method on the same pictures, holes and crops.

    Args:
        methods: By the name that they have in the table.
        samples: Each picture is taken once, at epoch 0, with the crop and the hole of its seed.
        limit: Pictures to take, the first ones. Default: all.
        batch: Pictures at a time.
        device: Where the methods compute.
        progress: Called after every batch with the share of the pictures that is done, in (0, 1].

    Returns:
        Scores; pictures that cannot be read are left out and named there.

    Raises:
        ValueError: No picture can be read.
    """
    scores = Scores({name: {measure: [] for measure in DEFINITIONS} for name in methods})
    total = len(samples) if limit is None else min(limit, len(samples))
    for part in _batches(samples, total, batch, scores.broken):
        image, mask = part.image.to(device), part.mask.to(device)
        scores.missing += mask.sum((1, 2, 3)).tolist()
        scores.pixels += [mask[0].numel()] * len(mask)
        for name, method in methods.items():
            completed = method(image.masked_fill(mask, 0), mask)
            for measure, numbers in picture_metrics(completed, image, mask).items():
                scores.values[name][measure] += numbers.tolist()
        if progress is not None:
            progress((len(scores.pixels) + len(scores.broken)) / total)
    if not scores.pixels:
        raise ValueError(f"data: none of its pictures can be read, last {scores.broken[-1]}")
    return scores


def _batches(samples: Samples, total: int, batch: int, broken: list[str]) -> Iterator[Sample]:
    """The readable of the first pictures, collated; messages about the others are added to ``broken``."""
    waiting: list[Sample] = []
    for index in range(total):
        sample = samples[Place(0, index)]
        if sample.broken:
            broken.append(sample.broken[0])  # those after it are about pictures tried in its place
        else:
            waiting.append(sample)
        if len(waiting) == batch:
            yield collate(waiting)
            waiting = []
    if waiting:
        yield collate(waiting)


# What a table looks like


def to_markdown(rows: Iterable[Mapping[str, Any]]) -> str:
    """A table, and under it what its columns are."""
    rows = list(rows)
    lines = [" | ".join(rows[0]), " | ".join("---" for _ in rows[0])]
    lines += [" | ".join(_cell(value) for value in row.values()) for row in rows]
    definitions = [f"- {name}: {text}" for name, text in DEFINITIONS.items()]
    about = "x completed, y original, D the range of values; % in percent of D:"
    return "\n".join([*(f"| {line} |" for line in lines), "", about, "", *definitions, ""])


def to_csv(rows: Iterable[Mapping[str, Any]]) -> str:
    rows = list(rows)
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def to_json(rows: Iterable[Mapping[str, Any]]) -> str:
    """An infinite PSNR, of a picture that is right to the last bit, is null: JSON has no infinity."""
    finite = [{name: None if value == math.inf else value for name, value in row.items()} for row in rows]
    return json.dumps({"definitions": dict(DEFINITIONS), "rows": finite}, indent=1, allow_nan=False) + "\n"


def _cell(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


WRITERS: dict[str, Callable[[Iterable[Mapping[str, Any]]], str]] = {
    ".md": to_markdown,
    ".csv": to_csv,
    ".json": to_json,
}
