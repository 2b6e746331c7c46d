"""Every loss against values worked out by hand, analytic critics or a brute-force twin.

And against the losses of published networks, on their published scores (tests/data, described in
test_golden_critics.py).
"""

from pathlib import Path

import numpy as np
import pytest
import torch

from contextual_attention.models.network.critics import Critic
from contextual_attention.models.training import adversarial

DATA = Path(__file__).parent / "data"


def test_wasserstein_losses():
    real, fake = torch.tensor([4.0, 2.0, 0.0]), torch.tensor([1.0, -3.0, 8.0])
    assert adversarial.wasserstein_critic_loss(real, fake).item() == 2.0 - 2.0
    assert adversarial.wasserstein_critic_loss(real, fake - 1).item() == 1.0 - 2.0
    assert adversarial.wasserstein_generator_loss(fake).item() == -2.0


def test_hinge_by_hand():
    # max(0, 1 - D(real)): 0, 0, 1, 3; max(0, 1 + D(fake)): 0, 0, 2, 5.
    real, fake = torch.tensor([[2.0, 1.0], [0.0, -2.0]]), torch.tensor([[-3.0, -1.0], [1.0, 4.0]])
    assert adversarial.hinge_critic_loss(real, fake).item() == 1.0 + 1.75


def test_cross_entropy_is_that_of_probabilities():
    torch.manual_seed(0)
    real, fake = torch.randn(2, 6, dtype=torch.float64)
    critic = -torch.sigmoid(real).log().mean() - (1 - torch.sigmoid(fake)).log().mean()
    assert adversarial.cross_entropy_critic_loss(real, fake).item() == pytest.approx(critic.item(), rel=1e-12)
    generator = -torch.sigmoid(fake).log().mean()
    assert adversarial.cross_entropy_generator_loss(fake).item() == pytest.approx(generator.item(), rel=1e-12)


def test_cross_entropy_of_a_sure_critic_is_finite_and_steep():
    """Where float32's logistic function is 0 or 1, and its logarithm infinite."""
    score = torch.tensor([-300.0], requires_grad=True)
    for loss in (
        adversarial.cross_entropy_generator_loss(score),
        adversarial.cross_entropy_critic_loss(score, torch.tensor([-300.0])),
    ):
        assert loss.item() == 300.0
        (gradient,) = torch.autograd.grad(loss, score)
        assert gradient.item() == -1.0


@pytest.mark.parametrize(
    "loss",
    [
        adversarial.hinge_critic_loss,
        adversarial.cross_entropy_critic_loss,
        lambda real, fake: adversarial.cross_entropy_generator_loss(fake) + 0 * real.sum(),
    ],
)
def test_gradients_are_the_slopes(loss):
    torch.manual_seed(1)
    scores = torch.randn(2, 3, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(loss, (scores[0], scores[1]))


def scores_of(file, *names):
    with np.load(DATA / f"{file}_net.npz") as arrays:
        return [torch.from_numpy(np.asarray(arrays[name])) for name in names]


@pytest.mark.parametrize(
    ("file", "names"),
    [
        ("yu2018_v2", ("d_out", "d_d_loss", "d_g_loss")),
        ("nipponjo_v2", ("d_nip.out", "d_nip.d_loss", "d_nip.g_loss")),
        ("nipponjo_v2", ("d_nip_tf.out", "d_nip_tf.d_loss", "d_nip_tf.g_loss")),
    ],
)
def test_hinge_is_the_published(file, names):
    scores, critic, generator = scores_of(file, *names)
    real, fake = scores.chunk(2)
    assert adversarial.hinge_critic_loss(real, fake).item() / 2 == pytest.approx(critic.item(), rel=5e-6)
    # A mean of 1000 numbers of both signs, about a tenth of them in size.
    assert adversarial.wasserstein_generator_loss(fake).item() == pytest.approx(generator.item(), rel=5e-6)


def test_hinge_is_mmagics():
    """Which publishes the terms of one batch of scores, taken for real ones and for fake ones."""
    scores, real, fake, generator = scores_of(
        "mmagic_v2", "d.out_train", "d.loss_real", "d.loss_fake", "d.loss_g"
    )
    both = real.item() + fake.item()
    assert adversarial.hinge_critic_loss(scores, scores).item() == pytest.approx(both, rel=5e-6)
    found = 0.1 * adversarial.wasserstein_generator_loss(scores).item()
    assert found == pytest.approx(generator.item(), rel=5e-6)


def test_cross_entropy_is_the_published():
    probabilities, expected = scores_of("context_encoder", "d_fake", "loss_adv")
    found = adversarial.cross_entropy_generator_loss(torch.logit(probabilities.double()))
    assert found.item() == pytest.approx(expected.item(), rel=5e-6)


class Linear(torch.nn.Module):
    """D(x) = <w, x>: its gradient is w, wherever it is taken."""

    def __init__(self, w):
        super().__init__()
        self.w = torch.nn.Parameter(w)

    def forward(self, x):
        return (self.w * x).sum((1, 2, 3))


def test_penalty_of_a_linear_critic():
    w = torch.zeros(3, 2, 2)
    w[0, 0, 0], w[1, 1, 1] = 3.0, 4.0  # of norm 5
    critic, images = Linear(w), torch.randn(2, 3, 2, 2)
    assert adversarial.gradient_penalty(critic, images, -images).item() == pytest.approx((5 - 1) ** 2)
    mask = torch.ones(2, 1, 2, 2)
    mask[1, 0, 1, 1] = 0  # the second sample keeps a gradient of norm 3
    penalty = adversarial.gradient_penalty(critic, images, -images, mask)
    assert penalty.item() == pytest.approx(((5 - 1) ** 2 + (3 - 1) ** 2) / 2)
    # d/dw of (|w m| - 1)**2 is 2 (|w m| - 1) w m / |w m|.
    (gradient,) = torch.autograd.grad(penalty, critic.w)
    assert gradient[0, 0, 0].item() == pytest.approx((2 * 4 * 3 / 5 + 2 * 2 * 1) / 2)
    assert gradient[1, 1, 1].item() == pytest.approx((2 * 4 * 4 / 5) / 2)


def test_penalty_is_taken_between_real_and_fake():
    """D(x) = |x|**2 / 2 has the gradient x: the penalty reads off where it was taken."""
    real, fake = torch.zeros(2, 3, 1, 1), torch.zeros(2, 3, 1, 1)
    fake[:, 0] = 8.0
    penalty = adversarial.gradient_penalty(
        lambda x: x.square().sum((1, 2, 3)) / 2, real, fake, position=torch.tensor([0.25, 0.5])
    )
    assert penalty.item() == pytest.approx(((2 - 1) ** 2 + (4 - 1) ** 2) / 2)


def test_position_is_uniform_and_seeded():
    taken = []

    def critic(x):
        taken.append(x.detach()[:, 0, 0, 0])
        return x.sum((1, 2, 3))

    real, fake = torch.zeros(2000, 3, 1, 1), torch.ones(2000, 3, 1, 1)
    for _ in range(2):
        torch.manual_seed(3)
        adversarial.gradient_penalty(critic, real, fake)
    assert torch.equal(*taken)
    histogram = torch.histc(taken[0], 4, 0, 1)
    assert (histogram - 500).abs().max() < 100  # five standard deviations


def test_penalty_of_a_network_can_be_differentiated():
    torch.manual_seed(0)
    critic = Critic((2, 3), 8).double()
    real, fake = torch.randn(2, 2, 3, 8, 8, dtype=torch.float64)
    mask = (torch.rand(2, 1, 8, 8) > 0.5).double()
    position = torch.tensor([0.3, 0.6], dtype=torch.float64)

    def penalty():
        return adversarial.gradient_penalty(critic, real, fake, mask, position=position)

    for parameter in (critic.features[0].weight, critic.score.weight):
        (gradient,) = torch.autograd.grad(penalty(), parameter)
        direction = torch.randn_like(parameter)
        step, values = 1e-6, []
        for sign in (1, -1):
            with torch.no_grad():
                parameter += sign * step * direction
            values.append(penalty().item())
            with torch.no_grad():
                parameter -= sign * step * direction
        slope = (values[0] - values[1]) / (2 * step)
        assert (gradient * direction).sum().item() == pytest.approx(slope, rel=1e-5)


def test_penalty_of_a_sample_without_a_hole_is_one_and_still():
    critic = Linear(torch.ones(3, 2, 2))
    penalty = adversarial.gradient_penalty(
        critic, torch.zeros(1, 3, 2, 2), torch.ones(1, 3, 2, 2), torch.zeros(1, 1, 2, 2)
    )
    assert penalty.item() == 1.0
    (gradient,) = torch.autograd.grad(penalty, critic.w)
    assert (gradient == 0).all()


def test_penalty_leaves_the_generator_alone():
    fake = torch.randn(1, 3, 2, 2, requires_grad=True)
    penalty = adversarial.gradient_penalty(Linear(torch.ones(3, 2, 2)), torch.zeros(1, 3, 2, 2), fake)
    assert torch.autograd.grad(penalty, fake, allow_unused=True) == (None,)


def test_penalty_refuses_other_shapes():
    with pytest.raises(ValueError, match="fake: expected the shape of real"):
        adversarial.gradient_penalty(
            Linear(torch.ones(3, 2, 2)), torch.zeros(1, 3, 2, 2), torch.zeros(1, 3, 2, 1)
        )


def test_clipping():
    layer = torch.nn.Linear(3, 1)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[0.5, -0.002, -7.0]]))
        layer.bias.fill_(0.03)
    adversarial.clip_weights(layer, 0.01)
    assert layer.weight.tolist() == [pytest.approx([0.01, -0.002, -0.01])]
    assert layer.bias.item() == pytest.approx(0.01)
    with pytest.raises(ValueError, match="limit: expected a positive number, got 0"):
        adversarial.clip_weights(layer, 0)
