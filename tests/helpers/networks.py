"""Images and holes for networks; a small structure network."""

import torch

from contextual_attention.models.network.structure import StructureNetwork

# Of the error that it expects, by pixels of 2 x 2.
_ERRORS = slice(-4, None)


@torch.no_grad()
def tiny_structure(**options):
    """Sure of itself, and of its colours no two are alike."""
    torch.manual_seed(0)
    network = StructureNetwork(**{"cnum": 2, "dilations": (1, 2)} | options).eval()
    for each in network.parameters():
        each.add_(torch.randn_like(each), alpha=0.1)
    network.last.bias[_ERRORS] = -3.0
    return network


def problem(batch=2, height=24, width=32, dtype=torch.float32):
    """Images and holes, each sample with its own, several in the first."""
    generator = torch.Generator().manual_seed(height * width)
    image = torch.rand(batch, 3, height, width, generator=generator, dtype=dtype) * 2 - 1
    mask = torch.zeros(batch, 1, height, width)
    mask[0, :, 2:7, 3:9] = 1
    mask[0, :, -6:, -5:] = 1
    for sample in range(1, batch):
        mask[sample, :, sample : height // 2, width // 3 :] = 1
    return image, mask
