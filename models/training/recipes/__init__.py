"""What a system trains by: its critics, its losses, and the updates that a step consists of.

base.py           what a recipe is
optimisers.py     Adam, and what every recipe's optimiser has
context_encoder.py Pathak et al. 2016: squared error, and a critic of the predicted patch
iizuka.py         Iizuka et al. 2017: the network, its critics, then both
patch_gan.py      Yu et al. 2019: a spectrally normalised critic of every neighbourhood, hinge loss
structure.py      this package's own: l1, gradients, the expected error, and later the critic of patch_gan.py
wasserstein.py    Yu et al. 2018: critics with a gradient penalty, updated five times for each generator's
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from .base import Recipe, Settings
from .context_encoder import ContextEncoders
from .iizuka import Iizuka
from .patch_gan import PatchGan
from .structure import Structure
from .wasserstein import Wasserstein

RECIPES: Mapping[str, type[Recipe]] = MappingProxyType(
    {
        "wasserstein": Wasserstein,
        "sn-patchgan": PatchGan,
        "iizuka": Iizuka,
        "context-encoder": ContextEncoders,
        "structure": Structure,
    }
)


def make_recipe(config: Settings) -> Recipe:
    """The recipe that a configuration names, with its settings."""
    return RECIPES[config.recipe](config)
