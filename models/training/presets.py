"""Presets: a recipe, its network, its losses, holes and optimiser, put together with a publication's numbers.

Numbers that a preset does not name are the defaults of their classes, which say where those come from.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from ..network.generator_config import GeneratorConfig
from .config import DataConfig, MaskConfig, TrainConfig
from .recipes import wasserstein

PRESETS: Mapping[str, TrainConfig] = MappingProxyType(
    {
        "paper": TrainConfig(),
        "published": TrainConfig(
            generator=GeneratorConfig(padding="same", attention="yu2018"),
            masks=MaskConfig(shrink=32),
            loss=wasserstein.LossConfig(gamma=0.9),
        ),
        # Ours: learns within minutes on a CPU, where a step must be cheap and go far: small batches, a large
        # rate, moments that are long enough for both. Holes vary by a quarter, as in the published code.
        "small": TrainConfig(
            data=DataConfig(size=64, pictures=300, workers=0),
            masks=MaskConfig(box=32, shrink=8),
            generator=GeneratorConfig(cnum=8),
            critics=wasserstein.CriticConfig(local=(8, 16, 32, 64), whole=(8, 16, 32, 32)),
            optimiser=wasserstein.OptimiserConfig(
                learning_rate=1e-3, beta1=0.9, beta2=0.99, batch=4, average=0.99
            ),
            steps=2000,
            save_every=100,
            show_every=100,
        ),
    }
)
