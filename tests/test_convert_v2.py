"""Version 2's published checkpoints, as files, compute what the published networks computed."""

import json

import pytest
import torch
from helpers import published_v2
from helpers.published_v2 import CASES, case, checkpoint, error, write

from contextual_attention.cli import main
from contextual_attention.models.network.convert import convert
from contextual_attention.models.network.generator import InpaintGenerator
from contextual_attention.models.network.layouts import LAYOUTS
from contextual_attention.models.network.weight_files import WeightsError

# Float32 of other programs, 35 layers deep, of which exponentials of logits: reached are 4e-6.
TOLERANCE = 2e-5
# A wrong option moves the refined image by a thousand times that.
WRONG = 1000 * TOLERANCE
# What a folder says of each, but for what is the same in all.
CONFIGS = {
    "yu2019": {"cnum": 24, "padding": "same", "attention": "yu2018", "refinement_input": "image"},
    "yu2019 guided": {"cnum": 24, "padding": "same", "attention": "yu2018", "sketch": True},
    "nipponjo-tf": {"cnum": 4, "padding": "same", "attention": "yu2018", "refinement_input": "image"},
    "nipponjo": {"cnum": 4, "padding": "zero", "attention": "nipponjo", "refinement_input": "image"},
    "mmagic-v2": {"cnum": 6, "decoder_cnum": 8, "attention_activation": "elu", "refinement_input": "full"},
    "csqiangwen": {"cnum": 8, "gated_rgb": True, "squash": "tanh-unit", "fill": "white"},
}
# The program that nipponjo's file of converted weights is published with; the default is the authors'.
AS_RUN = {"nipponjo-tf": "networks_tf"}


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """Each checkpoint's file, written once."""
    written = {}

    def path(kind):
        if kind not in written:
            written[kind] = write(kind, tmp_path_factory.mktemp("published"))
        return written[kind]

    return path


def run(network, kind, prefix):
    """What a network makes of a case, and how far each image is from the published one."""
    given = case(kind, prefix)
    with torch.no_grad():
        found = network(given.image, given.mask, **given.options)
    return found, error(kind, found.coarse, given.coarse), error(kind, found.refined, given.refined)


@pytest.mark.parametrize("kind", CASES)
class TestThePublished:
    def test_computes_what_it_does(self, kind, source):
        network, layout, variant = convert(source(kind), variant=AS_RUN.get(kind))
        assert (layout.name, variant) == (kind.removesuffix(" guided"), AS_RUN.get(kind))
        assert vars(network.config).items() >= CONFIGS[kind].items()
        for prefix in CASES[kind]:
            found, coarse, refined = run(network, kind, prefix)
            assert coarse < TOLERANCE
            assert refined < TOLERANCE
            given = case(kind, prefix)
            hole = given.mask.expand_as(given.image) == 1
            assert torch.equal(found.completed[~hole], given.image[~hole])
            assert torch.equal(found.completed[hole], found.refined[hole].clamp(-1, 1))

    def test_colours_are_not_exchanged_unseen(self, kind, source):
        network = convert(
            source(kind), variant=AS_RUN.get(kind), is_bgr=kind not in published_v2.IN_BGR
        ).network
        assert run(network, kind, CASES[kind][0])[2] > WRONG


# Every option that tells one publication from another, wrong, on a case that shows it.
FLIPPED = [
    ("yu2019", {"padding": "zero"}),
    ("yu2019", {"attention": "nipponjo"}),
    ("yu2019", {"attention_activation": "elu"}),
    ("yu2019", {"fill": "white"}),
    ("yu2019", {"propagation": False}),
    ("yu2019", {"mask_sampling": "one-step"}),
    ("nipponjo-tf", {"propagation": True}),
    ("nipponjo-tf", {"mask_sampling": "layer"}),
    ("nipponjo", {"padding": "same"}),
    ("nipponjo", {"attention": "yu2018"}),
    ("nipponjo", {"squash": "clip"}),
    ("mmagic-v2", {"padding": "zero"}),
    ("mmagic-v2", {"attention": "daa233"}),
    ("mmagic-v2", {"attention_activation": "relu"}),
    ("mmagic-v2", {"squash": "clip"}),
    ("csqiangwen", {"padding": "mirror"}),
    ("csqiangwen", {"attention": "mmagic"}),
    ("csqiangwen", {"fill": "grey"}),
    ("csqiangwen", {"squash": "tanh"}),
]


@pytest.mark.parametrize(("kind", "option"), FLIPPED, ids=str)
def test_a_wrong_option_shows(kind, option, source):
    right = convert(source(kind), variant=AS_RUN.get(kind)).network
    wrong = InpaintGenerator(right.config, **option).eval()
    wrong.load_state_dict(right.state_dict())
    assert vars(wrong.config) != vars(right.config)
    assert run(wrong, kind, CASES[kind][0])[2] > WRONG


def test_the_sketch_has_its_own_channel(source):
    network = convert(source("yu2019 guided")).network
    with torch.no_grad():
        weight = network.coarse[0].weight
        weight[:] = weight[:, [0, 1, 2, 4, 3, 5]]  # as if ones came before the sketch
    assert run(network, "yu2019 guided", "g_")[2] > WRONG


def test_nipponjos_file_computes_what_the_authors_network_does(tmp_path):
    """By default: the file holds the authors' weights, which its program does something else with."""
    moved = {}
    for name, x in checkpoint("yu2019").items():
        if name.startswith("inpaint_net/"):
            *scopes, part = name.split("/")[1:]
            inner = ".conv" * len(scopes)  # an upsampling layer is one around another
            key = f"{scopes[0]}{inner}.{'weight' if part == 'kernel' else part}"
            moved[key] = x.permute(3, 2, 0, 1) if x.dim() == 4 else x
    assert moved.keys() == checkpoint("nipponjo-tf").keys()
    network, layout, variant = convert(write("nipponjo-tf", tmp_path, moved), is_bgr=True)
    assert (layout.name, variant) == ("nipponjo-tf", "original")
    assert run(network, "yu2019", "p_")[2] < TOLERANCE


@pytest.mark.parametrize("kind", CASES)
def test_sizes_that_are_no_multiples_of_eight(kind, source):
    network, given = convert(source(kind)).network, case(kind, CASES[kind][0])
    image, mask = given.image[..., :51, :61], given.mask[..., :51, :61]
    options = {name: x[..., :51, :61] for name, x in given.options.items()}
    with torch.no_grad():
        completed = network(image, mask, **options).completed
    assert completed.shape == image.shape
    assert completed.isfinite().all()
    assert torch.equal(completed[mask.expand_as(image) == 0], image[mask.expand_as(image) == 0])


@pytest.mark.parametrize(
    ("kind", "before", "after"),
    [
        ("csqiangwen", "", "module."),
        ("nipponjo", "", "module."),
        ("nipponjo-tf", "", "module."),
        ("mmagic-v2", "", "module."),
        ("mmagic-v2", "generator.", ""),
    ],
)
def test_other_prefixes(kind, before, after, source, tmp_path):
    renamed = {after + name.removeprefix(before): x for name, x in checkpoint(kind).items()}
    expected = convert(source(kind)).network.state_dict()
    found = convert(write(kind, tmp_path, renamed)).network.state_dict()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_help_names_what_there_is_to_choose(capsys):
    with pytest.raises(SystemExit):
        main(["convert", "--help"])
    said = " ".join(capsys.readouterr().out.split())
    assert all(variant in said for layout in LAYOUTS for variant in layout.variants)
    assert all(each in said for each in (".t7", "Places2", "not for commercial use"))


_SPECTRAL = "coarse.12.gated_conv2d.conv2d.module"
# A tensor of a file, what becomes of it (None: it is not there), and what is said of it.
DAMAGES = [
    ("yu2019", "inpaint_net/xconv1/kernel", lambda x: x[:, :, :2], r"got \(48, 2, 5, 5\)"),
    ("yu2019", "inpaint_net/conv1/kernel", lambda x: x[:, :, :4], r"got \(48, 4, 5, 5\)"),
    ("nipponjo", "stage2.conv_bn6.conv.weight", lambda x: x[:20], r"bn6.*expected shape \(16, .*got \(20, "),
    ("nipponjo", "stage2.conv_bn6.conv.weight", lambda x: x[0, 0], r"decoder_cnum: .* got 0"),
    ("nipponjo-tf", "conv3.conv.bias", lambda x: None, r"conv3\.conv\.bias is missing"),
    ("mmagic-v2", "generator.stage1.decoder.dec7.conv.conv.weight", lambda x: x[:3], r"got \(3, "),
    ("csqiangwen", "coarse.3.mask_conv2d.weight", lambda x: None, r"3\.mask_conv2d\.weight is missing"),
    ("csqiangwen", "coarse.3.mask_conv2d.weight", lambda x: x[:, :3], r"3\.mask.*: expected the shape of"),
    ("csqiangwen", "coarse.0.conv2d.bias", lambda x: x[0], r"0\.mask_conv2d\.bias: expected the shape of"),
    ("csqiangwen", f"{_SPECTRAL}.weight_u", lambda x: x[:3], r"got \(16, 32, 3, 3\) and \(3,\)"),
    ("csqiangwen", f"{_SPECTRAL}.weight_bar", lambda x: x[0], r"expected weight_bar of four dimensions"),
    ("csqiangwen", f"{_SPECTRAL}.weight_bar", lambda x: 0 * x, r"module\.weight_bar.*finite"),
]


class TestErrors:
    @pytest.mark.parametrize(("kind", "key", "change", "message"), DAMAGES)
    def test_damage(self, kind, key, change, message, tmp_path):
        weights = checkpoint(kind)
        weights[key] = change(weights[key])
        weights = {name: x for name, x in weights.items() if x is not None}
        with pytest.raises(WeightsError, match=message):
            convert(write(kind, tmp_path, weights))

    def test_a_variant_of_another(self, source):
        with pytest.raises(WeightsError, match=r"variant: expected original, networks_tf; got 'original_tf'"):
            convert(source("nipponjo-tf"), variant="original_tf")


def test_the_command(source, tmp_path, capsys):
    arguments = [
        str(source("nipponjo-tf")),
        str(tmp_path / "out"),
        "--variant",
        "networks_tf",
        "--channels",
        "bgr",
    ]
    assert main(["convert", *arguments]) == 0
    printed = capsys.readouterr().out
    assert "nipponjo-tf, github.com/nipponjo" in printed
    assert "licence of the weights: CC BY-NC 4.0" in printed
    origin = json.loads((tmp_path / "out" / "origin.json").read_text())
    assert (origin["format"], origin["variant"]) == ("nipponjo-tf", "networks_tf")
    found = InpaintGenerator.from_pretrained(tmp_path / "out")
    expected = convert(source("nipponjo-tf"), variant="networks_tf", is_bgr=True).network
    assert found.config == expected.config
    assert all(torch.equal(x, y) for x, y in zip(found.parameters(), expected.parameters(), strict=True))
