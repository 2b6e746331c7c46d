"""The critics of the paper: parameters counted by hand, the layers, and samples that do not mix."""

import pytest
import torch
import torch.nn.functional as F

from contextual_attention.models.network.critics import LOCAL, WHOLE, Critic


def test_parameters_of_the_papers_critics():
    shared = (3 * 64 + 64 * 128 + 128 * 256) * 25 + 64 + 128 + 256
    expected_local = shared + 256 * 512 * 25 + 512 + 512 * 8 * 8 + 1
    expected_global = shared + 256 * 256 * 25 + 256 + 256 * 16 * 16 + 1
    found = [
        sum(p.numel() for p in critic.parameters()) for critic in (Critic(LOCAL, 128), Critic(WHOLE, 256))
    ]
    assert found == [expected_local, expected_global]


def test_forward_is_the_formula():
    torch.manual_seed(0)
    critic = Critic((4, 6), 13).double()
    x = torch.randn(3, 3, 13, 13, dtype=torch.float64)
    weights = dict(critic.named_parameters())
    y = x
    for layer in ("features.0", "features.2"):
        y = F.conv2d(y, weights[f"{layer}.weight"], weights[f"{layer}.bias"], stride=2, padding=2)
        y = torch.maximum(y, 0.2 * y)
    assert y.shape == (3, 6, 4, 4)
    expected = (y.reshape(3, -1) * weights["score.weight"]).sum(1) + weights["score.bias"]
    assert torch.allclose(critic(x), expected, rtol=1e-12)


@pytest.mark.parametrize("channels", [(2, 4, 8, 16), (3,)])
@pytest.mark.parametrize("size", [1, 17, 32])
def test_any_size_and_width(channels, size):
    assert Critic(channels, size)(torch.zeros(2, 3, size, size)).shape == (2,)


def test_samples_do_not_mix():
    critic = Critic((2, 4, 8, 16), 16)
    x = torch.randn(3, 3, 16, 16, requires_grad=True)
    (gradient,) = torch.autograd.grad(critic(x)[1], x)
    assert (gradient[[0, 2]] == 0).all()
    assert (gradient[1] != 0).any()


def test_scores_are_float32_under_autocast():
    """Of features in bfloat16 the score is computed, not only returned, in float32."""
    torch.manual_seed(0)
    critic, x = Critic((4, 8), 16), torch.randn(3, 3, 16, 16)
    with torch.autocast("cpu", torch.bfloat16):
        score, features = critic(x), critic.features(x)
    assert features.dtype == torch.bfloat16
    assert score.dtype == torch.float32
    expected = (features.double().flatten(1) @ critic.score.weight.double().T).squeeze(1) + critic.score.bias
    assert torch.allclose(score.double(), expected, rtol=1e-5, atol=1e-6)


def test_errors_name_the_argument():
    with pytest.raises(ValueError, match=r"channels: .* got \(\)"):
        Critic(())
    with pytest.raises(ValueError, match=r"size: .* got 0"):
        Critic((4,), 0)
    with pytest.raises(ValueError, match=r"image: expected \(B, 3, 16, 16\), got \(1, 3, 8, 16\)"):
        Critic((4,), 16)(torch.zeros(1, 3, 8, 16))
