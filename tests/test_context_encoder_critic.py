"""The critic of Pathak et al.: parameters, the formula once more, how weights start, errors."""

import pytest
import torch
import torch.nn.functional as F
from torch._subclasses.fake_tensor import FakeTensorMode

from contextual_attention.models.network.context_encoder_critic import (
    ANYWHERE,
    CENTRE,
    ContextEncoderCritic,
)


@pytest.mark.parametrize(
    ("channels", "with_biases", "side"), [(CENTRE, 2_766_529, 64), (ANYWHERE, 2_832_257, 128)]
)
def test_parameters_of_the_published_critics(channels, with_biases, side):
    """Whose convolutions have biases, one a channel, that are always 0."""
    critic = ContextEncoderCritic(channels)
    assert critic.size == side
    assert sum(p.numel() for p in critic.parameters()) == with_biases - sum(channels) - 1


def test_forward_is_the_formula():
    torch.manual_seed(0)
    critic = ContextEncoderCritic((4, 5, 6)).double()
    x = patches = torch.randn(3, 3, 32, 32, dtype=torch.float64)
    weights = dict(critic.named_parameters())
    for i in range(3):
        x = F.conv2d(x, weights[f"features.{i}.conv.weight"], stride=2, padding=1)
        if i > 0:
            mean, spread = x.mean((0, 2, 3)), (x.var((0, 2, 3), correction=0) + 1e-5).sqrt()
            scale, shift = weights[f"features.{i}.norm.weight"], weights[f"features.{i}.norm.bias"]
            x = ((x.movedim(1, -1) - mean) / spread * scale + shift).movedim(-1, 1)
        x = torch.maximum(x, 0.2 * x)
    assert x.shape == (3, 6, 4, 4)
    expected = (x * weights["score.weight"]).sum((1, 2, 3))
    assert torch.allclose(critic(patches), expected, rtol=1e-9)


def test_weights_start_as_the_published():
    torch.manual_seed(1)
    critic = ContextEncoderCritic()
    for name, value in critic.named_parameters():
        if name.endswith("norm.bias"):
            assert (value == 0).all()
            continue
        mean = 1.0 if name.endswith("norm.weight") else 0.0
        # Of n numbers the mean is known to 0.02 / sqrt(n), their spread even better: five times that.
        bound = 5 * 0.02 / value.numel() ** 0.5
        assert abs(value.mean().item() - mean) < bound, name
        assert abs(value.std().item() - 0.02) < bound, name


def test_scores_are_float32_under_autocast():
    """Of features in bfloat16 the score is computed, not only returned, in float32."""
    torch.manual_seed(2)
    critic, x = ContextEncoderCritic((4, 8)).eval(), torch.randn(3, 3, 16, 16)
    with torch.autocast("cpu", torch.bfloat16):
        score, features = critic(x), critic.features(x)
    assert features.dtype == torch.bfloat16
    assert score.dtype == torch.float32
    expected = (features.double() * critic.score.weight.double()).sum((1, 2, 3))
    assert torch.allclose(score.double(), expected, rtol=1e-5, atol=1e-7)


def test_without_numbers_it_can_be_traced():
    with FakeTensorMode():
        critic = ContextEncoderCritic((4, 8))
        critic(torch.zeros(2, 3, 16, 16)).sum().backward()
    assert critic.features[0].conv.weight.grad.shape == (4, 3, 4, 4)


def test_errors_name_the_argument():
    with pytest.raises(ValueError, match=r"channels: .* got \(\)"):
        ContextEncoderCritic(())
    with pytest.raises(ValueError, match=r"channels: .* got \(4, 0\)"):
        ContextEncoderCritic((4, 0))
    for shape in ((1, 3, 16, 32), (1, 1, 16, 16), (3, 16, 16)):
        with pytest.raises(ValueError, match=r"patch: expected \(B, 3, 16, 16\), got \("):
            ContextEncoderCritic((4, 8))(torch.zeros(shape))
