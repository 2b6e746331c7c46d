"""The configuration of training: the presets' numbers, changes by name, what is refused."""

import dataclasses

import pytest
import torch

from contextual_attention.models.training import config
from contextual_attention.models.training.config import TrainConfig
from contextual_attention.models.training.presets import PRESETS
from contextual_attention.models.training.recipes import RECIPES, make_recipe
from contextual_attention.models.training.settings import change, to_dict


def test_the_paper_and_the_published_code_differ_where_they_do():
    paper, published = to_dict(PRESETS["paper"]), to_dict(PRESETS["published"])
    differing = {
        f"{group}.{name}": (value, published[group][name])
        for group, values in paper.items()
        if isinstance(values, dict)
        for name, value in values.items()
        if value != published[group][name]
    }
    assert differing == {
        "loss.gamma": (0.99, 0.9),
        "masks.shrink": (0, 32),
        "generator.padding": ("mirror", "same"),
        "generator.attention": ("paper", "yu2018"),
    }
    optimiser = PRESETS["paper"].optimiser
    assert (optimiser.learning_rate, optimiser.beta1, optimiser.beta2) == (1e-4, 0.5, 0.9)
    assert (optimiser.batch, optimiser.critic_updates) == (16, 5)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"optimiser.bach": "8"}, "optimiser.bach: no such setting; known: data.path, data.size"),
        ({"optimiser": "8"}, "optimiser: no such setting"),
        ({"nothing.at.all": "8"}, "nothing.at.all: no such setting"),
        ({"optimiser.batch": "many"}, "optimiser.batch: expected something like 16, got 'many'"),
        ({"data.flip": "yes"}, "data.flip: expected something like True, got 'yes'"),
        ({"optimiser.batch": "0"}, "optimiser.batch: expected at least 1, got 0"),
        ({"data.size": "8"}, "data.size: expected at least 16"),
        ({"data.size": "128"}, "masks.box: expected at most 127, less than data.size, got 128"),
        ({"data.least_crop": "0"}, "data.least_crop"),
        ({"data.rotate": "-1"}, "data.rotate: expected 0 to 180 degrees, got -1.0"),
        ({"data.rotate": "181"}, "data.rotate"),
        ({"data.most_enlarged": "-1"}, "data.most_enlarged: expected at least 0"),
        ({"data.colour": "1.5"}, "data.colour: expected 0 to 1, got 1.5"),
        ({"data.scenes": "-1"}, "data.scenes: expected at least 0, got -1"),
        ({"data.layout": "places"}, r"data.layout: expected one of \('auto', 'plain', 'places2'"),
        ({"masks.kind": "round"}, "masks.kind: expected one of .*'box'"),
        ({"masks.kind": "folder"}, "masks.folder"),
        ({"masks.shrink": "128"}, "masks.shrink"),
        ({"loss.gamma": "1.5"}, "loss.gamma: expected more than 0, at most 1"),
        ({"loss.penalty": "-1"}, "loss.penalty: expected at least 0"),
        ({"loss.l1": "0", "loss.known": "0", "loss.adversarial": "0"}, "loss.l1, .*: expected one above 0"),
        (
            {"critics.local": "4,0"},
            r"critics.local: expected at least one number, each at least 1, got \(4, 0",
        ),
        ({"critics.whole": "-1"}, "critics.whole: expected"),
        ({"optimiser.learning_rate": "0"}, "optimiser.learning_rate"),
        ({"optimiser.beta1": "1"}, "optimiser.beta1"),
        ({"precision": "16"}, "precision: expected one of"),
        ({"seed": "-1"}, "seed: expected at least 0"),
        ({"keep": "0"}, "keep: expected at least 1"),
        ({"generator.cnum": "3"}, "cnum"),
    ],
)
def test_settings_that_are_refused(settings, says):
    with pytest.raises(ValueError, match=says):
        change(PRESETS["paper"], settings)


def test_the_numbers_of_other_publications():
    v2, iizuka, encoder, anywhere = (
        PRESETS[name] for name in ("deepfill-v2", "iizuka", "context-encoder", "context-encoder-random")
    )
    assert [each.optimiser.batch for each in (v2, iizuka, encoder, anywhere)] == [16, 96, 64, 64]
    assert [each.data.size for each in (v2, iizuka, encoder, anywhere)] == [256, 256, 128, 128]
    kinds = [each.masks.kind for each in (v2, iizuka, encoder, anywhere)]
    assert kinds == ["box-and-strokes", "box", "centre", "region"]
    assert {(each.masks.box, each.masks.shrink) for each in (v2, iizuka)} == {(128, 32)}

    adam = v2.optimiser.make("critics", [torch.nn.Parameter(torch.zeros(1))])
    assert (adam.defaults["lr"], adam.defaults["betas"]) == (1e-4, (0.5, 0.999))
    assert to_dict(v2)["loss"] == {"refined": 1.0, "coarse": 1.0, "adversarial": 1.0, "critic": 0.5}

    lengths = [phase.steps for phase in make_recipe(iizuka).phases()]
    assert (lengths, iizuka.steps) == ([90_000, 10_000, None], 500_000)
    assert iizuka.loss.adversarial == 4e-4
    adadelta = iizuka.optimiser.make("generator", [torch.nn.Parameter(torch.zeros(1))])
    assert (adadelta.defaults["lr"], adadelta.defaults["rho"]) == (1.0, 0.9)

    for each in (encoder, anywhere):
        assert (each.loss.l2, each.loss.overlap, each.loss.adversarial) == (0.999, 10.0, 0.001)
        rates = [each.optimiser.rate(learner) for learner in ("generator", "critics")]
        assert rates == pytest.approx([2e-3, 2e-4])
        assert (each.optimiser.beta1, each.optimiser.beta2) == (0.5, 0.999)


@pytest.mark.parametrize(
    ("preset", "settings", "says"),
    [
        ("deepfill-v2", {"generator.sketch": "true"}, r"generator\.sketch: expected False: samples of train"),
        ("deepfill-v2", {"critics.padding": "full"}, "critics.padding: expected one of"),
        ("deepfill-v2", {"critics.channels": "4,0"}, "critics.channels: expected at least one number"),
        (
            "deepfill-v2",
            {"loss.refined": "0", "loss.adversarial": "0"},
            "loss.refined, .*: expected one ab",
        ),
        ("deepfill-v2", {"loss.critic": "0"}, "loss.critic: expected more than 0"),
        ("deepfill-v2", {"optimiser.critic_updates": "0"}, "optimiser.critic_updates: expected at least 1"),
        ("iizuka", {"loss.l2": "0"}, "loss.l2: expected more than 0, got 0.0"),
        ("iizuka", {"loss.adversarial": "-1"}, "loss.adversarial: expected at least 0"),
        ("iizuka", {"critics.features": "0"}, "critics.features: expected at least 1"),
        ("iizuka", {"optimiser.rho": "1"}, "optimiser.rho: expected at least 0, less than 1"),
        ("iizuka", {"optimiser.learning_rate": "0"}, "optimiser.learning_rate: expected more than 0"),
        ("iizuka", {"optimiser.critic_steps": "-1"}, "optimiser.critic_steps: expected at least 0"),
        ("context-encoder", {"data.size": "256"}, "data.size: expected 128, the network's, got 256"),
        ("context-encoder", {"masks.kind": "box"}, r"masks\.kind, .*: expected \('centre', 64, 4\), where"),
        ("context-encoder", {"generator.overlap": "7"}, r"got \('centre', 64, 7\)"),
        (
            "context-encoder",
            {"critics.channels": "8,8"},
            "critics.channels: expected 4 numbers, .* 64 pix",
        ),
        ("context-encoder-random", {"critics.channels": "8,8,8,8"}, "critics.channels: expected 5 numbers"),
        ("context-encoder-random", {"masks.kind": "centre"}, "masks.kind: expected another kind, with gen"),
        ("context-encoder", {"optimiser.batch": "1"}, "optimiser.accumulate: expected 2 samples at a time"),
        ("context-encoder", {"optimiser.network_factor": "0"}, "optimiser.network_factor: expected more"),
        ("context-encoder", {"loss.l2": "0", "loss.adversarial": "0"}, "loss.l2, .*: expected one above 0"),
    ],
)
def test_settings_that_a_recipe_refuses(preset, settings, says):
    with pytest.raises(ValueError, match=says):
        change(PRESETS[preset], settings)


def test_groups_of_another_recipe_are_refused():
    with pytest.raises(TypeError, match=r"loss: expected the LossConfig of iizuka, got LossConfig\(gamma="):
        TrainConfig(recipe="iizuka", loss=PRESETS["paper"].loss)
    with pytest.raises(ValueError, match=r"recipe: expected one of wasserstein, .*, got 'magic'"):
        TrainConfig(recipe="magic")


def test_phases_of_no_steps_are_left_out():
    changes = {"optimiser.completion_steps": "0", "optimiser.critic_steps": "0"}
    (only,) = make_recipe(change(PRESETS["iizuka"], changes)).phases()
    assert [update.learner for update in only.updates] == ["critics", "generator"]


def test_every_number_has_its_source():
    """Each field is described, and each description says whose choice it is."""
    groups = (kind for recipe in RECIPES.values() for kind in recipe.groups().values())
    own = config.DataConfig, config.MaskConfig, config.ValidationConfig, config.TrainConfig
    for kind in (*own, *groups):
        described = "".join(each.__doc__.partition("Args:")[2] for each in kind.__mro__[:-1])
        for field in dataclasses.fields(kind):
            assert field.name in described, f"{kind.__name__}.{field.name}"
