"""Every loss against values worked out by hand, analytic critics or a brute-force twin."""

import pytest
import torch

from contextual_attention.models.network.critics import Critic
from contextual_attention.models.training import losses


def test_wasserstein_losses():
    real, fake = torch.tensor([4.0, 2.0, 0.0]), torch.tensor([1.0, -3.0, 8.0])
    assert losses.wasserstein_critic_loss(real, fake).item() == 2.0 - 2.0
    assert losses.wasserstein_critic_loss(real, fake - 1).item() == 1.0 - 2.0
    assert losses.wasserstein_generator_loss(fake).item() == -2.0


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
    assert losses.gradient_penalty(critic, images, -images).item() == pytest.approx((5 - 1) ** 2)
    mask = torch.ones(2, 1, 2, 2)
    mask[1, 0, 1, 1] = 0  # the second sample keeps a gradient of norm 3
    penalty = losses.gradient_penalty(critic, images, -images, mask)
    assert penalty.item() == pytest.approx(((5 - 1) ** 2 + (3 - 1) ** 2) / 2)
    # d/dw of (|w m| - 1)**2 is 2 (|w m| - 1) w m / |w m|.
    (gradient,) = torch.autograd.grad(penalty, critic.w)
    assert gradient[0, 0, 0].item() == pytest.approx((2 * 4 * 3 / 5 + 2 * 2 * 1) / 2)
    assert gradient[1, 1, 1].item() == pytest.approx((2 * 4 * 4 / 5) / 2)


def test_penalty_is_taken_between_real_and_fake():
    """D(x) = |x|**2 / 2 has the gradient x: the penalty reads off where it was taken."""
    real, fake = torch.zeros(2, 3, 1, 1), torch.zeros(2, 3, 1, 1)
    fake[:, 0] = 8.0
    penalty = losses.gradient_penalty(
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
        losses.gradient_penalty(critic, real, fake)
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
        return losses.gradient_penalty(critic, real, fake, mask, position=position)

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
    penalty = losses.gradient_penalty(
        critic, torch.zeros(1, 3, 2, 2), torch.ones(1, 3, 2, 2), torch.zeros(1, 1, 2, 2)
    )
    assert penalty.item() == 1.0
    (gradient,) = torch.autograd.grad(penalty, critic.w)
    assert (gradient == 0).all()


def test_penalty_leaves_the_generator_alone():
    fake = torch.randn(1, 3, 2, 2, requires_grad=True)
    penalty = losses.gradient_penalty(Linear(torch.ones(3, 2, 2)), torch.zeros(1, 3, 2, 2), fake)
    assert torch.autograd.grad(penalty, fake, allow_unused=True) == (None,)


def test_penalty_refuses_other_shapes():
    with pytest.raises(ValueError, match="fake: expected the shape of real"):
        losses.gradient_penalty(Linear(torch.ones(3, 2, 2)), torch.zeros(1, 3, 2, 2), torch.zeros(1, 3, 2, 1))


def test_clipping():
    layer = torch.nn.Linear(3, 1)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[0.5, -0.002, -7.0]]))
        layer.bias.fill_(0.03)
    losses.clip_weights(layer, 0.01)
    assert layer.weight.tolist() == [pytest.approx([0.01, -0.002, -0.01])]
    assert layer.bias.item() == pytest.approx(0.01)
    with pytest.raises(ValueError, match="limit: expected a positive number, got 0"):
        losses.clip_weights(layer, 0)


def test_discounted_l1_by_hand():
    output, target = torch.zeros(2, 2, 1, 3), torch.zeros(2, 2, 1, 3)
    output[0, 0, 0] = torch.tensor([1.0, -2.0, 100.0])
    output[1] = 4.0
    weights = torch.tensor([[1.0, 0.5, 0.0], [0.25, 0.0, 0.0]]).view(2, 1, 1, 3)
    # (1 + 0.5 * 2) over 2 pixels of 2 channels; 2 channels of 0.25 * 4 over 1 pixel of 2 channels.
    assert losses.discounted_l1(output, target, weights).item() == pytest.approx((2 / 4 + 2 / 2) / 2)
    assert losses.discounted_l1(output, target, torch.zeros(2, 1, 1, 3)).item() == 0


def test_discounted_l1_over_processes_is_the_mean_of_theirs():
    torch.manual_seed(0)
    output, target = torch.randn(2, 4, 3, 5, 5)
    weights = torch.rand(4, 1, 5, 5) * (torch.rand(4, 1, 5, 5) > 0.6)
    halves = [losses.discounted_l1(output[i], target[i], weights[i]) for i in (slice(2), slice(2, 4))]
    whole = losses.discounted_l1(output, target, weights)
    assert whole.item() == pytest.approx(sum(halves).item() / 2)
