"""What a system trains by: its critics, its losses, and the updates that a step consists of.

base.py           what a recipe is
optimisers.py     Adam, and what every recipe's optimiser has
wasserstein.py    Yu et al. 2018: critics with a gradient penalty, updated five times for each generator's
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

from .base import Recipe
from .wasserstein import Wasserstein

if TYPE_CHECKING:
    from ..config import TrainConfig

RECIPES: Mapping[str, type[Recipe]] = MappingProxyType({"wasserstein": Wasserstein})


def make_recipe(config: TrainConfig) -> Recipe:
    """The recipe that a configuration names, with its settings."""
    return RECIPES[config.recipe](config)
