"""The structure network: its equations written out once more, what its results promise, how it is kept."""

import json
import math
from typing import get_type_hints

import numpy as np
import pytest
import torch
from helpers.networks import problem
from torch.nn import functional as F

from contextual_attention import contextual_attention
from contextual_attention.models.network.drafts import draw_drafts
from contextual_attention.models.network.pretrained import load_model
from contextual_attention.models.network.structure import (
    StructureConfig,
    StructureKeywords,
    StructureNetwork,
)
from contextual_attention.models.patches.pyramid import smooth_fill


def make(**options):
    """A small network whose layers all matter: none is as it begins."""
    torch.manual_seed(0)
    network = StructureNetwork(**{"cnum": 4, "dilations": (1, 2, 3)} | options)
    with torch.no_grad():
        for each in network.parameters():
            each.add_(torch.randn_like(each), alpha=0.1)
    return network.eval()


def missing_of(image, mask):
    return (mask != 0).expand_as(image)


def start(image, mask):
    """Of both drafts the same, and a little of the smooth filling."""
    drafts, smooth = draw_drafts(image, mask != 0), smooth_fill(image, mask != 0)
    little = math.exp(-2)
    return (drafts[:, :3] + drafts[:, 3:] + little * smooth) / (2 + little)


def written_out(network, image, mask):
    """Colours and error by the equations of the docstrings, from the weights' names."""
    w = network.state_dict()

    def gated(x, name, stride=1, dilation=1):
        features = F.conv2d(
            F.pad(x, (dilation,) * 4),
            w[f"{name}.features.weight"],
            w[f"{name}.features.bias"],
            stride,
            dilation=dilation,
        )
        gate = F.conv2d(x[..., ::stride, ::stride], w[f"{name}.gate.weight"], w[f"{name}.gate.bias"])
        return features / (1 + (-features).exp()) * 2 / (1 + (-gate).exp())

    def mixed(x, name):
        return F.conv2d(x, w[f"{name}.mix.weight"], w[f"{name}.mix.bias"])

    def doubled(x):
        return x.repeat_interleave(2, 2).repeat_interleave(2, 3)

    def dilated(x, part, reaches):
        for number, reach in enumerate(reaches):
            x = x + mixed(gated(x, f"{part}.{number}.gated", dilation=reach), f"{part}.{number}")
        return x

    height, width = image.shape[2:]
    drafts, smooth = draw_drafts(image, mask != 0), smooth_fill(image, mask != 0)
    to_grid = [(0, 0), (0, 0), (0, -height % 8), (0, -width % 8)]
    seen = torch.from_numpy(np.pad(torch.cat((drafts, smooth, mask), 1).numpy(), to_grid, mode="reflect"))
    rows, columns = seen.shape[2] // 2, seen.shape[3] // 2
    by_two = seen.view(-1, 10, rows, 2, columns, 2).permute(0, 1, 3, 5, 2, 4).reshape(-1, 40, rows, columns)
    halved = gated(by_two, "enter")
    quartered = gated(gated(halved, "quarter.0", 2), "quarter.1")
    reaches = network.config.dilations
    x = dilated(gated(quartered, "down", 2), "before", reaches[: len(reaches) // 2])
    compared = F.conv2d(x, w["attention.compared.weight"], w["attention.compared.bias"])
    eighths = seen[:, 9:].reshape(-1, 1, rows // 4, 8, columns // 4, 8).amax((3, 5))
    options = {"rate": 1, "fuse": False, "backend": "reference"}
    x = x + mixed(contextual_attention(compared, compared, eighths, value=x, **options), "attention")
    x = dilated(x, "after", reaches[len(reaches) // 2 :])
    x = gated(torch.cat((doubled(x), quartered), 1), "up")
    x = gated(torch.cat((doubled(x), halved), 1), "leave")
    x = F.conv2d(F.pad(x, (1,) * 4), w["last.weight"], w["last.bias"])
    x = x.view(-1, 7, 2, 2, rows, columns).permute(0, 1, 4, 2, 5, 3).flatten(4).flatten(2, 3)
    x = x[..., :height, :width]
    share = (4 * x[:, :3]).exp()
    share = share / share.sum(1, keepdim=True)
    fillings = (drafts[:, :3], drafts[:, 3:], smooth)
    chosen = sum(share[:, number, None] * filling for number, filling in enumerate(fillings))
    return chosen + x[:, 3:6], x[:, 6:].exp().clip(1 / 255, 2)


class TestTheNetwork:
    @pytest.mark.parametrize("size", [(24, 32), (8, 8), (9, 15), (23, 41)])
    def test_is_what_its_equations_say(self, size):
        """Other sizes are reflected up to multiples of 8."""
        network, (image, mask) = make(), problem(2, *size)
        with torch.no_grad():
            found = network(image, mask)
        refined, error = written_out(network, image, mask)
        # Convolutions add up in another order; a dozen layers of numbers around 1.
        assert torch.allclose(found.refined, refined, atol=1e-4)
        assert torch.allclose(found.error, error, rtol=1e-4)
        assert (refined - start(image, mask)).abs().max() > 0.1
        assert error.std() > 0.01

    def test_begins_with_the_drafts(self):
        network, (image, mask) = StructureNetwork(cnum=4), problem()
        found = network(image, mask)
        assert torch.allclose(found.refined, start(image, mask), atol=1e-6)
        assert (found.error == 1).all()

    def test_parameters(self):
        with torch.device("meta"):
            network = StructureNetwork()
        assert sum(each.numel() for each in network.parameters()) == 1_788_252

    def test_every_dilation_has_its_block(self):
        network = make(dilations=(1, 4, 16, 2, 3))
        reaches = [part.gated.features.dilation for part in (*network.before, *network.after)]
        assert reaches == [(reach, reach) for reach in network.config.dilations]


class TestResults:
    @pytest.mark.parametrize("size", [(8, 8), (13, 21), (24, 32)])
    def test_completed(self, size):
        network, (image, mask) = make(), problem(2, *size)
        with torch.no_grad():
            network.last.bias[12:16] += 3  # red leaves [-1, 1]
        found = network(image, mask)
        assert found.refined.shape == found.completed.shape == image.shape
        assert found.error.shape == mask.shape
        missing = missing_of(image, mask)
        assert torch.equal(found.completed[~missing], image[~missing])
        assert torch.equal(found.completed[missing], found.refined[missing].clamp(-1, 1))
        assert found.refined.max() > 1
        assert (found.coarse, found.offsets) == (None, None)

    @pytest.mark.parametrize(("bias", "bound"), [(50.0, 2), (-50.0, 1 / 255)])
    def test_the_error_is_bounded(self, bias, bound):
        network, (image, mask) = make(), problem()
        with torch.no_grad():
            network.last.bias[-4:] = bias
        assert torch.allclose(network(image, mask).error, torch.tensor(bound, dtype=torch.float32))

    @pytest.mark.parametrize("garbage", [math.nan, math.inf, 1e30])
    def test_what_is_in_the_hole_is_not_read(self, garbage):
        network, (image, mask) = make(), problem()
        found = network(image.masked_fill(mask != 0, garbage), mask)
        expected = network(image, mask)
        assert torch.equal(found.refined, expected.refined)
        assert torch.equal(found.error, expected.error)

    def test_samples_do_not_know_each_other(self):
        network, (image, mask) = make(), problem(3)
        together = network(image, mask)
        for each in range(3):
            alone = network(image[each : each + 1], mask[each : each + 1])
            # Batches of other sizes are added up in another order.
            assert torch.allclose(together.refined[each : each + 1], alone.refined, atol=1e-5)
            assert torch.allclose(together.error[each : each + 1], alone.error, atol=1e-5)

    def test_one_mask_for_all(self):
        network, (image, mask) = make(), problem()
        each = torch.stack([mask[0], mask[0]])
        assert torch.equal(network(image, mask[:1]).refined, network(image, each).refined)
        assert torch.equal(network(image, mask[:1] != 0).refined, network(image, each * -0.5).refined)

    def test_a_sample_of_which_nothing_is_known(self):
        """And one of which nothing is missing: neither disturbs the other, nor itself."""
        network, (image, mask) = make(), problem()
        mask[0], mask[1] = 1, 0
        found = network(image.masked_fill(mask != 0, math.nan), mask)
        assert found.refined.isfinite().all()
        assert found.error.isfinite().all()
        assert torch.equal(found.completed[1], image[1])

    def test_everything_at_an_eighth_sees_something_missing(self):
        """Attention has nothing to borrow from, and borrows nothing."""
        network, (image, _) = make(), problem()
        mask = torch.zeros(2, 1, 24, 32)
        mask[..., ::8, ::8] = 1
        found = network(image, mask)
        assert found.refined.isfinite().all()
        assert torch.allclose(found.refined, written_out(network, image, mask)[0], atol=1e-4)

    def test_gradients(self):
        network, (image, mask) = make().double(), problem(dtype=torch.float64)
        image.requires_grad_()
        result = network(image, mask)
        (result.refined.square().sum() + result.error.sum()).backward()
        assert all(each.grad.abs().sum() > 0 for each in network.parameters())
        missing = missing_of(image, mask)
        assert (image.grad[missing] == 0).all()
        assert (image.grad[~missing] != 0).any()

    def test_everything_is_learnt_from_the_beginning(self):
        """What begins at 0 learns in the first step, and the rest from the second on."""
        torch.manual_seed(0)
        network, (image, mask) = StructureNetwork(cnum=4, dilations=(1, 2)), problem()
        optimiser = torch.optim.SGD(network.parameters(), 0.1)
        before = {name: each.clone() for name, each in network.state_dict().items()}
        for _ in range(3):
            optimiser.zero_grad()
            result = network(image, mask)
            (result.refined.square().sum() + result.error.sum()).backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimiser.step()
        assert [name for name, each in network.state_dict().items() if torch.equal(each, before[name])] == []

    @pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
    def test_other_precisions(self, dtype):
        network, (image, mask) = make(), problem()
        expected = network(image, mask).refined
        found = network.to(dtype)(image.to(dtype), mask).refined
        assert found.dtype == dtype
        # bfloat16 has 8 bits; rounding of 2**-9 a layer adds up over the dozen of them.
        assert (found.float() - expected).abs().mean() < (1e-5 if dtype == torch.float64 else 0.05)

    def test_autocast(self):
        network, (image, mask) = make(), problem()
        with torch.autocast("cpu", torch.bfloat16):
            found = network(image, mask)
        assert found.refined.dtype == found.error.dtype == torch.float32
        missing = missing_of(image, mask)
        assert torch.equal(found.completed[~missing], image[~missing])
        assert 0 < (found.refined - network(image, mask).refined).abs().mean() < 0.05

    def test_drafts_may_be_brought(self):
        network, (image, mask) = make(), problem()
        drafts = draw_drafts(image, mask != 0)
        expected = network(image, mask).refined
        assert torch.equal(network(image, mask, drafts).refined, expected)
        assert not torch.equal(network(image, mask, 0.5 * drafts).refined, expected)

    def test_compile_makes_one_graph_of_what_follows_the_drafts(self):
        network, (image, mask) = make(), problem()
        drafts = draw_drafts(image, mask != 0)
        found = torch.compile(network, fullgraph=True, backend="aot_eager")(image, mask, drafts)
        assert torch.allclose(found.refined, network(image, mask).refined, atol=1e-5)


class TestKeeping:
    def test_a_folder_has_everything(self, tmp_path):
        network, (image, mask) = make(cnum=6, dilations=[2, 1]), problem()
        network.save_pretrained(tmp_path)
        config = json.loads((tmp_path / "config.json").read_text())
        assert config == {"cnum": 6, "dilations": [2, 1], "system": "structure"}
        again = load_model(tmp_path)
        assert type(again) is StructureNetwork
        assert again.config == network.config == StructureConfig(6, (2, 1))
        assert not again.training
        assert torch.equal(again(image, mask).refined, network(image, mask).refined)

    def test_float16_is_loaded_as_float32(self, tmp_path):
        network = make()
        network.half().save_pretrained(tmp_path)
        again = load_model(tmp_path).state_dict()
        assert {each.dtype for each in again.values()} == {torch.float32}
        assert all(torch.equal(again[name], each.float()) for name, each in network.state_dict().items())


class TestErrors:
    @pytest.mark.parametrize(
        ("options", "error", "message"),
        [
            ({"cnum": 0}, ValueError, "cnum: expected an integer from 1 to 512, got 0"),
            ({"cnum": 513}, ValueError, "cnum: expected an integer from 1 to 512, got 513"),
            ({"cnum": 4.0}, TypeError, r"cnum: expected an integer .* got 4\.0"),
            ({"dilations": ()}, TypeError, r"dilations: expected some integers, got \(\)"),
            ({"dilations": 4}, TypeError, "dilations: expected some integers, got 4"),
            ({"dilations": "12"}, TypeError, "dilations: expected some integers, got '12'"),
            ({"dilations": (1, 65)}, ValueError, "dilations: expected an integer from 1 to 64, got 65"),
            ({"dilations": (0,)}, ValueError, "dilations: expected an integer from 1 to 64, got 0"),
            ({"dilations": (1, 1.5)}, TypeError, r"dilations: expected an integer .* got 1\.5"),
            ({"width": 3}, TypeError, "width"),
        ],
    )
    def test_options(self, options, error, message):
        with pytest.raises(error, match=message):
            StructureNetwork(**options)

    def test_arguments(self):
        network = make()
        with pytest.raises(ValueError, match=r"image: .* at least 8 x 8 pixels, got \(1, 3, 7, 9\)"):
            network(torch.zeros(1, 3, 7, 9), torch.zeros(1, 1, 7, 9))
        with pytest.raises(TypeError, match="image: expected a floating tensor"):
            network(torch.zeros(1, 3, 8, 8, dtype=torch.uint8), torch.zeros(1, 1, 8, 8))
        with pytest.raises(ValueError, match=r"mask: expected shape \(1, 1, 8, 8\)"):
            network(torch.zeros(1, 3, 8, 8), torch.zeros(1, 1, 8, 9))
        for drafts, given in (
            (torch.zeros(1, 3, 8, 8), r"\(1, 3, 8, 8\)"),
            (torch.zeros(1, 6, 8, 8, dtype=torch.uint8), r"\(1, 6, 8, 8\)"),
            ("quick", "str"),
        ):
            with pytest.raises(ValueError, match=rf"drafts: .* shape \(1, 6, 8, 8\), got {given}"):
                network(torch.zeros(1, 3, 8, 8), torch.zeros(1, 1, 8, 8), drafts)

    def test_keywords_are_those_of_the_configuration(self):
        assert get_type_hints(StructureKeywords) == get_type_hints(StructureConfig)
