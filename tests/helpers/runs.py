"""Small training runs, in this process and in others."""

import contextlib
import multiprocessing
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import torch
from lightning_fabric import Fabric

from contextual_attention.models.training.presets import PRESETS
from contextual_attention.models.training.run_log import read_losses
from contextual_attention.models.training.settings import change
from contextual_attention.models.training.trainer import Trainer

SETTINGS = {
    "data.size": "24", "data.pictures": "10", "masks.box": "12", "masks.shrink": "6", "generator.cnum": "2",
    "critics.local": "4,4,4,4", "critics.whole": "4,4,4,4", "optimiser.batch": "4", "save_every": "2",
    "optimiser.critic_updates": "5", "optimiser.learning_rate": "5e-4", "optimiser.beta1": "0.5",
    "optimiser.beta2": "0.9", "show_every": "3", "steps": "4",
}  # fmt: skip

_BRIEF = {"data.pictures": "10", "optimiser.batch": "4", "save_every": "2", "show_every": "3", "steps": "4"}
# Of each recipe a preset, and what makes it tiny. Iizuka's three phases are a step, another, and the rest; of
# the structure network two steps, and the rest.
FAMILIES = {
    "wasserstein": ("small", SETTINGS),
    "sn-patchgan": (
        "deepfill-v2-small",
        _BRIEF | {"data.size": "24", "masks.box": "12", "masks.shrink": "4", "generator.cnum": "2",
                  "critics.channels": "4,4", "loss.adversarial": "1"},
    ),
    "iizuka": (
        "iizuka-small",
        _BRIEF | {"data.size": "24", "masks.box": "12", "masks.shrink": "4", "generator.cnum": "2",
                  "critics.local": "4,4", "critics.whole": "4,4,4", "critics.features": "4",
                  "optimiser.completion_steps": "1", "optimiser.critic_steps": "1",
                  "optimiser.learning_rate": "1", "loss.l2": "0.25"},
    ),
    "context-encoder": (
        "context-encoder-small",
        _BRIEF | {"generator.cnum": "2", "generator.bottleneck": "8", "critics.channels": "2,2,2,2"},
    ),
    "structure": (
        "structure",
        _BRIEF | {"data.size": "24", "data.scenes": "0", "data.workers": "0", "data.echo": "1",
                  "masks.box": "12", "masks.shrink": "4", "generator.cnum": "2", "generator.dilations": "1,2",
                  "critics.channels": "4,4", "optimiser.completion_steps": "2",
                  "optimiser.learning_rate": "1e-3"},
    ),
}  # fmt: skip


def tiny(recipe="wasserstein", **changes):
    preset, settings = FAMILIES[recipe]
    changes = {name.replace("__", "."): text for name, text in changes.items()}
    return change(PRESETS[preset], settings | changes)


def make_trainer(out, resume=False, recipe="wasserstein", **changes):
    config = tiny(recipe, **changes)
    return Trainer(config, Fabric(accelerator="cpu", devices=1, precision=config.precision), out, resume)


def losses(folder):
    return [{name: v for name, v in line.items() if name != "seconds"} for line in read_losses(folder)]


def assert_equal(one, other, name="state"):
    """Two states of a run, to the last bit: weights, optimisers, random numbers, settings."""
    assert type(one) is type(other), name
    if isinstance(one, dict):
        assert one.keys() == other.keys(), name
        for key in one:
            assert_equal(one[key], other[key], f"{name}.{key}")
    elif isinstance(one, torch.Tensor):
        assert torch.equal(one, other), name
    else:
        assert one == other, name


def train_command(out, *arguments, settings=SETTINGS):
    sets = [f"--set={name}={text}" for name, text in settings.items()]
    train = ["-m", "contextual_attention", "train", "--out", str(out), "--accelerator", "cpu"]
    return [*train, *sets, *arguments]


def start(arguments):
    # The threads of this process: sums over threads are rounded in their order. A session of its own: signals
    # to the group reach its workers as well, as they do from a terminal or a scheduler.
    environment = os.environ | {"OMP_NUM_THREADS": str(torch.get_num_threads())}
    to_here = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen([sys.executable, *arguments], env=environment, start_new_session=True, **to_here)


def forkserver():
    """To start processes that have imported torch and the trainer already.

    Not "fork": torch's threads of this process would be missing in the other, which may wait for them.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["contextual_attention.models.training.trainer"])
    return context


def end(process):
    """Kill what is left of its group."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def wait_for(condition, process, seconds=600):
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.stdout.read()
        assert time.monotonic() < end
        time.sleep(0.01)


def start_of_peak():
    """The bytes that this process holds now; `peak` counts from here."""
    held = _status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")
    return held


def peak():
    """The most bytes that this process has held since `start_of_peak`."""
    return _status("VmHWM")


def _status(name):
    return int(re.search(rf"{name}:\s+(\d+) kB", Path("/proc/self/status").read_text())[1]) * 1024
