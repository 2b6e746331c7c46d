"""Training learns: not only do the losses fall, holes in other pictures are filled better."""

import pytest
import torch
from helpers.runs import tiny
from lightning_fabric import Fabric

from contextual_attention.models.data.dead_leaves import dead_leaves
from contextual_attention.models.data.mask_kinds import mask_drawer
from contextual_attention.models.data.samples import Samples
from contextual_attention.models.data.sources import PictureFiles, find_pictures
from contextual_attention.models.evaluation.evaluate import evaluate
from contextual_attention.models.training.trainer import Trainer
from contextual_attention.photos import to_uint8, write_photos

_SMALL = {"data__size": "32", "masks__box": "12", "generator__cnum": "4"}
_RATE = {"optimiser__learning_rate": "1e-3", "optimiser__beta1": "0.9", "optimiser__average": "0.8"}
# Of each recipe: sides of the pictures, settings, steps.
RUNS = {
    "wasserstein": (32, _SMALL | _RATE | {"optimiser__critic_updates": "1"}, 40),
    "sn-patchgan": (32, _SMALL | _RATE, 40),
    "iizuka": (
        32,
        _SMALL | {"optimiser__completion_steps": "40", "optimiser__critic_steps": "10"},
        60,
    ),
    "context-encoder": (128, {"generator__cnum": "4", "generator__bottleneck": "32"}, 40),
}


def pictures(side, folder):
    """Bright dead leaves, values in [0, 1] of [-1, 1], to train on, and others to measure on."""
    generator = torch.Generator().manual_seed(0)
    folders = []
    for name, count in (("trained_on", 48), ("held_out", 24)):
        folders.append(folder / name)
        folders[-1].mkdir()
        drawn = [(dead_leaves((side, side), generator) + 1) / 2 for _ in range(count)]
        write_photos({folders[-1] / f"{i}.png": to_uint8(picture) for i, picture in enumerate(drawn)})
    return folders


@pytest.mark.parametrize("recipe", RUNS)
def test_holes_in_other_pictures_are_filled_better(recipe, tmp_path):
    """The error goes at least half of the way from the untrained network's to that of the best constant.

    A network that learned nothing but the colour that the pictures have on average, whatever surrounds the
    hole, would go the whole way; one whose gradients are wrong in sign, or reach the wrong weights, none.
    """
    side, changes, steps = RUNS[recipe]
    trained_on, held_out = pictures(side, tmp_path)
    config = tiny(recipe, data__path=str(trained_on), **changes)
    trainer = Trainer(config, Fabric(accelerator="cpu", devices=1), tmp_path / "run")
    samples = Samples(
        PictureFiles(find_pictures(held_out)), mask_drawer(config.masks), (side, side), config.seed + 1
    )

    def error(method):
        errors = evaluate({"it": method}, samples, batch=8).values["it"]["hole l1 %"]
        return sum(errors) / len(errors)

    def network(image, mask):
        return trainer.average.module(image, mask).completed

    constant = error(lambda image, mask: torch.where(mask, 0.5, image))
    untrained = error(network)
    for _ in range(steps):
        trainer.iterate()
    trained = error(network)
    assert untrained > 1.5 * constant  # else there would be little to learn
    assert trained < (untrained + constant) / 2
