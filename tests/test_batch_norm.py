"""Batch normalisation shared by processes, here by one: torch's own, to rounding."""

import copy

import pytest
import torch
import torch.distributed as dist
from torch import nn

from contextual_attention.models.network.iizuka import CompletionNetwork
from contextual_attention.models.training.batch_norm import share_statistics


@pytest.fixture
def process():
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@pytest.fixture
def networks():
    """One as torch has it, and its copy that shares."""
    torch.manual_seed(0)
    inner = nn.Sequential(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4), nn.ReLU())
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), inner).double()
    for norm in (network[1], inner[1]):
        nn.init.uniform_(norm.weight)
        nn.init.uniform_(norm.bias)
    sharing = copy.deepcopy(network)
    share_statistics(sharing)
    return network, sharing


def test_outputs_gradients_and_running_statistics(process, networks):
    network, sharing = networks
    for seed in range(2):
        x = torch.randn(2, 3, 6, 5, generator=torch.Generator().manual_seed(seed)).double() * 3 + 1
        inputs = [x.clone().requires_grad_() for _ in range(2)]
        outputs = [each(x) for each, x in zip((network, sharing), inputs, strict=True)]
        assert torch.allclose(*outputs, rtol=1e-9)
        for output in outputs:
            (output.square() * torch.linspace(0, 1, output.numel()).view_as(output)).sum().backward()
        assert torch.allclose(inputs[0].grad, inputs[1].grad, rtol=1e-9)
        for (name, own), other in zip(network.named_parameters(), sharing.parameters(), strict=True):
            assert torch.allclose(own.grad, other.grad, rtol=1e-9, atol=1e-12), name
    states = network.state_dict(), sharing.state_dict()
    assert list(states[0]) == list(states[1])
    for name, value in states[0].items():
        assert torch.allclose(value, states[1][name], rtol=1e-9), name
    assert states[1]["1.num_batches_tracked"] == 2


def test_evaluation_is_of_each_process_alone(networks):
    """No group of processes is there to ask."""
    network, sharing = (each.eval() for each in networks)
    x = torch.randn(2, 3, 6, 5).double()
    assert torch.equal(network(x), sharing(x))


def test_every_norm_of_a_network_shares():
    network = CompletionNetwork(cnum=2)
    before = dict(network.named_parameters())
    share_statistics(network)
    norms = [each for each in network.modules() if isinstance(each, nn.BatchNorm2d)]
    assert len(norms) == 16
    assert not any(type(each) is nn.BatchNorm2d for each in norms)
    for name, parameter in network.named_parameters():
        assert parameter is before[name]
