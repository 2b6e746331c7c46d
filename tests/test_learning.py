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

SIDE, HOLE, STEPS = 32, 12, 40


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Bright dead leaves, values in [0, 1] of [-1, 1], to train on, and others to measure on."""
    generator = torch.Generator().manual_seed(0)
    folders = []
    for name, count in (("trained_on", 48), ("held_out", 24)):
        folders.append(tmp_path_factory.mktemp(name))
        pictures = [(dead_leaves((SIDE, SIDE), generator) + 1) / 2 for _ in range(count)]
        write_photos({folders[-1] / f"{i}.png": to_uint8(picture) for i, picture in enumerate(pictures)})
    return folders


def test_holes_in_other_pictures_are_filled_better(folders, tmp_path):
    """The error goes at least half of the way from the untrained network's to that of the best constant.

    A network that learned nothing but the colour that the pictures have on average, whatever surrounds the
    hole, would go the whole way; one whose gradients are wrong in sign, or reach the wrong weights, none.
    """
    trained_on, held_out = folders
    changes = {"data__path": str(trained_on), "data__size": str(SIDE), "masks__box": str(HOLE)}
    rate = {"optimiser__learning_rate": "1e-3", "optimiser__beta1": "0.9", "optimiser__average": "0.8"}
    config = tiny(generator__cnum="4", optimiser__critic_updates="1", **changes, **rate)
    trainer = Trainer(config, Fabric(accelerator="cpu", devices=1), tmp_path)
    samples = Samples(
        PictureFiles(find_pictures(held_out)), mask_drawer(config.masks), (SIDE, SIDE), config.seed + 1
    )

    def error(method):
        errors = evaluate({"it": method}, samples, batch=8).values["it"]["hole l1 %"]
        return sum(errors) / len(errors)

    def network(image, mask):
        return trainer.average.module(image, mask).completed

    constant = error(lambda image, mask: torch.where(mask, 0.5, image))
    untrained = error(network)
    for _ in range(STEPS):
        trainer.iterate()
    trained = error(network)
    assert untrained > 1.5 * constant  # else there would be little to learn
    assert trained < (untrained + constant) / 2
