"""The fused operator as torch sees it: its registration, compilation, export and derivatives."""

import pytest
import torch
from helpers import compare
from torch._dynamo.testing import CompileCounterWithBackend
from torch.utils._python_dispatch import TorchDispatchMode

from contextual_attention import ContextualAttention, cells, contextual_attention, interface
from contextual_attention.interface import Masking, Pasting, Propagation
from contextual_attention.options import Options

ATTEND = torch.ops.contextual_attention.attend.default
ATTEND_MAP = torch.ops.contextual_attention.attend_map.default
BACKWARD = torch.ops.contextual_attention.attend_backward.default
WORKSPACE = 2**22


def operands(alpha=True, selected=False, dtype=torch.float32, batch=2):
    """foreground, background, alpha, beta, valid, selected, value: 3 x 4 positions over 2 x 5."""
    generator = torch.Generator().manual_seed(0)

    def random(*shape, dtype=dtype):
        return torch.randn(*shape, generator=generator).to(dtype)

    return [
        random(batch, 3, 4, 6),
        random(batch, 2, 5, 6),
        random(batch, 3, 4, dtype=torch.float32).abs() if alpha else None,
        random(batch, 2, 5, dtype=torch.float32).abs(),
        random(1, 2, 5) < 1,
        random(batch, 3, 4) < 1 if selected else None,
        random(batch, 3, 6, 8),
    ]


def differentiable(inputs):
    return [
        x.requires_grad_() if isinstance(x, torch.Tensor) and x.is_floating_point() else x for x in inputs
    ]


VARIANTS = [
    ({}, (10.0, 3, 1, 3, Propagation.AFTER_ZERO.value, Masking.EXCLUDE.value)),
    ({"alpha": False}, (10.0, 3, 1, 3, Propagation.BEFORE_WRAP.value, Masking.MULTIPLY.value)),
    ({"selected": True}, (5.0, 1, 2, 3, Propagation.BEFORE_ZERO.value, Masking.EXCLUDE.value)),
    ({"dtype": torch.bfloat16}, (5.0, 5, 1, 1, Propagation.NONE.value, Masking.EXCLUDE.value)),
]


def arguments_of_map(inputs, options, return_offsets, keep, batch=2):
    """Those of attend_map: a map of 6 x 7 pixels from cells of 2 x 2."""
    arguments = operands(**inputs, batch=batch)
    kept = torch.randn(batch, 2, 6, 7).to(arguments[0].dtype)
    weight = torch.rand(1, 4, 5)  # has no gradient: it depends on masks alone
    pasting = Pasting(weight, *differentiable([kept]), keep, 2, 6, 7)
    return (*differentiable(arguments), *pasting, *options, return_offsets, WORKSPACE)


@pytest.mark.parametrize("return_offsets", [False, True])
@pytest.mark.parametrize(("inputs", "options"), VARIANTS)
def test_attend_is_registered_properly(inputs, options, return_offsets):
    torch.library.opcheck(ATTEND, (*operands(**inputs), *options, return_offsets, WORKSPACE))


@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize(("inputs", "options"), VARIANTS)
def test_attend_map_is_registered_properly(inputs, options, keep):
    torch.library.opcheck(ATTEND_MAP, arguments_of_map(inputs, options, True, keep))


def test_its_map_is_that_of_its_cells():
    arguments = arguments_of_map(*VARIANTS[2], return_offsets=True, keep=True)
    given, pasting, scoring, how = interface.ATTEND_MAP.unpack(arguments)
    image, offsets, statistics = ATTEND_MAP(*arguments)
    summed, *others = ATTEND(*given, *scoring, *how)
    assert torch.equal(image, cells.paste(summed, *pasting))
    assert all(map(torch.equal, (offsets, statistics), others))


@pytest.mark.parametrize("needs", [0b11111, 0b10010, 0])
@pytest.mark.parametrize(("inputs", "options"), VARIANTS)
def test_attend_backward_is_registered_properly(inputs, options, needs):
    arguments = operands(**inputs)
    if arguments[2] is None:
        needs &= ~0b100
    summed, _, statistics = ATTEND(*arguments, *options, False, WORKSPACE)
    gradient = torch.ones_like(summed)
    torch.library.opcheck(BACKWARD, (*arguments, *options, gradient, statistics, needs, WORKSPACE))


@pytest.mark.parametrize("name", [name for name in interface.Operands._fields if name != "foreground"])
def test_operands_of_two_devices_are_refused(name):
    """By the operator itself, which would read memory that is not there."""
    given = interface.Operands(*operands(selected=True))
    elsewhere = given._replace(**{name: getattr(given, name).to("meta")})
    with pytest.raises(RuntimeError, match=f"{name} must be on the device of foreground"):
        ATTEND(*elsewhere, *VARIANTS[0][1], False, WORKSPACE)


@pytest.mark.parametrize("name", ["grad_cells", "statistics"])
def test_gradients_of_another_device_are_refused(name):
    given, scores = operands(), VARIANTS[0][1]
    summed, _, statistics = ATTEND(*given, *scores, False, WORKSPACE)
    of = interface.Gradient(torch.ones_like(summed), statistics, 0b1, WORKSPACE)
    with pytest.raises(RuntimeError, match=f"{name} must be on the device of foreground"):
        BACKWARD(*given, *scores, *of._replace(**{name: getattr(of, name).to("meta")}))


def test_what_has_no_dimensions_is_refused_by_name():
    given = interface.Operands(*operands())._replace(valid=torch.tensor(True))
    with pytest.raises(RuntimeError, match="valid does not have the shape"):
        ATTEND(*given, *VARIANTS[0][1], False, WORKSPACE)


class BackwardCalls(TorchDispatchMode):
    """Records what attend_backward was asked for and what it returned."""

    def __init__(self):
        super().__init__()
        self.calls = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        if function is BACKWARD:
            self.calls.append((args[-2], [x.numel() > 0 for x in result]))
        return result


@pytest.mark.parametrize("normalize", ["both", "background"])
@pytest.mark.parametrize(
    ("learns", "asked"),
    [
        ({"foreground"}, "foreground alpha"),
        ({"background"}, "background beta"),
        ({"value"}, "value"),
        ({"foreground", "background", "value"}, "foreground background alpha beta value"),
    ],
)
def test_only_the_gradients_asked_for_are_computed(learns, asked, normalize):
    maps = {name: torch.randn(1, 2, 6, 6) for name in ("foreground", "background", "value")}
    for name in learns:
        maps[name].requires_grad_()
    wanted = [name in asked.split() for name in ("foreground", "background", "alpha", "beta", "value")]
    wanted[2] &= normalize == "both"
    output = contextual_attention(**maps, normalize=normalize, backend="cpu")
    with BackwardCalls() as recorded:
        output.sum().backward()
    assert recorded.calls == [(sum(1 << i for i, want in enumerate(wanted) if want), wanted)]
    assert {name for name, x in maps.items() if x.grad is not None} == learns


def test_nothing_is_kept_for_a_backward_that_cannot_come():
    x = torch.randn(1, 2, 6, 6)
    assert not contextual_attention(x, x, backend="cpu").requires_grad
    x.requires_grad_()
    output, offsets = contextual_attention(x, x, backend="cpu", return_offsets=True)
    assert output.requires_grad
    assert not offsets.requires_grad
    with torch.no_grad():
        assert not contextual_attention(x, x, backend="cpu").requires_grad


def test_a_second_derivative_names_the_way_out():
    x = torch.randn(1, 2, 6, 6, requires_grad=True)

    def penalty(backend):
        output = contextual_attention(x, x, backend=backend)
        (slope,) = torch.autograd.grad(output.square().sum(), x, create_graph=True)
        return torch.autograd.grad(slope.square().sum(), x)[0]

    with pytest.raises(NotImplementedError, match='backend="reference"'):
        penalty("cpu")
    assert penalty("reference").abs().sum() > 0


def problem(batch, height, width, background_height, background_width):
    """Maps with a value at 2 times and a mask at 4 times their resolution, and a foreground mask."""
    generator = torch.Generator().manual_seed(height)

    def random(*shape):
        return torch.randn(*shape, generator=generator)

    return {
        "foreground": random(batch, 6, height, width).requires_grad_(),
        "background": random(batch, 6, background_height, background_width).requires_grad_(),
        "mask": random(batch, 1, 4 * background_height, 4 * background_width) > 2,
        "value": random(batch, 7, 2 * background_height, 2 * background_width).requires_grad_(),
        "foreground_mask": random(1, 1, height, width) > 0,
        "return_offsets": True,
    }


def solve(layer, arguments):
    output, offsets = layer(**arguments)
    leaves = [arguments[name] for name in ("foreground", "background", "value")]
    return output, offsets, *torch.autograd.grad(output.square().sum(), leaves)


# (batch, height, width, background height, background width). In the first of each no two are equal, nor
# equal to a number of channels: torch.compile takes equal ones for one.
ODD = ((2, 8, 12, 16, 20), (3, 7, 9, 11, 13), (4, 21, 14, 10, 18))
EVEN = ((2, 8, 12, 16, 20), (3, 14, 10, 6, 24))  # downscale="aligned" takes multiples of rate


@pytest.mark.parametrize(("preset", "sizes"), [("paper", ODD), ("yu2018", EVEN)])
def test_one_compiled_graph_serves_all_sizes(preset, sizes):
    torch._dynamo.reset()
    layer = ContextualAttention.from_preset(preset, backend="cpu")
    counter = CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(layer, fullgraph=True, dynamic=True, backend=counter)
    solve(compiled, problem(*sizes[0]))
    graphs = counter.frame_count
    for size in sizes[1:]:
        arguments = problem(*size)
        # The same kernels on the same numbers: only the eager code between them could round differently.
        for got, expected in zip(solve(compiled, arguments), solve(layer, arguments), strict=True):
            torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-6)
    assert counter.frame_count == graphs


def test_inductor_compiles_the_layer():
    """It sums norms in another order, and sums of mixed signs make of that any relative error of an entry: so
    the whole is compared, with float64, by the bounds that every backend has to meet.
    """
    torch._dynamo.reset()
    options = Options.from_preset("mmagic")
    arguments = problem(2, 8, 12, 16, 20)
    del arguments["return_offsets"]
    given = arguments | vars(options)
    compiled = torch.compile(ContextualAttention.from_preset("mmagic", backend="cpu"), fullgraph=True)
    output, offsets = compiled(**arguments, return_offsets=True)
    exact, _, slopes = compare.solve(compare.in_dtype(given, torch.float64), "reference")
    compare.assert_near("output", output.detach(), exact, compare.steepness(given) * compare.FORWARD)
    compare.assert_offsets_reach_the_top(given, offsets)
    compare.assert_gradients_near(given, compare.gradients(given, output), slopes)


@pytest.mark.parametrize("dynamic", [True, None])
def test_the_function_compiles_whatever_its_options(dynamic):
    """Numbers that change from call to call become symbols, which the checks of options have to read."""
    torch._dynamo.reset()
    compiled = torch.compile(contextual_attention, dynamic=dynamic, fullgraph=True, backend="eager")
    x = torch.randn(1, 3, 6, 8)
    for options in (
        {"softmax_scale": 10.0},
        {"softmax_scale": 2.5},
        {"softmax_scale": 7},
        {"ksize": 5, "eps": 0.1},
    ):
        assert torch.equal(compiled(x, x, **options), contextual_attention(x, x, **options))


def test_export_keeps_sizes_dynamic():
    layer = ContextualAttention(backend="cpu")
    batch, *sizes = (torch.export.Dim.DYNAMIC for _ in range(3))
    shapes = {"foreground": (batch, None, *sizes), "background": (batch, None, *sizes)}
    first, other = ((torch.randn(*a), torch.randn(*b)) for a, b in (
        ((2, 6, 8, 12), (2, 6, 16, 20)), ((3, 6, 7, 9), (3, 6, 11, 13)),
    ))  # fmt: skip
    exported = torch.export.export(layer, first, dynamic_shapes=shapes).module()
    assert torch.equal(exported(*other), layer(*other))


def test_a_trace_with_gradients_can_be_saved(tmp_path):
    """It has the operators in it: a Function of Python could not be written down."""

    class Network(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.before, self.layer = torch.nn.Conv2d(3, 3, 1), ContextualAttention(backend="cpu")

        def forward(self, image):
            features = self.before(image)
            return self.layer(features, features)

    network, image = Network(), torch.randn(1, 3, 6, 8)
    torch.jit.trace(network, image).save(tmp_path / "traced.pt")
    assert torch.equal(torch.jit.load(tmp_path / "traced.pt")(image), network(image))


@torch.inference_mode()
def test_inference_mode_records_nothing():
    """As with torch's own operators, even where gradients are enabled within."""
    with torch.inference_mode(False):
        x = torch.randn(1, 3, 6, 8, requires_grad=True)
    with torch.enable_grad():
        assert not contextual_attention(x, x, backend="cpu").requires_grad


def test_a_backward_bears_its_operators_name():
    """In profiles and in what autograd says of an error."""
    x = torch.randn(1, 4, 8, 8, requires_grad=True)
    node = contextual_attention(x, x, backend="cpu").grad_fn
    assert node.name() == "attend_mapBackward"
    before = {each.name() for each, _ in node.next_functions if each is not None}
    assert {"pickBackward", "cutBackward"} <= before
