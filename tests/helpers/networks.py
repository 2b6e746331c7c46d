"""A small structure network that is sure of itself, and of whose colours no two are alike."""

import torch

from contextual_attention.models.network.structure import StructureNetwork

# Of the error that it expects, by pixels of 2 x 2.
_ERRORS = slice(-4, None)


@torch.no_grad()
def tiny_structure(**options):
    torch.manual_seed(0)
    network = StructureNetwork(**{"cnum": 2, "dilations": (1, 2)} | options).eval()
    for each in network.parameters():
        each.add_(torch.randn_like(each), alpha=0.1)
    network.last.bias[_ERRORS] = -3.0
    return network
