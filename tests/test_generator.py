"""The generator: its layers as the paper lists them, what its results promise, ways to run and keep it."""

import copy
import json
import pickle

import huggingface_hub
import numpy as np
import pytest
import torch
from helpers.networks import problem
from safetensors.torch import load_file, save_file

from contextual_attention.models.network.generator import InpaintGenerator
from contextual_attention.models.network.generator_config import GeneratorConfig
from contextual_attention.options import PRESETS

# Kernel, stride (s), dilation (d), doubling (up) : channels, as in the authors' code.
COARSE = (
    "5:32 3,s2:64 3:64 3,s2:128 3:128 3:128 3,d2:128 3,d4:128 3,d8:128 3,d16:128 "
    "3:128 3:128 up,3:64 3:64 up,3:32 3:16 3:3"
)
CONVOLUTIONS = "5:32 3,s2:32 3:64 3,s2:64 3:128 3:128 3,d2:128 3,d4:128 3,d8:128 3,d16:128"
ATTENTION = "5:32 3,s2:32 3:64 3,s2:128 3:128 3:128"
AFTER_ATTENTION = "3:128 3:128"
DECODER = "3:128 3:128 up,3:64 3:64 up,3:32 3:16 3:3"


def make(seed=0, **options):
    """A small generator whose layers all matter: their biases are not 0."""
    torch.manual_seed(seed)
    generator = InpaintGenerator(**{"cnum": 4} | options)
    with torch.no_grad():
        for parameter in generator.parameters():
            parameter += 0.05 * torch.randn_like(parameter)
    return generator


def listed(layers):
    """The convolutions of a stack in the words of the tables above."""
    words = []
    for layer in layers:
        spec = layer.spec
        stride = f",s{spec.stride}" if spec.stride > 1 else ""
        dilation = f",d{spec.dilation}" if spec.dilation > 1 else ""
        assert (layer.kernel_size, layer.stride, layer.dilation) == (
            (spec.kernel,) * 2,
            (spec.stride,) * 2,
            (spec.dilation,) * 2,
        )
        words.append(f"{'up,' * spec.upsample}{layer.kernel_size[0]}{stride}{dilation}:{layer.out_channels}")
    return " ".join(words)


class TestTheNetwork:
    def test_layers_are_the_papers(self):
        generator = InpaintGenerator()
        refinement = generator.refinement
        assert listed(generator.coarse) == COARSE
        assert listed(refinement.convolutions) == CONVOLUTIONS
        assert listed(refinement.attention.encoder) == ATTENTION
        assert listed(refinement.attention.decoder) == AFTER_ATTENTION
        assert listed(refinement.decoder) == DECODER
        assert refinement.decoder[0].in_channels == 256

    def test_parameters(self):
        assert sum(p.numel() for p in InpaintGenerator().parameters()) == 3_601_542

    def test_the_baseline_has_no_attention(self):
        generator = InpaintGenerator(attention=None)
        assert generator.refinement.attention is None
        assert generator.refinement.decoder[0].in_channels == 128
        image, mask = problem()
        assert generator(image, mask).completed.shape == image.shape

    @pytest.mark.parametrize(("name", "least"), [("relu", 0.0), ("elu", -1.0)])
    def test_activations(self, name, least):
        generator = make(attention_activation=name)
        kinds = [layer.spec.activation for layer in generator.refinement.attention.encoder]
        assert kinds == ["elu"] * 5 + [name]
        everywhere = [*generator.coarse, *generator.refinement.convolutions, *generator.refinement.decoder]
        assert [layer.spec.activation for layer in everywhere].count("elu") == len(everywhere) - 2
        seen = []
        layer = generator.refinement.attention.layer
        layer.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0]))
        generator(*problem())
        assert least <= seen[0].min() <= least / 2

    def test_default_attention_is_the_papers(self):
        assert InpaintGenerator(cnum=2).refinement.attention.layer.options == PRESETS["paper"]

    @pytest.mark.parametrize(("fill", "colour"), [("grey", 0.0), ("white", 1.0)])
    def test_input_of_the_coarse_network(self, fill, colour):
        generator, (image, mask) = make(fill=fill), problem()
        seen = []
        generator.coarse.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0]))
        generator(image, mask)
        hole = mask.expand_as(image) == 1
        assert (seen[0][:, :3][hole] == colour).all()
        assert torch.equal(seen[0][:, :3][~hole], image[~hole])
        assert (seen[0][:, 3] == 1).all()
        assert torch.equal(seen[0][:, 4:], mask)

    def test_input_of_the_refinement(self):
        generator, (image, mask) = make(), problem()
        seen = []
        generator.refinement.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0]))
        result = generator(image, mask)
        expected = image * (1 - mask) + result.coarse * mask
        assert torch.equal(seen[0][:, :3], expected)
        assert torch.equal(seen[0][:, 4:], mask)

    def test_attending_in_the_hole_only(self):
        everywhere, inside = make(), make(attend="hole")
        seen = []
        hook = lambda _, arguments, keywords: seen.append(keywords["foreground_mask"])  # noqa: E731
        inside.refinement.attention.layer.register_forward_pre_hook(hook, with_kwargs=True)
        image, mask = problem()
        assert not torch.allclose(inside(image, mask).refined, everywhere(image, mask).refined)
        assert torch.equal(seen[0], mask)


class TestTheResult:
    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
    def test_known_pixels_are_the_inputs(self, dtype):
        image, mask = problem(dtype=dtype)
        result = make().to(dtype)(image, mask)
        assert {x.dtype for x in result[:3]} == {dtype}
        hole = mask.expand_as(image) == 1
        assert torch.equal(result.completed[~hole], image[~hole])
        assert torch.equal(result.completed[hole], result.refined[hole])
        assert not torch.equal(result.refined[~hole], image[~hole])

    def test_results_are_clipped(self):
        generator, (image, mask) = make(), problem()
        with torch.no_grad():
            for layer in (generator.coarse[-1], generator.refinement.decoder[-1]):
                layer.weight *= 100
        result = generator(image, mask)
        for x in (result.coarse, result.refined):
            assert x.min() == -1
            assert x.max() == 1

    @pytest.mark.parametrize("hidden", [5.0, float("nan")])
    def test_what_lies_under_the_holes_is_not_read(self, hidden):
        generator, (image, mask) = make(), problem()
        covered = image.masked_fill(mask == 1, hidden)
        assert all(map(torch.equal, generator(covered, mask)[:3], generator(image, mask)[:3]))

    def test_every_sample_has_its_own_mask(self):
        generator, (image, mask) = make(), problem()
        both = generator(image, mask, return_offsets=True)
        for sample in range(2):
            alone = generator(image[sample : sample + 1], mask[sample : sample + 1], return_offsets=True)
            for x, y in zip(both[:4], alone[:4], strict=True):
                # Convolutions of other batches may add up in another order.
                assert torch.allclose(x[sample].float(), y[0].float(), atol=1e-5)
        exchanged = generator(image, mask.flip(0))
        assert not torch.allclose(exchanged.refined, both.refined, atol=1e-3)

    @pytest.mark.parametrize("kind", [torch.bool, torch.float64])
    def test_masks_of_any_kind_and_one_for_all(self, kind):
        generator, (image, mask) = make(), problem()
        expected = generator(image, mask[:1].expand(2, -1, -1, -1))
        found = generator(image, (3 * mask[:1]).to(kind))
        assert all(map(torch.equal, found[:3], expected[:3]))

    @pytest.mark.parametrize("size", [(8, 8), (9, 15), (17, 40)])
    def test_other_sizes_are_reflected_and_cropped(self, size):
        generator, (image, mask) = make(), problem(2, *size)
        margins = ((0, 0), (0, 0), *((0, -side % 8) for side in size))
        padded = (torch.from_numpy(np.pad(x.numpy(), margins, mode="reflect")) for x in (image, mask))
        expected = generator(*padded)
        found = generator(image, mask)
        for x, y in zip(found[:2], expected[:2], strict=True):
            assert torch.equal(x, y[..., : size[0], : size[1]])
        assert torch.equal(found.completed, torch.where(mask == 1, found.refined, image))

    def test_offsets(self):
        generator, (image, mask) = make(), problem(2, 17, 40)
        assert generator(image, mask).offsets is None
        offsets = generator(image, mask, return_offsets=True).offsets
        assert (offsets.shape, offsets.dtype) == ((2, 2, 3, 5), torch.int64)
        with pytest.raises(ValueError, match="return_offsets: this network has no attention"):
            make(attention=None)(image, mask, return_offsets=True)

    @pytest.mark.parametrize("preset", [*PRESETS, None])
    @pytest.mark.parametrize("padding", ["mirror", "same", "zero"])
    def test_every_variant_runs_where_nothing_is_known(self, preset, padding):
        generator = make(attention=preset, padding=padding)
        result = generator(torch.zeros(1, 3, 8, 16), torch.ones(1, 1, 8, 16))
        assert result.refined.isfinite().all()
        assert torch.equal(result.completed, result.refined)


class TestGradients:
    def test_the_refined_image_teaches_the_coarse_network(self):
        generator, (image, mask) = make(), problem()
        generator(image, mask).refined.sum().backward()
        assert all((p.grad != 0).any() for p in generator.parameters())

    def test_only_through_the_holes(self):
        generator, (image, mask) = make(), problem()
        generator(image, torch.zeros_like(mask)).refined.sum().backward()
        assert all((p.grad == 0).all() for p in generator.coarse.parameters())
        assert (generator.refinement.convolutions[0].weight.grad != 0).any()

    def test_finite_differences(self):
        generator, (image, mask) = make(cnum=2).double(), problem(dtype=torch.float64)
        weight = generator.coarse[0].weight

        def loss():
            return generator(image, mask).refined.square().sum()

        (gradient,) = torch.autograd.grad(loss(), weight)
        direction = torch.randn(weight.shape, generator=torch.Generator().manual_seed(1)).to(weight)
        step = 1e-6
        with torch.no_grad():
            weight += step * direction
            above = loss()
            weight -= 2 * step * direction
            below = loss()
        slope = ((above - below) / (2 * step)).item()
        assert (gradient * direction).sum().item() == pytest.approx(slope, rel=1e-4)


class TestWaysToRun:
    def test_channels_last(self):
        generator, (image, mask) = make(), problem()
        expected = generator(image, mask)
        generator.to(memory_format=torch.channels_last)
        found = generator(image.to(memory_format=torch.channels_last), mask)
        assert found.refined.is_contiguous(memory_format=torch.channels_last)
        # Other kernels, which add up in another order.
        assert torch.allclose(found.refined, expected.refined, atol=1e-5)

    def test_autocast(self):
        generator, (image, mask) = make(), problem()
        expected = generator(image, mask)
        with torch.autocast("cpu", torch.bfloat16):
            found = generator(image, mask)
        assert found.refined.dtype == torch.float32
        difference = (found.refined - expected.refined).abs()
        # bfloat16 has 8 bits; rounding of 2**-9 a layer adds up over the 35 of them.
        assert 0 < difference.max() < 0.1
        assert torch.equal(found.completed[mask.expand_as(image) == 0], image[mask.expand_as(image) == 0])

    def test_compile_makes_one_graph(self):
        # Whether it is one graph is decided before a backend of the compiler sees it.
        generator, (image, mask) = make(), problem()
        compiled = torch.compile(generator, fullgraph=True, backend="aot_eager")
        found, expected = compiled(image, mask), generator(image, mask)
        assert torch.allclose(found.refined, expected.refined, atol=1e-5)
        gradients = (
            torch.autograd.grad(x.refined.sum(), generator.coarse[0].weight)[0] for x in (found, expected)
        )
        assert torch.allclose(*gradients, rtol=1e-3, atol=1e-3)

    def test_export_of_any_batch(self):
        generator, (image, mask) = make(), problem(3)
        batch = torch.export.Dim("batch")
        program = torch.export.export(generator, (image, mask), dynamic_shapes=({0: batch}, {0: batch}))
        found, expected = program.module()(image[:2], mask[:2]), generator(image[:2], mask[:2])
        assert torch.allclose(found.refined, expected.refined, atol=1e-5)

    @pytest.mark.parametrize("again", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
    def test_copies(self, again):
        generator, (image, mask) = make(padding="zero"), problem()
        copied = again(generator)
        assert copied.config == generator.config
        assert torch.equal(copied(image, mask).refined, generator(image, mask).refined)


class TestKeeping:
    def test_a_folder_has_everything(self, tmp_path):
        options = {
            "cnum": 6,
            "padding": "same",
            "attention": "yu2018",
            "attend": "hole",
            "attention_activation": "elu",
            "fill": "white",
            "gated": True,
            "gated_rgb": True,
            "squash": "tanh",
            "refinement_input": "image",
            "sketch": False,
            "decoder_cnum": 8,
            "propagation": False,
            "mask_sampling": "one-step",
        }
        generator, (image, mask) = make(**options), problem()
        generator.save_pretrained(tmp_path)
        assert json.loads((tmp_path / "config.json").read_text()) == {"system": "deepfill", **options}
        again = InpaintGenerator.from_pretrained(tmp_path)
        assert again.config == generator.config
        assert torch.equal(again(image, mask).refined, generator(image, mask).refined)

    @pytest.mark.parametrize("attention", ["paper", None])
    def test_defaults_are_written_too(self, tmp_path, attention):
        InpaintGenerator(GeneratorConfig(cnum=2), attention=attention).save_pretrained(tmp_path)
        config = json.loads((tmp_path / "config.json").read_text())
        assert config == {"system": "deepfill", **vars(GeneratorConfig(cnum=2, attention=attention))}
        assert InpaintGenerator.from_pretrained(tmp_path).config.attention == attention

    def test_options_may_be_changed_on_loading(self, tmp_path):
        make(padding="same").save_pretrained(tmp_path)
        assert InpaintGenerator.from_pretrained(tmp_path, padding="zero").config.padding == "zero"

    def test_a_missing_weight_is_an_error(self, tmp_path):
        make().save_pretrained(tmp_path)
        weights = load_file(tmp_path / "model.safetensors")
        del weights["coarse.3.weight"]
        save_file(weights, tmp_path / "model.safetensors")
        with pytest.raises(ValueError, match=r"model\.safetensors: coarse\.3\.weight is missing"):
            InpaintGenerator.from_pretrained(tmp_path)

    def test_push_to_hub_uploads_the_folder(self, monkeypatch):
        uploaded = {}

        class Api:
            def __init__(self, token=None):
                pass

            def create_repo(self, repo_id, **_):
                return huggingface_hub.RepoUrl(f"https://huggingface.co/{repo_id}")

            def upload_folder(self, *, folder_path, **_):
                uploaded.update({each.name: each.read_bytes() for each in folder_path.iterdir()})

        monkeypatch.setattr("huggingface_hub.hub_mixin.HfApi", Api)
        make(padding="zero").push_to_hub("someone/something")
        assert uploaded.keys() == {"config.json", "model.safetensors", "README.md"}
        assert json.loads(uploaded["config.json"])["padding"] == "zero"


class TestErrors:
    @pytest.mark.parametrize(
        ("options", "error", "message"),
        [
            ({"cnum": 5}, ValueError, r"cnum: expected an even integer from 2 to 4096, got 5"),
            ({"cnum": 2.0}, TypeError, r"cnum: expected an even integer from 2 to 4096, got 2\.0"),
            ({"padding": "reflect"}, ValueError, r"padding: expected one of 'mirror', 'same', 'zero'"),
            ({"attention": "yu"}, ValueError, r"attention: expected one of 'paper', .*, None; got 'yu'"),
            ({"attend": "all"}, ValueError, r"attend: expected one of 'everywhere', 'hole'; got 'all'"),
            ({"attention_activation": "gelu"}, ValueError, r"attention_activation: .* got 'gelu'"),
            ({"fill": 0}, ValueError, r"fill: expected one of 'grey', 'white'; got 0"),
            ({"gated": 1}, TypeError, r"gated: expected True or False, got 1"),
            ({"gated_rgb": True}, ValueError, r"gated_rgb: expected gated=True with it"),
            ({"squash": "sigmoid"}, ValueError, r"squash: expected one of 'clip', 'tanh', 'tanh-unit'"),
            ({"refinement_input": "x"}, ValueError, r"refinement_input: .* 'image', 'full'; got 'x'"),
            ({"sketch": "yes"}, TypeError, r"sketch: expected True or False"),
            ({"decoder_cnum": 3}, ValueError, r"decoder_cnum: expected an even integer from 2 .* got 3"),
            ({"propagation": None}, TypeError, r"propagation: expected True or False"),
            ({"mask_sampling": "one"}, ValueError, r"mask_sampling: .* 'layer', 'one-step'; got 'one'"),
            ({"width": 32}, TypeError, r"width"),
        ],
    )
    def test_options(self, options, error, message):
        with pytest.raises(error, match=message):
            InpaintGenerator(**options)

    @pytest.mark.parametrize(
        ("image", "mask", "error", "message"),
        [
            (
                torch.zeros(1, 3, 7, 9),
                None,
                ValueError,
                r"image: .* 8 x 8 pixels, got \(1, 3, 7, 9\)",
            ),
            (torch.zeros(3, 8, 8), None, ValueError, r"image: expected shape"),
            (torch.zeros(1, 4, 8, 8), None, ValueError, r"image: expected shape"),
            (torch.zeros(1, 3, 8, 8, dtype=torch.uint8), None, TypeError, r"image: .* got torch\.uint8"),
            (None, torch.zeros(1, 1, 8, 9), ValueError, r"mask: expected shape \(2, 1, 8, 8\), or 1 sample"),
            (None, torch.zeros(3, 1, 8, 8), ValueError, r"mask: expected shape"),
            (None, torch.zeros(2, 3, 8, 8), ValueError, r"mask: expected shape"),
            (None, torch.zeros(2, 1, 8, 8, dtype=torch.int64), TypeError, r"mask: .* got torch\.int64"),
            (None, [[0]], TypeError, r"mask: .* got list"),
            (None, torch.zeros(2, 1, 8, 8, device="meta"), ValueError, r"mask: expected to be on cpu"),
        ],
    )
    def test_arguments(self, image, mask, error, message):
        image = torch.zeros(2, 3, 8, 8) if image is None else image
        mask = torch.zeros(len(image), 1, *image.shape[2:]) if mask is None else mask
        with pytest.raises(error, match=message):
            make(cnum=2)(image, mask)
