"""Version 2 of the generator: gates, its colours and what its networks see; every way to run it.

Its numbers are compared with the published ones in test_convert_v2.py.
"""

import copy
import json
import pickle
from fractions import Fraction

import pytest
import torch
from helpers.networks import problem
from test_generator import ATTENTION, COARSE, CONVOLUTIONS, DECODER, listed, make

from contextual_attention.models.network.generator import InpaintGenerator
from contextual_attention.models.network.layers import ConvLayer
from contextual_attention.options import PRESETS, Options
from contextual_attention.reference import downscale

# As the authors published it; its layers are version 1's, three quarters as wide.
V2 = {
    "cnum": 24,
    "padding": "same",
    "attention": "yu2018",
    "gated": True,
    "squash": "tanh",
    "refinement_input": "image",
}
SMALL = V2 | {"cnum": 4}


def narrowed(table, gated_rgb=False):
    """A table of version 1 with version 2's channels, each twice but perhaps the colours."""
    words = (word.rpartition(":") for word in table.split())
    return " ".join(
        f"{what}:{channels if channels == '3' and not gated_rgb else _gated(int(channels))}"
        for what, _, channels in words
    )


def _gated(channels):
    return 2 * channels if channels == 3 else 2 * channels * 3 // 4


def lively(**options):
    """A generator through whose gates, some forty of a half, something comes all the same."""
    generator = make(**SMALL | options)
    with torch.no_grad():
        for module in generator.modules():
            if isinstance(module, ConvLayer):
                module.weight.normal_(std=2.2 * module.weight[0].numel() ** -0.5)
    return generator


def first_input(module):
    """A list that takes what a module is given first, each time."""
    seen = []
    module.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0]))
    return seen


class TestTheNetwork:
    @pytest.mark.parametrize("gated_rgb", [False, True])
    def test_layers_are_the_papers_gated(self, gated_rgb):
        generator = InpaintGenerator(**V2, gated_rgb=gated_rgb)
        refinement = generator.refinement
        assert listed(generator.coarse) == narrowed(COARSE, gated_rgb)
        assert listed(refinement.convolutions) == narrowed(CONVOLUTIONS)
        assert listed(refinement.attention.encoder) == narrowed(ATTENTION)
        assert listed(refinement.attention.decoder) == "3:192 3:192"
        assert listed(refinement.decoder) == narrowed(DECODER, gated_rgb)
        layers = [module for module in generator.modules() if isinstance(module, ConvLayer)]
        assert [layer.spec.gated for layer in layers].count(False) == (0 if gated_rgb else 2)

    @pytest.mark.parametrize(
        ("options", "parameters"),
        [
            ({}, 4_052_478),
            ({"sketch": True}, 4_053_678),
            ({"gated_rgb": True, "refinement_input": "full", "decoder_cnum": 32}, 4_414_908),  # mmagic
            # csqiangwen: 16,174,956 published, and of the map of ones, which we add, 3 layers' 96 * 5 * 5.
            ({"gated_rgb": True, "refinement_input": "full", "cnum": 48}, 16_174_956 + 7200),
        ],
    )
    def test_parameters(self, options, parameters):
        with torch.device("meta"):
            generator = InpaintGenerator(**V2 | options)
        assert sum(p.numel() for p in generator.parameters()) == parameters

    def test_a_wider_decoder(self):
        decoder = InpaintGenerator(**V2, decoder_cnum=32).refinement.decoder
        channels = [layer.spec.channels for layer in decoder]
        assert (decoder[0].in_channels, channels) == (192, [128, 128, 64, 64, 32, 16, 3])

    def test_propagation(self):
        layer = lively(propagation=False).refinement.attention.layer
        assert layer.options == Options.from_preset("yu2018", fuse=False)


class TestColours:
    def loud(self, squash):
        """A generator whose colours are far beyond any range before they are squashed."""
        generator = lively(squash=squash)
        with torch.no_grad():
            for layer in (generator.coarse[-1], generator.refinement.decoder[-1]):
                layer.weight *= 1000
        return generator

    @pytest.mark.parametrize(("squash", "least"), [("clip", -1), ("tanh", -1), ("tanh-unit", -3)])
    def test_range(self, squash, least):
        image, mask = problem()
        result = self.loud(squash)(image, mask)
        for x in (result.coarse, result.refined):
            assert x.min() == least
            assert x.max() == 1
        hole = mask.expand_as(image) == 1
        assert torch.equal(result.completed[hole], result.refined[hole].clamp(-1, 1))
        assert torch.equal(result.completed[~hole], image[~hole])

    @pytest.mark.parametrize(
        ("squash", "formula"),
        [
            ("clip", lambda x: x.clamp(-1, 1)),
            ("tanh", lambda x: (x.exp() - (-x).exp()) / (x.exp() + (-x).exp())),
            ("tanh-unit", lambda x: 1 - 4 / ((2 * x).exp() + 1)),
        ],
    )
    def test_formula(self, squash, formula):
        generator = lively(squash=squash).double()
        seen = []
        for layers in (generator.coarse, generator.refinement.decoder):
            layers.register_forward_hook(lambda _, __, output: seen.append(output))
        result = generator(*problem(dtype=torch.float64))
        for raw, found in zip(seen, result[:2], strict=True):
            assert torch.allclose(found, formula(raw), rtol=0, atol=1e-12)

    def test_the_second_network_sees_what_is_not_clamped(self):
        generator, (image, mask) = self.loud("tanh-unit"), problem()
        seen = first_input(generator.refinement)
        coarse = generator(image, mask).coarse
        assert torch.equal(seen[0], torch.where(mask == 1, coarse, image))
        assert seen[0].min() == -3


class TestTheMask:
    # The formula in whole numbers: floor(i * (n - 1) / (n / 8 - 1) + 1 / 2).
    @pytest.mark.parametrize("size", [(64, 96), (8, 16), (24, 200)])
    @pytest.mark.parametrize("attend", ["everywhere", "hole"])
    @pytest.mark.parametrize("preset", ["yu2018", "nipponjo", "paper"])
    def test_one_step(self, size, attend, preset):
        generator = lively(attention=preset, mask_sampling="one-step", attend=attend)
        seen = []
        layer = generator.refinement.attention.layer
        hook = lambda _, arguments, keywords: seen.append((arguments[2], keywords["foreground_mask"]))  # noqa: E731
        layer.register_forward_pre_hook(hook, with_kwargs=True)
        mask = (torch.rand(2, 1, *size, generator=torch.Generator().manual_seed(1)) < 0.5).float()
        generator(torch.zeros(2, 3, *size), mask)
        ((given, selected),) = seen
        assert given.shape == (2, 1, size[0] // 4, size[1] // 4)
        rows, columns = (
            [int(Fraction(i * (n - 1), max(n // 8 - 1, 1)) + Fraction(1, 2)) for i in range(n // 8)]
            for n in size
        )
        # What the layer reads of a mask of the features' size is one more step, by 2.
        assert torch.equal(downscale(given, PRESETS[preset]), mask[:, :, rows][..., columns])
        assert (selected is None) if attend == "everywhere" else torch.equal(selected, given)

    def test_two_steps(self):
        seen = []
        generator, (image, mask) = lively(), problem()
        layer = generator.refinement.attention.layer
        layer.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[2]))
        generator(image, mask)
        assert torch.equal(seen[0], mask)


class TestTheSketch:
    @pytest.fixture
    def generator(self):
        return lively(sketch=True)

    @pytest.fixture
    def sketch(self):
        return (torch.rand(2, 1, 24, 32, generator=torch.Generator().manual_seed(2)) < 0.3).float()

    def test_only_the_first_network_sees_it(self, generator, sketch):
        image, mask = problem()
        coarse, refinement = first_input(generator.coarse), first_input(generator.refinement)
        result = generator(image, mask, sketch=sketch)
        known = image * (1 - mask)
        assert torch.equal(coarse[0], torch.cat((known, sketch * mask, torch.ones_like(mask), mask), 1))
        assert torch.equal(refinement[0], known + result.coarse * mask)

    def test_it_decides_something(self, generator, sketch):
        image, mask = problem()
        drawn, blank = (generator(image, mask, sketch=x).refined for x in (sketch, 0 * sketch))
        assert (drawn - blank).abs().max() > 1e-3

    def test_it_is_not_read_where_the_image_is_known(self, generator, sketch):
        image, mask = problem()
        expected = generator(image, mask, sketch=sketch)
        found = generator(image, mask, sketch=sketch.masked_fill(mask == 0, float("nan")))
        assert torch.equal(found.refined, expected.refined)

    @pytest.mark.parametrize("kind", [torch.bool, torch.float64])
    def test_kinds_and_one_for_all(self, generator, sketch, kind):
        image, mask = problem()
        expected = generator(image, mask, sketch=sketch[:1].expand(2, -1, -1, -1))
        assert torch.equal(generator(image, mask, sketch=sketch[:1].to(kind)).refined, expected.refined)

    def test_other_sizes(self, generator, sketch):
        image, mask = problem(2, 17, 30)
        found = generator(image, mask, sketch=sketch[..., :17, :30])
        assert found.completed.shape == image.shape

    @pytest.mark.parametrize(
        ("sketch", "error", "message"),
        [
            (None, ValueError, r"sketch: expected the lines in the holes"),
            (torch.zeros(2, 3, 24, 32), ValueError, r"sketch: expected shape \(2, 1, 24, 32\), or 1 sample"),
            (
                torch.zeros(2, 1, 24, 32, dtype=torch.uint8),
                TypeError,
                r"sketch: .*, 1 = line, got torch\.uint8",
            ),
            (torch.zeros(2, 1, 24, 32, device="meta"), ValueError, r"sketch: expected to be on cpu"),
        ],
    )
    def test_what_is_none(self, generator, sketch, error, message):
        with pytest.raises(error, match=message):
            generator(*problem(), sketch=sketch)

    def test_one_too_many(self, sketch):
        with pytest.raises(ValueError, match=r"sketch: expected none: this network is not guided"):
            lively()(*problem(), sketch=sketch)


# Each field of version 2 both ways, as the publications combine them.
VARIANTS = {
    "authors": {},
    "mmagic": {"gated_rgb": True, "refinement_input": "full", "decoder_cnum": 6, "attention": "mmagic"},
    "csqiangwen": {"gated_rgb": True, "refinement_input": "full", "squash": "tanh-unit", "padding": "zero"},
    "networks_tf": {"propagation": False, "mask_sampling": "one-step"},
    "no attention": {"attention": None, "decoder_cnum": 2},
}


@pytest.fixture(params=VARIANTS)
def generator(request):
    return lively(**VARIANTS[request.param])


class TestWaysToRun:
    def test_every_weight_learns(self, generator):
        image, mask = problem()
        generator(image, mask).refined.sum().backward()
        assert all((p.grad != 0).any() for p in generator.parameters())

    def test_every_sample_has_its_own_mask(self, generator):
        image, mask = problem()
        both = generator(image, mask).refined
        for sample in range(2):
            alone = generator(image[sample : sample + 1], mask[sample : sample + 1]).refined
            assert torch.allclose(both[sample], alone[0], atol=1e-5)

    def test_where_nothing_is_known(self, generator):
        assert generator(torch.zeros(1, 3, 8, 16), torch.ones(1, 1, 8, 16)).refined.isfinite().all()

    def test_channels_last(self, generator):
        image, mask = problem()
        expected = generator(image, mask)
        generator.to(memory_format=torch.channels_last)
        found = generator(image.to(memory_format=torch.channels_last), mask)
        assert found.refined.is_contiguous(memory_format=torch.channels_last)
        assert torch.allclose(found.refined, expected.refined, atol=1e-5)

    def test_autocast(self, generator):
        image, mask = problem()
        expected = generator(image, mask)
        with torch.autocast("cpu", torch.bfloat16):
            found = generator(image, mask)
        assert found.refined.dtype == torch.float32
        # As of version 1 (test_generator.py).
        assert 0 < (found.refined - expected.refined).abs().max() < 0.1

    # Those that have what torch would have to trace: sizes in the arithmetic, and other colours.
    @pytest.mark.parametrize("generator", ["networks_tf", "csqiangwen"], indirect=True)
    def test_compile_makes_one_graph(self, generator):
        image, mask = problem()
        compiled = torch.compile(generator, fullgraph=True, backend="aot_eager")
        assert torch.allclose(compiled(image, mask).refined, generator(image, mask).refined, atol=1e-5)

    @pytest.mark.parametrize("generator", ["networks_tf", "csqiangwen"], indirect=True)
    def test_export_of_any_batch(self, generator):
        image, mask = problem(3)
        batch = torch.export.Dim("batch")
        program = torch.export.export(generator, (image, mask), dynamic_shapes=({0: batch}, {0: batch}))
        found, expected = program.module()(image[:2], mask[:2]), generator(image[:2], mask[:2])
        assert torch.allclose(found.refined, expected.refined, atol=1e-5)

    @pytest.mark.parametrize("again", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
    def test_copies(self, generator, again):
        assert torch.equal(again(generator)(*problem()).refined, generator(*problem()).refined)

    def test_folders(self, generator, tmp_path):
        generator.save_pretrained(tmp_path)
        again = InpaintGenerator.from_pretrained(tmp_path)
        assert again.config == generator.config
        assert torch.equal(again(*problem()).refined, generator(*problem()).refined)


def test_folders_from_before_version_2_load(tmp_path):
    """Their config.json has none of its fields, and their network is what it was."""
    generator = make(padding="zero")
    generator.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    first = ("cnum", "padding", "attention", "attend", "attention_activation", "fill")
    (tmp_path / "config.json").write_text(json.dumps({name: config[name] for name in first}))
    again = InpaintGenerator.from_pretrained(tmp_path)
    assert again.config == generator.config
    assert torch.equal(again(*problem()).refined, generator(*problem()).refined)
