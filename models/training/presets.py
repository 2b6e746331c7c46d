"""Presets: a recipe, its network, its losses, holes and optimiser, put together with a publication's numbers.

Numbers that a preset does not name are the defaults of their classes, which say where those come from.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from ..network.context_encoder_config import ContextEncoderConfig
from ..network.context_encoder_critic import ANYWHERE
from ..network.generator_config import GeneratorConfig
from ..network.iizuka import IizukaConfig
from .config import DataConfig, MaskConfig, TrainConfig
from .recipes import context_encoder, iizuka, patch_gan, structure, wasserstein

# Of Yu et al. 2019: published code, as the module of `recipes.patch_gan` names it.
_GATED = GeneratorConfig(
    cnum=24, padding="same", attention="yu2018", gated=True, squash="tanh", refinement_input="image"
)
# Pathak et al. 2016, published code: crops are 128 of the 350 pixels of a picture's short side (here from
# that up), biases are set to 0 before each update. Its commands ask for 500 epochs, of whatever set; the
# number of steps is ours.
_CONTEXT_ENCODER = TrainConfig(
    recipe="context-encoder",
    data=DataConfig(size=128, least_crop=128 / 350),
    masks=MaskConfig(kind="centre", box=64),
    generator=ContextEncoderConfig(bias=False),
    steps=100_000,
)

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
        # Yu et al. 2019, published code: holes are a box of 96 to 128 pixels and brush strokes; crops are not
        # mirrored; it runs until it is stopped, a port of it (nipponjo) for 1,000,000 steps.
        "deepfill-v2": TrainConfig(
            recipe="sn-patchgan",
            data=DataConfig(flip=False),
            masks=MaskConfig(kind="box-and-strokes", shrink=32),
            generator=_GATED,
        ),
        # Ours, like the other small ones: see "small". The critic counts less, which a generator as narrow as
        # this follows wherever it goes: with the published 1, 500 steps bring it as far as 300 with this.
        "deepfill-v2-small": TrainConfig(
            recipe="sn-patchgan",
            data=DataConfig(size=64, pictures=300, workers=0),
            masks=MaskConfig(kind="box-and-strokes", box=32, shrink=8),
            generator=replace(_GATED, cnum=8),
            critics=patch_gan.CriticConfig(channels=(16, 32, 64, 64)),
            loss=patch_gan.LossConfig(adversarial=0.05),
            optimiser=patch_gan.OptimiserConfig(
                learning_rate=1e-3, beta1=0.9, beta2=0.99, batch=4, average=0.99
            ),
            steps=1000,
            save_every=100,
            show_every=100,
        ),
        # Iizuka et al. 2017: crops of pictures whose short side is drawn from 256 to 384; one box of 96 to
        # 128 pixels, and 128 around it that the local critic sees.
        "iizuka": TrainConfig(
            recipe="iizuka",
            data=DataConfig(least_crop=256 / 384),
            masks=MaskConfig(shrink=32),
            steps=500_000,
        ),
        # Ours. Adadelta takes small steps where gradients are small beside its eps: the error weighs more, so
        # that it does not wait for them to grow. With larger steps running statistics would not keep up.
        "iizuka-small": TrainConfig(
            recipe="iizuka",
            data=DataConfig(size=64, pictures=300, workers=0),
            masks=MaskConfig(box=32, shrink=8),
            generator=IizukaConfig(cnum=16),
            critics=iizuka.CriticConfig(local=(16, 32, 64), whole=(16, 32, 64, 64), features=64),
            loss=iizuka.LossConfig(l2=2.5),
            optimiser=iizuka.OptimiserConfig(
                batch=8, learning_rate=0.2, completion_steps=800, critic_steps=100
            ),
            steps=1200,
            save_every=100,
            show_every=100,
        ),
        "context-encoder": _CONTEXT_ENCODER,
        # Holes of 20 to 30 % of the image anywhere, for which the box is not read, and a network that
        # predicts all of it.
        "context-encoder-random": replace(
            _CONTEXT_ENCODER,
            masks=MaskConfig(kind="region", box=64),
            generator=ContextEncoderConfig(output="whole", bias=False),
            critics=context_encoder.CriticConfig(channels=ANYWHERE),
        ),
        "context-encoder-small": replace(
            _CONTEXT_ENCODER,
            data=DataConfig(size=128, pictures=300, workers=0),
            generator=ContextEncoderConfig(cnum=16, bottleneck=256, bias=False),
            critics=context_encoder.CriticConfig(channels=(16, 32, 64, 128)),
            optimiser=context_encoder.OptimiserConfig(batch=16, average=0.0),
            steps=600,
            save_every=100,
            show_every=100,
        ),
        # Ours: what comes with the package was trained by it (docs/weights.md), on photographs among
        # procedural scenes. Holes are as large in their crops as in the windows of `fill_structure`. To draw
        # a sample, with its copies, takes a CPU some six times as long as to learn from it. Small photographs
        # are not enlarged.
        "structure": TrainConfig(
            recipe="structure",
            data=DataConfig(
                size=96,
                least_crop=0.15,
                rotate=15.0,
                most_enlarged=1.0,
                colour=0.35,
                echo=12,
                scenes=150,
                cache=2**30,
                workers=1,
            ),
            masks=MaskConfig(kind="varied", box=64, shrink=48),
            optimiser=structure.OptimiserConfig(batch=16, learning_rate=7e-4, average=0.998),
            steps=60_000,
            save_every=500,
            show_every=500,
        ),
    }
)
