"""The kinds of masks by name, as a configuration or a command line asks for them."""

from __future__ import annotations

import functools
import random
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Literal, Protocol

import numpy as np
import torch

from .masks import MaskFolder, Masks, Size, bounding_boxes, free_form, random_boxes
from .published_masks import PublishedMasks, mmagic_box, mmagic_irregular, otenim_box, yu2019
from .regions import centre_box, random_region
from .samples import DrawMasks
from .varied import varied

MaskKind = Literal[
    "box",
    "boxes",
    "free-form",
    "box-and-strokes",
    "folder",
    "yu2019",
    "mmagic-irregular",
    "mmagic-box",
    "otenim-box",
    "centre",
    "region",
    "varied",
]


class MaskOptions(Protocol):
    """What is missing; training.config.MaskConfig documents each."""

    @property
    def kind(self) -> MaskKind: ...
    @property
    def box(self) -> int: ...
    @property
    def shrink(self) -> int: ...
    @property
    def number(self) -> int: ...
    @property
    def folder(self) -> str: ...


def mask_drawer(options: MaskOptions) -> DrawMasks:
    """The function that draws masks of a kind, its options bound."""
    return _KINDS[options.kind](options)


def box_and_strokes(batch: int, size: Size, generator: torch.Generator, box: int, shrink: int = 0) -> Masks:
    """A box and brush strokes in each sample, as `random_boxes` and `free_form` draw them.

    What DeepFill v2 is trained with (Yu et al. 2019, arXiv:1806.03589), at any size and without the slips of
    its code, which `yu2019` keeps. At 256 x 256 with ``box=128, shrink=32`` both cover as much.

    Returns:
        Masks whose boxes are those of `bounding_boxes`.
    """
    boxes = random_boxes(batch, size, box, generator, shrink=shrink)
    mask = boxes.mask | free_form(batch, size, generator).mask
    return Masks(mask, bounding_boxes(mask))


def _boxes(box: int, number: int, shrink: int, batch: int, size: Size, generator: torch.Generator) -> Masks:
    return random_boxes(batch, size, box, generator, number, shrink)


# Functions of modules and partials of them, which can be handed to the processes that decode.
_KINDS: Mapping[MaskKind, Callable[[MaskOptions], DrawMasks]] = MappingProxyType(
    {
        "box": lambda options: functools.partial(_boxes, options.box, 1, options.shrink),
        "boxes": lambda options: functools.partial(_boxes, options.box, options.number, options.shrink),
        "free-form": lambda options: free_form,
        "box-and-strokes": lambda options: functools.partial(
            box_and_strokes, box=options.box, shrink=options.shrink
        ),
        "folder": lambda options: MaskFolder(options.folder),
        "yu2019": lambda options: PublishedMasks(yu2019, np.random.RandomState),
        "mmagic-irregular": lambda options: PublishedMasks(mmagic_irregular, np.random.RandomState),
        "mmagic-box": lambda options: PublishedMasks(mmagic_box, np.random.RandomState),
        "otenim-box": lambda options: PublishedMasks(otenim_box, random.Random),
        "centre": lambda options: functools.partial(centre_box, box=options.box),
        "region": lambda options: random_region,
        "varied": lambda options: functools.partial(varied, box=options.box, shrink=options.shrink),
    }
)
