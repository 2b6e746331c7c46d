"""The joint critic of Iizuka et al.: parameters, the formula once more, the range of images, errors."""

import pytest
import torch
import torch.nn.functional as F
from torch._subclasses.fake_tensor import FakeTensorMode

from contextual_attention.models.network.iizuka_critics import LOCAL, JointCritic


def parameters(network):
    return sum(p.numel() for p in network.parameters())


def test_parameters_of_the_published_critics():
    with FakeTensorMode():
        assert parameters(JointCritic()) == 45_063_681  # otenim's for Places2
        assert parameters(JointCritic(bias=False)) == 45_060_225  # mmagic's
        of_160 = JointCritic(whole=LOCAL, local_size=(96, 96), whole_size=(160, 160))
        assert parameters(of_160) == 39_557_121  # otenim's for CelebA


def small(**options):
    sizes = {"local_size": (9, 14), "whole_size": (17, 8)}
    return JointCritic((4, 6), (4, 5, 6), **sizes, features=7, **options)


def images(batch=3):
    return torch.rand(batch, 3, 9, 14) * 2 - 1, torch.rand(batch, 3, 17, 8) * 2 - 1


@pytest.mark.parametrize("order", ["norm-first", "relu-first"])
@pytest.mark.parametrize("unit_range", [False, True])
@pytest.mark.parametrize("bias", [False, True])
def test_forward_is_the_formula(order, unit_range, bias):
    torch.manual_seed(0)
    critic = small(order=order, unit_range=unit_range, bias=bias)
    with torch.no_grad():
        for name, value in critic.named_parameters():
            value.copy_(torch.randn_like(value) / value[0].numel() ** 0.5 + ("norm.weight" in name))
    weights, features, pictures = dict(critic.named_parameters()), [], images()
    for tower, count, x in zip(("local", "whole"), (2, 3), pictures, strict=True):
        x = (x + 1) / 2 if unit_range else x
        for i in range(count):
            layer = f"{tower}.0.{i}."
            x = F.conv2d(x, weights[f"{layer}conv.weight"], weights.get(f"{layer}conv.bias"), 2, 2)
            x = x.clamp_min(0) if order == "relu-first" else x
            mean, spread = x.mean((0, 2, 3)), (x.var((0, 2, 3), correction=0) + 1e-5).sqrt()
            scale, shift = weights[f"{layer}norm.weight"], weights[f"{layer}norm.bias"]
            x = ((x.movedim(1, -1) - mean) / spread * scale + shift).movedim(-1, 1)
            x = x.clamp_min(0) if order == "norm-first" else x
        x = x.reshape(3, -1) @ weights[f"{tower}.2.weight"].T + weights[f"{tower}.2.bias"]
        features.append(x.clamp_min(0))
    assert ("local.0.0.conv.bias" in weights) == bias
    expected = torch.cat(features, 1) @ weights["score.weight"][0] + weights["score.bias"]
    assert torch.allclose(critic(*pictures), expected, rtol=1e-4, atol=1e-5)


def test_samples_do_not_mix_in_evaluation():
    torch.manual_seed(1)
    critic = small().eval()
    x = [each.requires_grad_() for each in images()]
    for gradient in torch.autograd.grad(critic(*x)[1], x):
        assert (gradient[[0, 2]] == 0).all()
        assert (gradient[1] != 0).any()


def test_scores_are_float32_under_autocast():
    """Of features in bfloat16 the score is computed, not only returned, in float32."""
    torch.manual_seed(2)
    critic, pictures = small().eval(), images()
    with torch.autocast("cpu", torch.bfloat16):
        score = critic(*pictures)
        features = torch.cat((critic.local(pictures[0]), critic.whole(pictures[1])), 1)
    assert features.dtype == torch.bfloat16
    assert score.dtype == torch.float32
    expected = (features.double() @ critic.score.weight.double().T).squeeze(1) + critic.score.bias
    assert torch.allclose(score.double(), expected, rtol=1e-5, atol=1e-6)


def test_without_numbers_it_can_be_traced():
    with FakeTensorMode():
        critic = small()
        critic(torch.zeros(2, 3, 9, 14), torch.zeros(2, 3, 17, 8)).sum().backward()
    assert critic.local[0][0].conv.weight.grad.shape == (4, 3, 5, 5)


def test_errors_name_the_argument():
    with pytest.raises(ValueError, match=r"local: .* got \(\)"):
        JointCritic(local=())
    with pytest.raises(ValueError, match=r"whole: .* got \(4, 0\)"):
        JointCritic((4,), (4, 0))
    with pytest.raises(ValueError, match=r"whole_size: .* got \(0, 16\)"):
        JointCritic((4,), (4,), local_size=(8, 8), whole_size=(0, 16))
    with pytest.raises(ValueError, match=r"features: .* got 0"):
        JointCritic(features=0)
    with pytest.raises(ValueError, match=r"order: expected one of 'norm-first', 'relu-first'; got 'none'"):
        JointCritic(order="none")
    local, whole = images()
    with pytest.raises(ValueError, match=r"local: expected \(B, 3, 9, 14\), got \(3, 3, 17, 8\)"):
        small()(whole, whole)
    with pytest.raises(ValueError, match=r"whole: expected \(B, 3, 17, 8\), got \(3, 3, 9, 14\)"):
        small()(local, local)
