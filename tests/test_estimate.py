"""The estimate of a run against a run."""

import resource

import pytest
import torch
from helpers.runs import forkserver
from lightning_fabric import Fabric

from contextual_attention.models.network.generator import InpaintGenerator
from contextual_attention.models.training.estimate import describe, estimate
from contextual_attention.models.training.presets import PRESETS
from contextual_attention.models.training.recipes.wasserstein import Critics
from contextual_attention.models.training.settings import change
from contextual_attention.models.training.trainer import Trainer


def test_parameters_of_the_paper():
    found = estimate(PRESETS["paper"])
    assert found.generator == 3_601_542
    # 64-128-256-512 and 64-128-256-256 channels, 5 x 5; linear units over 8 x 8 and 16 x 16 pixels.
    convolutions = [3 * 64, 64 * 128, 128 * 256]
    assert found.critics == {
        "local": 25 * sum([*convolutions, 256 * 512]) + 64 + 128 + 256 + 512 + 64 * 512 + 1,
        "whole": 25 * sum([*convolutions, 256 * 256]) + 64 + 128 + 256 + 256 + 256 * 256 + 1,
    }


@pytest.mark.parametrize(
    ("preset", "generator", "critics"),
    [
        ("deepfill-v2", 4_052_478, {"patch": 5_946_816}),
        ("iizuka", 6_072_131, {"joint": 45_063_681}),
        ("context-encoder", 71_124_544, {"patch": 2_765_568}),
        ("context-encoder-random", 71_190_208, {"patch": 2_831_232}),
    ],
)
def test_parameters_of_other_publications(preset, generator, critics):
    """As counted in the published code; of the last, whose convolutions have biases there, by hand."""
    found = estimate(PRESETS[preset])
    assert (found.generator, found.critics) == (generator, critics)
    assert found.state == 4 * (5 * generator + 4 * sum(critics.values()))


def test_state_is_what_a_step_holds():
    config = change(PRESETS["small"], {"generator.cnum": "2"})
    networks = InpaintGenerator(config.generator), Critics(config)
    held = 0
    for network in networks:
        optimiser = torch.optim.Adam(network.parameters())
        for parameter in network.parameters():
            parameter.grad = torch.zeros_like(parameter)
        optimiser.step()
        held += sum(2 * parameter.nbytes for parameter in network.parameters())
        moments = ("exp_avg", "exp_avg_sq")
        held += sum(state[name].nbytes for state in optimiser.state.values() for name in moments)
    held += sum(parameter.nbytes for parameter in networks[0].parameters())
    assert estimate(config).state == held


def test_activations_grow_with_the_area():
    small, large = (
        estimate(change(PRESETS["small"], {"data.size": str(size)})).activations for size in (64, 128)
    )
    assert 3.5 < large / small < 4.5
    # At least the outputs of the generator's convolutions: about 2 networks x 60 maps of the image's area.
    assert small > 4 * 64 * 64 * 60


def peak():
    """The most memory that this process has ever had, in bytes."""
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def take_a_step(config, out, threads, result):
    torch.set_num_threads(threads)
    fabric = Fabric(accelerator="cpu", devices=1)
    # Libraries that are loaded when they are first used take memory of their own.
    Trainer(change(config, {"data.size": "32", "masks.box": "16"}), fabric, out / "small").iterate()
    before = peak()
    Trainer(config, fabric, out / "large").iterate()
    result.put(peak() - before)


def test_the_estimate_is_the_memory_of_a_step(tmp_path):
    """What a step adds to a process, measured from outside, is up to half more than the estimate.

    More, as the estimate says, by what convolutions need while they run, and by what the allocator keeps.
    """
    changes = {"data.size": "128", "masks.box": "64", "optimiser.critic_updates": "1", "optimiser.batch": "8"}
    config = change(PRESETS["small"], changes | {"data.pictures": "8"})
    context = forkserver()
    result = context.Queue()
    process = context.Process(target=take_a_step, args=(config, tmp_path, torch.get_num_threads(), result))
    process.start()
    process.join(300)
    assert process.exitcode == 0
    found = estimate(config)
    expected = found.state + config.optimiser.batch * found.activations
    assert 0.9 * expected < result.get() < 1.5 * expected


def test_everything_is_said():
    lines = []
    describe(PRESETS["paper"], lines.append)
    assert "loss.gamma = 0.99" in lines
    assert "steps = 1000000" in lines
    assert "updates of each step from 1 to the last: 5 x critics, then 1 x generator" in lines
    assert "parameters: generator 3,601,542, critics local 4,339,329, whole 2,733,441" in lines
    assert lines[-1].startswith("memory, float32: 176.6 MiB of weights")


@pytest.mark.parametrize("attention", ["None", "yu2018"])
def test_other_networks_can_be_estimated(attention):
    config = change(PRESETS["small"], {"generator.attention": attention, "loss.clip": "0.01"})
    assert estimate(config).activations > 0
