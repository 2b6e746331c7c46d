"""SN-PatchGAN's critic: parameters counted by hand, the layers and the spectral norm once more, its state."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch._subclasses.fake_tensor import FakeTensorMode

from contextual_attention.models.network.layers import PADDINGS
from contextual_attention.models.network.patch_critic import PATCH, PatchCritic


def test_parameters_of_the_published_critic():
    critic = PatchCritic()
    weights = 25 * (4 * 64 + 64 * 128 + 128 * 256 + 3 * 256 * 256)
    assert sum(p.numel() for p in critic.parameters()) == weights + sum(PATCH) == 5_946_816
    guided = PatchCritic(in_channels=5)
    assert sum(p.numel() for p in guided.parameters()) == 5_948_416


def twin(critic, x, u):
    """The critic of zero padding once more, from the formula, and what becomes of u."""
    after = []
    for layer, start in zip(critic.layers, u, strict=True):
        matrix = layer.weight.reshape(len(layer.weight), -1)
        v = F.normalize(matrix.T @ start, dim=0).detach()
        end = F.normalize(matrix @ v, dim=0).detach()
        after.append(end)
        weight = layer.weight / torch.einsum("i,ij,j", end, matrix, v)
        x = F.conv2d(x, weight, layer.bias, stride=2, padding=2)
        x = torch.maximum(x, 0.2 * x)
    return x.reshape(len(x), -1), after


@pytest.mark.parametrize("is_training", [True, False])
def test_forward_is_the_formula(is_training):
    torch.manual_seed(0)
    critic = PatchCritic(3, (4, 6), "zero").double().train(is_training)
    x = torch.randn(2, 3, 13, 10, dtype=torch.float64)
    u = [layer.u.clone() for layer in critic.layers]
    for _ in range(2):
        scores = critic(x)
        expected, u = twin(critic, x, u)
        assert scores.shape == (2, 6 * 4 * 3)
        assert torch.allclose(scores, expected, rtol=1e-9)
        assert all(
            torch.allclose(layer.u, each, rtol=1e-9) for layer, each in zip(critic.layers, u, strict=True)
        )
    for found, own in zip(
        torch.autograd.grad(scores.square().sum(), list(critic.parameters())),
        torch.autograd.grad(expected.square().sum(), list(critic.parameters())),
        strict=True,
    ):
        assert torch.allclose(found, own, rtol=1e-9)


def test_iterated_it_divides_by_the_largest_singular_value():
    torch.manual_seed(1)
    critic = PatchCritic(2, (5,), "zero").double()
    x = torch.randn(2, 2, 8, 8, dtype=torch.float64)
    for _ in range(500):
        critic(x)
    (layer,) = critic.layers

    def exact(weight):
        largest = torch.linalg.svdvals(weight.flatten(1))[0]
        return F.leaky_relu(F.conv2d(x, weight / largest, layer.bias, stride=2, padding=2), 0.2).flatten(1)

    found, expected = critic(x), exact(layer.weight)
    assert torch.allclose(found, expected, rtol=1e-9)
    # The gradient of the largest singular value is that of detached u and v.
    by_found, by_exact = (
        torch.autograd.grad(scores.square().sum(), layer.weight)[0] for scores in (found, expected)
    )
    assert torch.allclose(by_found, by_exact, rtol=1e-7, atol=1e-9)


def test_real_and_fake_may_be_scored_apart():
    """The second call overwrites u; the backward of the first still reads its own."""
    torch.manual_seed(2)
    critic = PatchCritic(3, (4, 4)).double()
    real, fake = torch.randn(2, 2, 3, 16, 16, dtype=torch.float64)
    state = copy.deepcopy(critic.state_dict())
    gradients = []
    for x in (real, fake):
        gradients.append(torch.autograd.grad(critic(x).sum(), critic.layers[0].weight)[0])
    critic.load_state_dict(state)
    together = torch.autograd.grad(critic(real).sum() + critic(fake).sum(), critic.layers[0].weight)[0]
    assert torch.allclose(together, sum(gradients), rtol=1e-12)


def test_taken_up_again_it_goes_on_exactly():
    torch.manual_seed(3)
    critic, x = PatchCritic(3, (4, 4)), torch.randn(1, 3, 16, 16)
    critic(x)
    other = PatchCritic(3, (4, 4))
    other.load_state_dict(critic.state_dict())
    assert torch.equal(other(x), critic(x))
    assert torch.equal(other(x), critic(x))


def test_processes_stay_alike_whatever_they_see():
    torch.manual_seed(4)
    critic = PatchCritic(3, (4, 4))
    other = copy.deepcopy(critic)
    for _ in range(3):
        critic(torch.randn(2, 3, 16, 16))
        other(torch.randn(2, 3, 16, 16))
    for name, value in critic.state_dict().items():
        assert torch.equal(value, other.state_dict()[name])


def test_without_iterations_in_evaluation():
    torch.manual_seed(5)
    critic, x = PatchCritic(3, (4, 4), iterates_in_eval=False), torch.randn(1, 3, 16, 16)
    trained = critic(x)
    state = copy.deepcopy(critic.state_dict())
    assert {name.rpartition(".")[2] for name in state} == {"weight", "bias", "u", "v"}
    critic.eval()
    # With u and v of the last iteration the norm is that of the last iteration.
    assert torch.allclose(critic(x), trained, rtol=1e-5, atol=1e-7)
    assert torch.equal(critic(x), critic(x))
    assert all(torch.equal(value, state[name]) for name, value in critic.state_dict().items())


@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("size", [(1, 1), (17, 64), (33, 5)])
def test_any_size(padding, size):
    places = -(-size[0] // 8) * -(-size[1] // 8)
    assert PatchCritic(4, (2, 2, 3), padding)(torch.zeros(2, 4, *size)).shape == (2, 3 * places)


def test_samples_do_not_mix():
    critic = PatchCritic(4, (2, 4, 8))
    x = torch.randn(3, 4, 16, 16, requires_grad=True)
    (gradient,) = torch.autograd.grad(critic(x)[1].sum(), x)
    assert (gradient[[0, 2]] == 0).all()
    assert (gradient[1] != 0).any()


def test_scores_and_norms_are_float32_under_autocast():
    torch.manual_seed(6)
    critic, x = PatchCritic(3, (4, 8)), torch.randn(2, 3, 16, 16)
    twin = copy.deepcopy(critic)
    with torch.autocast("cpu", torch.bfloat16):
        scores = critic(x)
    expected = twin(x)
    assert scores.dtype == torch.float32
    # The map between is bfloat16's, the iteration exactly float32's.
    assert 0 < (scores - expected).norm() / expected.norm() < 0.02
    assert torch.equal(critic.layers[0].u, twin.layers[0].u)


def test_without_numbers_it_can_be_traced():
    with FakeTensorMode():
        critic = PatchCritic(4, (8, 16))
        scores = critic(torch.zeros(2, 4, 32, 32))
        scores.sum().backward()
    assert scores.shape == (2, 16 * 8 * 8)
    assert critic.layers[0].weight.grad.shape == (8, 4, 5, 5)


def test_errors_name_the_argument():
    with pytest.raises(ValueError, match=r"in_channels: .* got 0"):
        PatchCritic(0)
    with pytest.raises(ValueError, match=r"channels: .* got \(\)"):
        PatchCritic(channels=())
    with pytest.raises(ValueError, match=r"channels: .* got \(4, 0\)"):
        PatchCritic(channels=(4, 0))
    with pytest.raises(ValueError, match=r"padding: expected one of 'mirror', .* got 'circular'"):
        PatchCritic(padding="circular")
    for shape in ((1, 3, 16, 16), (4, 16, 16)):
        with pytest.raises(ValueError, match=r"x: expected \(B, 4, H, W\), got \("):
            PatchCritic(4, (2,))(torch.zeros(shape))
