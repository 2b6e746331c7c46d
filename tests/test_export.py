"""The ONNX file gives what the network gives, in another runtime and at other sizes than were traced."""

import onnx
import onnxruntime
import pytest
import torch

from contextual_attention.models.network.context_encoder import ContextEncoder
from contextual_attention.models.network.export import export_onnx
from contextual_attention.models.network.generator import InpaintGenerator
from contextual_attention.models.network.iizuka import CompletionNetwork
from contextual_attention.models.network.layers import Conv, ConvLayer, stack
from contextual_attention.models.network.structure import StructureNetwork


def problem(batch, height, width, is_guided):
    """The inputs by name: the image's random numbers come first, whatever else there is."""
    generator = torch.Generator().manual_seed(height)
    mask = torch.zeros(batch, 1, height, width)
    mask[:, :, 20:50, 10:33] = 1
    mask[0, :, 60:, 60:] = 1
    image = torch.rand(batch, 3, height, width, generator=generator) * 2 - 1
    sketch = (torch.rand(mask.shape, generator=generator) < 0.1).float()
    return {"image": image, "mask": mask} | ({"sketch": sketch} if is_guided else {})


# Of the longer stacks only what brings the map to a quarter of its size, as the attention's branch has it.
QUARTER = (Conv(4, stride=2), Conv(8, stride=2))


def shorten(generator):
    """Few layers outside the attention's branch: the time of an export is in the number of layers."""
    padding, convolutions = generator.config.padding, generator.refinement.convolutions
    generator.coarse = stack(generator.coarse[0].in_channels, (Conv(3, activation=None),), padding)
    generator.refinement.convolutions = stack(convolutions[0].in_channels, QUARTER, padding)


@torch.no_grad()
def enliven(generator):
    """Weights with which something comes through a dozen gates, each of a half."""
    for module in generator.modules():
        if isinstance(module, ConvLayer):
            module.weight.normal_(std=1.8 * module.weight[0].numel() ** -0.5)


# "aligned" and "wrap" of yu2018 take the sizes of the maps into their arithmetic, as does sampling a mask in
# one step. All layers need one preset.
VARIANTS = {
    "paper": {},
    "yu2018": {"attention": "yu2018"},
    "version 2": {
        "attention": "yu2018",
        "padding": "same",
        "gated": True,
        "squash": "tanh",
        "refinement_input": "image",
        "sketch": True,
        "propagation": False,
        "mask_sampling": "one-step",
    },
}


@pytest.fixture(scope="module", params=VARIANTS)
def exported(request, tmp_path_factory):
    torch.manual_seed(0)
    generator = InpaintGenerator(cnum=2, **VARIANTS[request.param])
    if request.param != "paper":
        shorten(generator)
    if generator.config.gated:
        enliven(generator)
    path = tmp_path_factory.mktemp("onnx") / "generator.onnx"
    export_onnx(generator, path)
    assert [each.name for each in path.parent.iterdir()] == ["generator.onnx"]
    assert generator.refinement.attention.layer.backend is None
    return generator, path


@pytest.mark.parametrize("size", [(1, 72, 80), (3, 96, 136)])
def test_onnxruntime_agrees(exported, size):
    generator, path = exported
    given = problem(*size, is_guided=generator.config.sketch)
    session = onnxruntime.InferenceSession(path)
    found = session.run(["coarse", "refined", "completed"], {name: x.numpy() for name, x in given.items()})
    with torch.no_grad():
        expected = generator(**given)[:3]
    for x, y in zip(found, expected, strict=True):
        # Two float32 runtimes, forty layers deep, on images of size 1.
        assert torch.allclose(torch.from_numpy(x), y, atol=1e-5)
    assert expected[1].std() > 0.05


def test_no_convolution_has_computed_weights(exported):
    graph = onnx.load(exported[1]).graph
    stored = {each.name for each in graph.initializer}
    convolutions = [node for node in graph.node if node.op_type in ("Conv", "ConvTranspose")]
    layers = [module for module in exported[0].modules() if isinstance(module, ConvLayer)]
    assert len(convolutions) == len(layers)
    assert all(node.input[1] in stored for node in convolutions)


def test_only_standard_operators(exported):
    assert {each.domain for each in onnx.load(exported[1]).opset_import} <= {"", "ai.onnx"}


NETWORKS = {
    "iizuka": lambda: CompletionNetwork(cnum=4),
    "context encoder": lambda: ContextEncoder(cnum=4, bottleneck=20),
    "context encoder, whole": lambda: ContextEncoder(
        cnum=4, bottleneck_kind="channelwise", output="whole", bias=False
    ),
}


@pytest.fixture(scope="module", params=NETWORKS)
def exported_other(request, tmp_path_factory):
    """Normalised with other statistics than a network starts with."""
    torch.manual_seed(0)
    network = NETWORKS[request.param]()
    with torch.no_grad():
        for name, each in network.state_dict().items():
            if name.endswith("running_var"):
                each.copy_(torch.rand_like(each) + 0.5)
            elif name.endswith("weight") and each.dim() > 1:
                each.normal_(std=1.5 * each[0].numel() ** -0.5)
    path = tmp_path_factory.mktemp("onnx") / "network.onnx"
    export_onnx(network.eval(), path)
    return network, path


class TestNetworksOfOneStage:
    @pytest.mark.parametrize("size", [(1, 72, 80), (3, 128, 128)])
    def test_onnxruntime_agrees(self, exported_other, size):
        network, path = exported_other
        size = size if isinstance(network, CompletionNetwork) else (size[0], 128, 128)
        given = problem(*size, is_guided=False)
        if isinstance(network, ContextEncoder):
            # All of them their own views: what is missing is in the middle, with its centre there.
            given["mask"].zero_()
            given["mask"][:, :, 40:88, 38:90] = 1
        session = onnxruntime.InferenceSession(path)
        found = session.run(["refined", "completed"], {name: x.numpy() for name, x in given.items()})
        with torch.no_grad():
            expected = network(**given)[1:3]
        for x, y in zip(found, expected, strict=True):
            # Two float32 runtimes, seventeen layers deep, on images of size 1.
            assert torch.allclose(torch.from_numpy(x), y, atol=1e-5)
        assert expected[0].std() > 0.02

    def test_outputs(self, exported_other):
        assert [each.name for each in onnx.load(exported_other[1]).graph.output] == ["refined", "completed"]


def test_a_view_is_filled_as_any_image():
    torch.manual_seed(0)
    network = ContextEncoder(cnum=4, bottleneck=20).eval()
    image, mask = torch.rand(2, 3, 128, 128) * 2 - 1, torch.zeros(1, 1, 128, 128)
    mask[..., 36:92, 36:92] = 1
    with torch.no_grad():
        view, found = network(image, mask, are_views=True), network(image, mask)
    assert view.coarse is None
    assert torch.equal(view.refined, found.refined)
    assert torch.equal(view.completed, found.completed)


def test_a_network_that_starts_from_a_search_is_refused(tmp_path):
    with pytest.raises(ValueError, match="a StructureNetwork starts from fillings by search"):
        export_onnx(StructureNetwork(cnum=2), tmp_path / "structure.onnx")
    assert list(tmp_path.iterdir()) == []
