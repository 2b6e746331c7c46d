"""Puts a trained structure network into the package, in float16.

    python -m tools.structure.ship RUN/best

Takes what `load_model` takes. Refuses a network that float16 changes by more than a picture of 8 bits shows.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import torch

from contextual_attention.files import replace_folder
from contextual_attention.models.data.samples import Place, Sample, collate
from contextual_attention.models.network.pretrained import load_model
from contextual_attention.models.network.shipped import FILES, FOLDER, load_shipped, write_sums
from contextual_attention.models.network.structure import StructureNetwork
from contextual_attention.models.training.feed import make_samples
from contextual_attention.models.training.presets import PRESETS

MOST_BYTES = 4_000_000
# Colours are in [-1, 1]: one level of 8 bits.
MOST_COLOUR_CHANGE = 2 / 255
MOST_ERROR_CHANGE = 0.05
_PICTURES, _SEED = 8, 1


class Change(NamedTuple):
    """The most that float16 changes in the holes.

    Attributes:
        colour: Of a colour in [-1, 1].
        error: Of the error that the network expects, as a share of it.
    """

    colour: float
    error: float


def ship(network: StructureNetwork, folder: Path = FOLDER) -> Change:
    """Write a network as the one that comes with the package.

    Args:
        network: Not changed.
        folder: Its parent exists. An older network there is replaced.

    Raises:
        ValueError: float16 changes it by more than `MOST_COLOUR_CHANGE` or `MOST_ERROR_CHANGE`, or it has
            more than `MOST_BYTES`; nothing is written.
    """
    halved = copy.deepcopy(network).half()
    change = change_between(network, copy.deepcopy(halved).float())
    # Not the other way round: of weights that are infinite in float16, the change is no number.
    if not (change.colour <= MOST_COLOUR_CHANGE and change.error <= MOST_ERROR_CHANGE):
        raise ValueError(
            f"float16 changes its colours by up to {change.colour:.3g}, and the error that it expects by up "
            f"to {change.error:.1%}; expected at most {MOST_COLOUR_CHANGE:.3g} and {MOST_ERROR_CHANGE:.0%}"
        )
    size = sum(each.numel() * each.element_size() for each in halved.state_dict().values())
    if size > MOST_BYTES:
        raise ValueError(
            f"its weights have {size:,} bytes, expected at most {MOST_BYTES:,}; train a narrower network"
        )

    def write(into: Path) -> None:
        halved.save_pretrained(into)
        for file in into.iterdir():
            if file.name not in FILES:  # a card for the hub: docs/weights.md is that of this one
                file.unlink()
            else:
                file.chmod(0o644)  # safetensors writes what its owner alone may read
        write_sums(into)

    replace_folder(folder, write)
    load_shipped(folder)
    return change


@torch.no_grad()
def change_between(network: StructureNetwork, other: StructureNetwork) -> Change:
    """What differs between two networks on procedural scenes, with holes as they are trained on."""
    sample = scenes()
    hole = sample.mask[:, 0]
    before, after = (each(sample.image, sample.mask, sample.drafts) for each in (network, other))
    colours = (after.refined - before.refined).abs().amax(1)[hole]
    errors = (after.error / before.error - 1).abs()[:, 0][hole]
    return Change(float(colours.max()), float(errors.max()))


def scenes() -> Sample:
    """A batch of what is told by: procedural, none of them trained on."""
    preset = PRESETS[StructureNetwork.system]
    data = replace(preset.data, path=f"scenes:{_SEED}", pictures=_PICTURES, scenes=0)
    samples = make_samples(replace(preset, data=data))
    return collate([samples[Place(0, index)] for index in range(_PICTURES)])


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tools.structure.ship", description=__doc__.split("\n")[0]
    )
    parser.add_argument("source", metavar="RUN_OR_FOLDER", help="a run, its folder best, or another folder")
    given = parser.parse_args(arguments)
    try:
        network = load_model(given.source)
        if not isinstance(network, StructureNetwork):
            raise ValueError(f"{given.source}: expected a structure network, got one of {network.system}")
        change = ship(network)
    except (OSError, ValueError) as error:
        raise SystemExit(str(error)) from None
    print(
        f"{FOLDER}: written; float16 changes colours by up to {change.colour:.2g} of 2, and the error that "
        f"the network expects by up to {change.error:.2%}"
    )


if __name__ == "__main__":
    main()
