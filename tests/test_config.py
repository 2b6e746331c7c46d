"""The configuration of training: the presets' numbers, changes by name, what is refused."""

import dataclasses

import pytest

from contextual_attention.models.training import config
from contextual_attention.models.training.config import PRESETS
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


def test_every_number_has_its_source():
    """Each field is described, and each description says whose choice it is."""
    for kind in (config.DataConfig, config.MaskConfig, config.LossConfig, config.CriticConfig,
                 config.OptimiserConfig, config.TrainConfig):  # fmt: skip
        described = kind.__doc__.partition("Args:")[2]
        for field in dataclasses.fields(kind):
            assert field.name in described, f"{kind.__name__}.{field.name}"
