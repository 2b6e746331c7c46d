"""The terms of both losses, each against a value worked out from its equation."""

import pytest
import torch

from contextual_attention.models.data.samples import Sample
from contextual_attention.models.network.generator import Inpainted
from contextual_attention.models.training.presets import PRESETS
from contextual_attention.models.training.recipes.wasserstein import (
    Critics,
    LossConfig,
    Wasserstein,
    critic_weights,
    generator_terms,
    generator_weights,
)
from contextual_attention.models.training.settings import change
from contextual_attention.models.training.updates import (
    Phase,
    first_not_finite,
    frozen,
    phase_at,
    step_terms,
    weigh,
)

SMALL = change(
    PRESETS["small"],
    {
        "data.size": "16",
        "masks.box": "8",
        "masks.shrink": "0",
        "critics.local": "2,2,2,2",
        "critics.whole": "2,2,2,2",
    },
)


@pytest.fixture
def sample():
    torch.manual_seed(0)
    mask = torch.zeros(2, 1, 16, 16, dtype=torch.bool)
    mask[0, :, 2:10, 3:11] = True
    mask[1, :, 8:16, 0:4] = True  # smaller than its box
    boxes = torch.tensor([[2, 3, 8, 8], [8, 0, 8, 8]])
    discount = torch.rand(2, 1, 16, 16) * mask + ~mask
    return Sample(
        2 * torch.rand(2, 3, 16, 16) - 1,
        mask,
        discount,
        boxes,
        torch.tensor([0.2, 0.9]),
        torch.zeros(2, 0, 16, 16),
        (),
    )


def difference(critic, real, fake):
    with torch.no_grad():
        return float(critic(fake).mean() - critic(real).mean())


def test_critics_see_their_views(sample):
    torch.manual_seed(1)
    critics, completed = Critics(SMALL), torch.rand(2, 3, 16, 16)
    terms = {name: term.detach() for name, term in critics(sample, completed).items()}
    local = [torch.stack([x[0, :, 2:10, 3:11], x[1, :, 8:16, 0:8]]) for x in (sample.image, completed)]
    assert float(terms["local_critic"]) == pytest.approx(difference(critics.local, *local), abs=1e-6)
    assert float(terms["whole_critic"]) == pytest.approx(
        difference(critics.whole, sample.image, completed), abs=1e-6
    )
    scores = critics.scores(sample, completed)
    assert torch.allclose(scores["local"], critics.local(local[1]))
    assert torch.allclose(scores["whole"], critics.whole(completed))


@pytest.mark.parametrize("masked", [True, False])
def test_penalty_of_a_linear_critic(sample, masked):
    """Its gradient is its weight everywhere: the norm is that of the weight, within the hole or over all."""

    class Linear(torch.nn.Module):
        size = 8

        def __init__(self, size):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.linspace(-0.1, 0.2, 3 * size * size).view(3, size, size))

        def forward(self, x):
            return (self.weight * x).sum((1, 2, 3))

    critics = Critics(change(SMALL, {"loss.penalty_masked": str(masked)}))
    critics.local, critics.whole = Linear(8), Linear(16)
    terms = {name: term.detach() for name, term in critics(sample, torch.rand(2, 3, 16, 16)).items()}
    mask = sample.mask.float() if masked else torch.ones(2, 1, 16, 16)
    norms = (critics.whole.weight.detach() * mask).square().sum((1, 2, 3)).sqrt()
    assert float(terms["whole_penalty"]) == pytest.approx(float((norms - 1).square().mean()), rel=1e-5)
    local_mask = torch.stack([mask[0, :, 2:10, 3:11], mask[1, :, 8:16, 0:8]])
    norms = (critics.local.weight.detach() * local_mask).square().sum((1, 2, 3)).sqrt()
    assert float(terms["local_penalty"]) == pytest.approx(float((norms - 1).square().mean()), rel=1e-5)


def test_clipping_replaces_the_penalty(sample):
    terms = Critics(change(SMALL, {"loss.clip": "0.01"}))(sample, torch.rand(2, 3, 16, 16))
    assert terms.keys() == {"local_critic", "whole_critic"}


def test_generator_terms_against_numpy(sample):
    coarse, refined = torch.rand(2, 3, 16, 16), torch.rand(2, 3, 16, 16)
    scores = {"local": torch.tensor([1.0, 4.0]), "whole": torch.tensor([-2.0, 0.0])}
    terms = generator_terms(sample, Inpainted(coarse, refined, refined, None), scores)
    image, mask, discount = (x.double().numpy() for x in (sample.image, sample.mask, sample.discount))
    for name, output in (("coarse", coarse.double().numpy()), ("refined", refined.double().numpy())):
        error = abs(output - image)
        pixels = 3 * mask.sum((1, 2, 3))
        hole = (error * mask * discount).sum((1, 2, 3)) / pixels
        known = (error * (1 - mask)).sum((1, 2, 3)) / (3 * 256 - pixels)
        assert float(terms[f"{name}_l1"]) == pytest.approx(hole.mean(), rel=1e-5)
        assert float(terms[f"{name}_known"]) == pytest.approx(known.mean(), rel=1e-5)
    plain = (error * mask).sum((1, 2, 3)) / pixels
    assert float(terms["hole_l1"]) == pytest.approx(50 * plain.mean(), rel=1e-5)
    assert float(terms["local_adversarial"]) == -2.5
    assert float(terms["whole_adversarial"]) == 1.0


def test_weights_are_those_of_the_published_code():
    """G: 1.2 l1, 1.2 ae, each with the coarse result times 1.2, 0.001 adversarial; D: penalty times 10."""
    ones = {name: torch.tensor(1.0) for name in generator_weights(LossConfig())}
    assert float(weigh(ones, generator_weights(LossConfig()))) == pytest.approx(
        1.2 * (1 + 1.2) + 1.2 * (1 + 1.2) + 2 * 0.001
    )
    ones = {name: torch.tensor(1.0) for name in critic_weights(LossConfig())}
    assert float(weigh(ones, critic_weights(LossConfig()))) == pytest.approx(22)


def test_a_step_in_the_log():
    """Means over the critics' updates, their losses turned round; the first bad term in their order."""
    critic = [
        {"local_critic": -1.0, "local_penalty": 3.0, "whole_critic": 4.0, "whole_penalty": 0.0},
        {"local_critic": -3.0, "local_penalty": 5.0, "whole_critic": 0.0, "whole_penalty": 1.0},
    ]
    step = [{name: torch.tensor(x) for name, x in terms.items()} for terms in (*critic, {"hole_l1": 7.0})]
    learners = ["critics", "critics", "generator"]
    logged = Wasserstein(SMALL).logged(step_terms(learners, step))
    assert {name: float(term) for name, term in logged.items()} == {
        "local_distance": 2.0, "whole_distance": -2.0, "local_penalty": 4.0, "whole_penalty": 0.5,
        "hole_l1": 7.0,
    }  # fmt: skip
    assert first_not_finite(learners, step) is None
    step[2]["hole_l1"] = torch.tensor(float("nan"))
    assert first_not_finite(learners, step) == "the term hole_l1 of the generator's update is nan"
    step[1]["whole_critic"] = torch.tensor(float("-inf"))
    assert first_not_finite(learners, step) == "the term whole_critic of update 2 of the critics is -inf"


def test_phases_follow_each_other():
    phases = (Phase((), 2), Phase((), 1), Phase(()))
    assert [phases.index(phase_at(phases, step)) for step in range(5)] == [0, 0, 1, 2, 2]
    for_ever = (Phase(()), Phase((), 1))
    assert phase_at(for_ever, 10**9) is for_ever[0]


def test_gradients_pass_through_frozen_critics(sample):
    critics, completed = Critics(SMALL), torch.rand(2, 3, 16, 16, requires_grad=True)
    with frozen(critics):
        sum(score.sum() for score in critics.scores(sample, completed).values()).backward()
    assert completed.grad.abs().sum() > 0
    assert all(parameter.grad is None and parameter.requires_grad for parameter in critics.parameters())
