"""Every critic against scores of the published ones, run as published, on their weights and images.

tests/data, of networks with random weights, most of them narrow; numbers only. yu2018_v2 from
JiahuiYu/generative_inpainting v2.0.0 (TensorFlow), nipponjo_v2 from nipponjo/deepfillv2-pytorch (networks.py
and networks_tf.py), mmagic_v2 and glcic_mmagic from open-mmlab/mmagic, glcic_otenim from
otenim/GLCIC-PyTorch, context_encoder from BoyuanJiang/context_encoder_pytorch. Where a file has names and
shapes in place of weights, the weights are drawn anew from these.
"""

import ast
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch

from contextual_attention.models.network.context_encoder_critic import ContextEncoderCritic
from contextual_attention.models.network.iizuka_critics import JointCritic
from contextual_attention.models.network.patch_critic import PatchCritic
from contextual_attention.models.training.adversarial import hinge_critic_loss

DATA = Path(__file__).parent / "data"
# Relative, by the norm; the published computed these in float32 themselves.
PATCH, OTHERS = 2e-5, 5e-6


def golden(file):
    with np.load(DATA / f"{file}_net.npz") as arrays:
        return dict(arrays)


def away(found, expected):
    expected = torch.from_numpy(np.asarray(expected)).double()
    assert found.shape == expected.shape
    return ((found.detach().double() - expected).norm() / expected.norm()).item()


def tensors(arrays, *names):
    return [torch.from_numpy(np.asarray(arrays[name], np.float32)) for name in names]


def drawn(arrays, prefix, draw):
    """Weights by name, drawn from a generator that the name seeds."""
    shapes = (ast.literal_eval(str(shape)) for shape in arrays[f"{prefix}shapes"])
    names = (str(name) for name in arrays[f"{prefix}names"])
    return {
        name: np.asarray(draw(name, shape), np.float32) for name, shape in zip(names, shapes, strict=True)
    }


def seeded(name, salt):
    return np.random.RandomState((zlib.crc32(name.encode()) + salt) % 2**32)


class TestPatchCritic:
    def of_yu2018(self):
        """The published critic, its input with the channels that it takes, and what it gave."""
        arrays = golden("yu2018_v2")

        def draw(name, shape):
            r = seeded(name, int(arrays["salt"]))
            scale = 0.05 if len(shape) == 1 else np.sqrt(float(arrays["d_gain"]) / np.prod(shape[:-1]))
            return r.randn(*shape) * scale

        drawn_weights, state = drawn(arrays, "d_", draw), {}
        for i in range(6):
            scope = f"discriminator/sn_patch_gan/conv{i + 1}"
            kernel = torch.from_numpy(drawn_weights[f"{scope}/kernel"])
            state[f"layers.{i}.weight"] = kernel.permute(3, 2, 0, 1)
            state[f"layers.{i}.bias"] = torch.from_numpy(drawn_weights[f"{scope}/bias"])
            state[f"layers.{i}.u"] = torch.from_numpy(drawn_weights[f"{scope}/kernel_sn/u"][0])
        critic = PatchCritic()
        critic.load_state_dict(state)
        real, fake, mask = tensors(arrays, "d_pos", "d_neg", "d_mask")
        x = torch.cat((torch.cat((real, fake)), torch.cat((mask, mask))), 1)
        return critic, x, arrays

    @pytest.mark.parametrize("is_training", [True, False])
    def test_yu2018(self, is_training):
        critic, x, arrays = self.of_yu2018()
        scores = critic.train(is_training)(x)
        # The published flattens rows, columns, channels.
        published_order = scores.reshape(4, 256, 2, 2).movedim(1, -1).flatten(1)
        assert away(published_order, arrays["d_out"]) < PATCH
        for i, layer in enumerate(critic.layers):
            assert away(layer.u, arrays[f"d_u_after/conv{i + 1}"][0]) < PATCH

    def test_rgb_by_exchanged_weights(self):
        """As the docstring says of published weights."""
        critic, x, _ = self.of_yu2018()
        expected = critic(x)
        critic, _, _ = self.of_yu2018()
        with torch.no_grad():
            critic.layers[0].weight[:, :3] = critic.layers[0].weight[:, :3].flip(1)
        rgb = torch.cat((x[:, :3].flip(1), x[:, 3:]), 1)
        assert away(critic(rgb), expected.detach()) < PATCH

    def of_nipponjo(self, name):
        arrays, state = golden("nipponjo_v2"), {}
        for i in range(6):
            layer = f"{name}.sd.conv{i + 1}.conv_sn."
            for of in ("weight", "bias"):
                state[f"layers.{i}.{of}"] = torch.from_numpy(arrays[f"{layer}{of}"])
            state[f"layers.{i}.u"] = torch.from_numpy(arrays[f"{layer}weight_u"][:, 0])
        critic = PatchCritic(4, (4, 8, 16, 16, 16, 16), {"d_nip": "zero", "d_nip_tf": "same"}[name])
        critic.load_state_dict(state)
        real, fake, mask = tensors(arrays, "d.pos", "d.neg", "d.mask")
        return critic, torch.cat((torch.cat((real, fake)), torch.cat((mask, mask))), 1), arrays

    @pytest.mark.parametrize("name", ["d_nip", "d_nip_tf"])
    def test_nipponjo(self, name):
        critic, x, arrays = self.of_nipponjo(name)
        normalised = {}
        convolve = torch.nn.Conv2d._conv_forward

        def seen(layer, input, weight, bias):
            normalised[layer] = weight
            return convolve(layer, input, weight, bias)

        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(torch.nn.Conv2d, "_conv_forward", seen)
            scores = critic(x)
        assert away(scores, arrays[f"{name}.out"]) < PATCH
        first = normalised[critic.layers[0]]
        assert away(first, arrays[f"{name}.after.conv1.conv_sn.weight"]) < PATCH
        for i, layer in enumerate(critic.layers):
            assert away(layer.u, arrays[f"{name}.after.conv{i + 1}.conv_sn.weight_u"][:, 0]) < PATCH
        # The published takes this gradient by the weight that it has divided.
        (gradient,) = torch.autograd.grad(hinge_critic_loss(*scores.chunk(2)) / 2, first)
        assert away(gradient, arrays[f"{name}.grad_conv1"]) < PATCH

    @pytest.mark.parametrize("name", ["d_nip", "d_nip_tf"])
    def test_second_call_of_nipponjo(self, name):
        """The published keeps the weight divided: sigma goes with the weight, so that ours is the same."""
        critic, x, arrays = self.of_nipponjo(name)
        critic(x)
        second = critic(x)
        assert away(second, arrays[f"{name}.out_second"]) < PATCH
        assert away(second, arrays[f"{name}.out"]) > 0.03

    def test_mmagic(self):
        arrays, state = golden("mmagic_v2"), {}
        for i in range(6):
            layer = f"sd.disc.conv{i + 1}.conv."
            for of, published in {
                "weight": "weight_orig",
                "bias": "bias",
                "u": "weight_u",
                "v": "weight_v",
            }.items():
                state[f"layers.{i}.{of}"] = torch.from_numpy(arrays[layer + published])
        critic = PatchCritic(4, (8,) * 6, "zero", iterates_in_eval=False).eval()
        critic.load_state_dict(state)
        (x,) = tensors(arrays, "d.x")
        for _ in range(2):  # evaluation leaves no trace
            assert away(critic(x), arrays["d.out_eval"].reshape(2, -1)) < PATCH
        assert away(critic.train()(x), arrays["d.out_train"].reshape(2, -1)) < PATCH
        assert away(critic.layers[0].u, arrays["d.after.conv1.conv.weight_u"]) < PATCH


def draw_batch_norms(salt):
    """Of weights named as PyTorch names them."""

    def draw(name, shape):
        r, kind = seeded(name, salt), name.rsplit(".", 1)[-1]
        if kind == "num_batches_tracked":
            return 0
        if kind == "running_var":
            return np.exp(0.3 * r.randn(*shape))
        if kind == "running_mean":
            return 0.1 * r.randn(*shape)
        if "bn" in name:
            return (kind == "weight") + 0.1 * r.randn(*shape)
        return r.randn(*shape) * (0.05 if len(shape) == 1 else np.sqrt(2 / np.prod(shape[1:])))

    return draw


def renamed(weights, towers, places):
    """Weights of both towers as `JointCritic` names them.

    Args:
        weights: As published, without what names the critic.
        towers: From ours to the published.
        places: In a tower, from ours to the published.
    """
    return {
        f"{ours}.{place}.{name.rsplit('.', 1)[-1]}": torch.from_numpy(value)
        for ours, theirs in towers.items()
        for place, layer in places[ours].items()
        for name, value in weights.items()
        if name.rsplit(".", 1)[0] == f"{theirs}.{layer}"
    }


class TestJointCritic:
    @pytest.mark.parametrize(
        ("case", "convolutions", "linear", "size"),
        [("d_celeba", 5, "linear6", (64, 96)), ("d_places2", 6, "linear7", (64, 128))],
    )
    def test_otenim(self, case, convolutions, linear, size):
        arrays = golden("glcic_otenim")
        weights = drawn(arrays, f"{case}.", draw_batch_norms(int(arrays["salt"]) + 1))
        critic = JointCritic(
            whole=(64, 128, 256, 512, 512, 512)[:convolutions],
            local_size=(32, 64),
            whole_size=size,
            order="relu-first",
            unit_range=True,
        )
        places = {}
        for tower, count, last in (("local", 5, "linear6"), ("whole", convolutions, linear)):
            places[tower] = {f"0.{i}.conv": f"conv{i + 1}" for i in range(count)}
            places[tower] |= {f"0.{i}.norm": f"bn{i + 1}" for i in range(count)}
            places[tower]["2"] = last
        state = renamed(weights, {"local": "model_ld", "whole": "model_gd"}, places)
        state |= {f"score.{of}": torch.from_numpy(weights[f"linear1.{of}"]) for of in ("weight", "bias")}
        critic.load_state_dict(state)
        # Published images are in [0, 1]; the published critic ends with the sigmoid.
        local, whole = (2 * x - 1 for x in tensors(arrays, f"{case}.local", f"{case}.global"))
        critic.eval()
        assert away(critic.local((local + 1) / 2), arrays[f"{case}.feat_local"]) < OTHERS
        assert away(critic.whole((whole + 1) / 2), arrays[f"{case}.feat_global"]) < OTHERS
        assert away(torch.sigmoid(critic(local, whole)), arrays[f"{case}.out"][:, 0]) < OTHERS

    def test_mmagic(self):
        arrays = golden("glcic_mmagic")
        weights = {
            name.removeprefix("disc."): value
            for name, value in drawn(arrays, "", draw_batch_norms(int(arrays["salt"]))).items()
        }
        critic = JointCritic(local_size=(32, 32), whole_size=(64, 96), bias=False).eval()
        places = {}
        for tower, count in (("local", 5), ("whole", 6)):
            places[tower] = {f"0.{i}.conv": f"conv{i + 1}.conv" for i in range(count)}
            places[tower] |= {f"0.{i}.norm": f"conv{i + 1}.bn" for i in range(count)}
            places[tower]["2"] = "fc.linear"
        state = renamed(weights, {"local": "local_disc", "whole": "global_disc"}, places)
        whole_first, bias = (torch.from_numpy(weights[f"fc.{of}"]) for of in ("weight", "bias"))
        state |= {"score.weight": whole_first.roll(1024, 1), "score.bias": bias}
        for tower in ("local", "whole"):
            state[f"{tower}.0.0.conv.weight"] = state[f"{tower}.0.0.conv.weight"].flip(1)
        critic.load_state_dict(state)
        local, whole = (x.flip(1) for x in tensors(arrays, "d.local", "d.global"))  # blue came first
        assert away(critic(local, whole), arrays["d.out"][:, 0]) < OTHERS


class TestContextEncoderCritic:
    def test_boyuan_jiang(self):
        arrays = golden("context_encoder")
        names = {"D.main.0": "features.0.conv", "D.main.11": "score"}
        for i in (1, 2, 3):
            names |= {f"D.main.{3 * i - 1}": f"features.{i}.conv", f"D.main.{3 * i}": f"features.{i}.norm"}
        state = {}
        for name, value in arrays.items():
            layer, _, of = name.rpartition(".")
            if layer in names:
                state[f"{names[layer]}.{of}"] = torch.from_numpy(value)
        critic = ContextEncoderCritic((8, 16, 32, 64)).eval()
        missing = critic.load_state_dict(state, strict=False)
        assert not missing.unexpected_keys
        assert all(key.endswith("num_batches_tracked") for key in missing.missing_keys)
        image, patch = tensors(arrays, "image", "y")
        centre = (image / 127.5 - 1)[..., 32:96, 32:96]
        for x, name in ((centre, "d_real"), (patch, "d_fake")):
            assert away(torch.sigmoid(critic(x)), arrays[name][:, 0]) < OTHERS
