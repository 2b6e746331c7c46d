"""Lightning Fabric for a run: one process for each device, or those that torchrun has started."""

from __future__ import annotations

import os

from lightning_fabric import Fabric

from .config import Precision


def make_fabric(accelerator: str = "auto", devices: int = 1, precision: Precision = "32-true") -> Fabric:
    """A launched Fabric for `Trainer`.

    Under torchrun the numbers of processes and machines are its own, and ``devices`` is not read; without it,
    Fabric starts a process for each device itself.

    Args:
        accelerator: "cpu", "cuda", ...; "auto": what there is.
        devices: Of this machine.
        precision: Of the configuration.

    Raises:
        ValueError, RuntimeError: Fabric's, where there are no such devices.
    """
    local = int(os.environ.get("LOCAL_WORLD_SIZE", "0"))  # torchrun's, like WORLD_SIZE
    nodes = int(os.environ["WORLD_SIZE"]) // local if local else 1
    devices = local or devices
    strategy = "ddp" if devices * nodes > 1 else "auto"
    fabric = Fabric(
        accelerator=accelerator, devices=devices, num_nodes=nodes, strategy=strategy, precision=precision
    )
    fabric.launch()
    return fabric
