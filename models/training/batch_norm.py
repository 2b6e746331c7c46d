"""Batch normalisation over the samples of all processes."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn


def share_statistics(network: nn.Module) -> None:
    """Let every batch normalisation of a network normalise by the samples of all processes, in place.

    A run is then the same whatever the number of its processes. torch.nn.SyncBatchNorm does this on GPUs
    alone. Parameters, buffers and their names stay.

    Args:
        network: Changed. Each process has it, and calls it with as many samples as the others.
    """
    for name, child in network.named_children():
        if type(child) is nn.BatchNorm2d:
            setattr(network, name, _Shared(child))
        else:
            share_statistics(child)


class _Shared(nn.BatchNorm2d):
    """With the parameters and buffers of another."""

    def __init__(self, other: nn.BatchNorm2d) -> None:
        super().__init__(other.num_features, other.eps, other.momentum)
        self._parameters, self._buffers = other._parameters, other._buffers

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return super().forward(x)
        exact = x.to(self.weight.dtype)  # under autocast x may be bfloat16
        mean = _MeanOfProcesses.apply(exact.mean((0, 2, 3)))
        centred = exact - mean.view(1, -1, 1, 1)
        variance = _MeanOfProcesses.apply(centred.square().mean((0, 2, 3)))
        self._follow(mean.detach(), variance.detach(), x.numel() // x.shape[1] * dist.get_world_size())
        scale = self.weight * torch.rsqrt(variance + self.eps)
        return (centred * scale.view(1, -1, 1, 1) + self.bias.view(1, -1, 1, 1)).to(x.dtype)

    @torch.no_grad()
    def _follow(self, mean: Tensor, variance: Tensor, count: int) -> None:
        """Move the running statistics; the variance as an estimate of the population's, as torch has it."""
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance * count / max(1, count - 1), self.momentum)
        self.num_batches_tracked.add_(1)


class _MeanOfProcesses(torch.autograd.Function):
    """Of a tensor that each process has; the gradient that each has of it is likewise the mean of theirs."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return _mean_of_processes(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return _mean_of_processes(gradient)


def _mean_of_processes(x: Tensor) -> Tensor:
    x = x.clone(memory_format=torch.contiguous_format)
    dist.all_reduce(x)
    return x / dist.get_world_size()
