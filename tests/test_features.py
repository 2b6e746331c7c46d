"""What is around the operator on a GPU, by its kernels' bodies in host loops: as the tensor code has it."""

import pytest
import torch
from helpers.features_alike import HALF, assert_alike, assert_cells_alike
from hypothesis import given, settings
from hypothesis import strategies as st
from test_backends_agree import poisoned  # noqa: F401  (a fixture)
from test_operators import EVEN, ODD, solve
from test_operators import problem as problem_of
from test_random_problems import problems
from torch._dynamo.testing import CompileCounterWithBackend
from torch.utils._python_dispatch import TorchDispatchMode

from contextual_attention import ContextualAttention, cells, contextual_attention, features, positions
from contextual_attention.interface import Maps
from contextual_attention.options import PRESETS, Options
from contextual_attention.testing import CASES, LAYOUTS, make_inputs

BY_NAME = {case.name: case for case in CASES}


@pytest.fixture
def road(cuda_on_host):
    return cuda_on_host.road


@pytest.mark.usefixtures("poisoned")
@pytest.mark.parametrize("name", BY_NAME)
def test_every_case(road, name):
    problem = make_inputs(BY_NAME[name], requires_grad=True)
    assert_alike(road, problem)
    assert_alike(road, problem | {"background": problem["foreground"], "mask": problem["foreground_mask"]})


@settings(max_examples=300)
@given(problem=problems(), data=st.data())
def test_random_problems(cuda_module, problem, data):
    dtype = data.draw(st.sampled_from([torch.float32, *HALF]))
    layout = LAYOUTS[data.draw(st.sampled_from(list(LAYOUTS)))]
    learns = problem["foreground"].requires_grad

    def remade(x):
        return layout(x.detach().to(dtype)).requires_grad_(learns)

    maps = {name: remade(problem[name]) for name in ("foreground", "background")}
    if data.draw(st.booleans()):
        maps["background"] = maps["foreground"]
        if problem["mask"] is not None:
            maps["mask"] = problem["foreground_mask"]
    assert_alike(cuda_module.road, problem | maps)


@pytest.mark.parametrize("dtype", [torch.float32, *HALF, torch.float64, torch.bool], ids=str)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_masks_of_every_kind(road, dtype, layout):
    """Zero of either sign is known, and NaN is missing."""
    mask = torch.zeros(2, 1, 12, 18)
    mask[0, 0, 3, 4], mask[1, 0, 7, 9], mask[:, :, 0] = float("nan"), -1e-7, -0.0
    mask = LAYOUTS[layout](mask.to(dtype))
    for excluded in (False, True):
        for rule in ("any", "sampled"):
            chosen = Options(rate=3, mask_downscale=rule)
            over = torch.empty(2, 1, 6, 9)
            found, expected = (
                each.flag(mask, over, excluded, chosen) for each in (road, features.TENSOR_CODE)
            )
            assert all(map(torch.equal, found, expected))


# Groups of channels that are whole and lie at multiples of 16 bytes are moved at once.
@pytest.mark.parametrize("channels", [8, 24, 40, 9, 7])
@pytest.mark.parametrize("dtype", [torch.float32, *HALF], ids=str)
@pytest.mark.parametrize("offset", [0, 1])
def test_groups_of_channels(cuda_on_host, channels, dtype, offset):
    """Also by launches, in both orders of their threads: the same bits but for the order of sums."""

    def apart(*shape):
        x = torch.randn(torch.Size(shape).numel() + offset).to(dtype)
        return x[offset:].view(shape)

    image, flags = apart(2, channels, 9, 14), torch.rand(1, 6, 8) < 0.7
    pieces = apart(2, 6, 8, channels * 4)
    weight = torch.rand(2, 6, 8) * flags
    way = cuda_on_host.Way
    for runs in ((way.loops,), (way.launches,), (way.launches, True)):
        cuda_on_host.run_by(*runs)
        problem = {"foreground": image.detach().requires_grad_(), "mask": None, "foreground_mask": None}
        problem |= {"background": problem["foreground"], **vars(Options())}
        assert_alike(cuda_on_host.road, problem)
        assert_alike(cuda_on_host.road, problem | {"foreground_mask": torch.rand(1, 1, 9, 14) > 0.9})
        assert_cells_alike("_on_host", image, pieces, weight, flags)


def test_nan_that_nobody_reads_goes_nowhere(road):
    x = torch.randn(1, 3, 16, 16)
    mask = torch.zeros(1, 1, 16, 16)
    mask[..., 4:12, 4:12] = 1
    x[mask.expand_as(x) > 0] = float("nan")
    x.requires_grad_()
    read = road.flag(mask, x, True, Options()).read
    found = road.take(Maps(x, None, None, read), Options(normalize="background"))
    (found.keys.square().sum() + found.beta.sum()).backward()
    assert found.keys.isfinite().all()
    assert x.grad.isfinite().all()
    assert (x.grad[mask.expand_as(x) > 0] == 0).all()


def test_what_is_saved_may_come_back_in_another_layout(road):
    """As hooks of a caller's give it."""
    f, b = (torch.randn(2, 3, *size, requires_grad=True) for size in ((6, 8), (4, 10)))

    def slopes():
        found = road.take(Maps(f, b, None, None), Options())
        return torch.autograd.grad(sum((x**2).sum() for x in found[:4]), (f, b))

    def turned(x):
        return x.transpose(1, 2) if x.dim() > 2 else x

    expected = slopes()
    with torch.autograd.graph.saved_tensors_hooks(lambda x: turned(x).contiguous(), turned):
        assert all(map(torch.equal, slopes(), expected))


def test_more_samples_than_a_grid_takes(cuda_on_host):
    """Launches of CUDA take 65,535: the last few go by themselves."""
    samples = 65_535 + 3
    cuda_on_host.take_launch_count()
    x = torch.randn(samples, 1, 1, 1, requires_grad=True)
    assert_alike(
        cuda_on_host.road,
        {"foreground": x, "background": x, "mask": None, "foreground_mask": None, **vars(Options())},
    )
    pieces = torch.ops.contextual_attention.cut_on_host(x.detach(), 2, 2, 2, None)
    assert torch.equal(pieces, cells._cut._init_fn(x.detach(), 2, 2, 2, None))
    assert cuda_on_host.take_launch_count() == 2 * 5


@pytest.mark.parametrize("size", range(1, 70))
@pytest.mark.parametrize("rate", [1, 2, 3])
def test_the_pixel_of_a_position_and_the_position_of_a_pixel(cuda_module, size, rate):
    """By the rounding of float32, and its adjoint: each pixel's slope says how often it was read."""
    chosen = Options(rate=rate, downscale="aligned", ksize=1)
    x = torch.arange(1.0, rate * size + 1).expand(1, 1, rate, -1).clone().requires_grad_()
    found = cuda_module.road.take(Maps(x, None, None, None), chosen)
    assert torch.equal(found.queries, positions.downscale(x, None, chosen))
    (slope,) = torch.autograd.grad(found.queries.sum(), x)
    (expected,) = torch.autograd.grad(positions.downscale(x, None, chosen).sum(), x)
    assert torch.equal(slope, expected)


def flag(height=4, rate=1, stride=1):
    mask = torch.zeros(1, 1, 8, 8)
    operator = torch.ops.contextual_attention.flag_positions_on_host
    return operator(mask, height, 4, rate, False, False, 3, stride, 1, False, True, True)


def take_back(pixels=(4, 4), norms=(4, 4), dtype=torch.float32):
    queries, keys = torch.zeros(1, 4, 4, 3), torch.zeros(1, *pixels, 3, dtype=dtype)
    alpha, beta = torch.zeros(1, 4, 4), torch.zeros(1, *norms)
    gradients = torch.zeros_like(queries), torch.zeros_like(keys), None, torch.zeros(1, *pixels)
    operator = torch.ops.contextual_attention.take_features_on_host_backward
    how = (1, False, 3, 1e-4, False, 4, 4, 4, 4, True, 1)
    return operator(queries, keys, alpha, beta, None, None, *gradients, *how)


@pytest.mark.usefixtures("cuda_on_host")
@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: flag(height=0), "no positions"),
        (lambda: flag(rate=0), "no positions"),
        (lambda: flag(stride=0), "must be positive"),
        (lambda: take_back(pixels=(3, 4)), "not those of a map"),
        (lambda: take_back(dtype=torch.float16), "not those of a map"),
        (lambda: take_back(norms=(2, 2)), "norms must have an entry"),
    ],
)
def test_operators_called_by_themselves_check_their_arguments(call, said):
    """Without it the process ends, or reads beyond its tensors."""
    with pytest.raises(RuntimeError, match=said):
        call()


@pytest.mark.parametrize("flagged", [False, True])
@pytest.mark.parametrize("preset", ["paper", "yu2018", "daa233"])
def test_they_are_registered_properly(cuda_on_host, preset, flagged):
    operators = torch.ops.contextual_attention
    f, b = (torch.randn(2, 3, *size, requires_grad=True) for size in ((6, 8), (4, 10)))
    mask = torch.rand(1, 1, 4, 10) > 0.8
    o = PRESETS[preset]
    where = (o.rate, o.downscale == "aligned")
    for excludes in (False, True):
        arguments = (mask, 4, 10, *where, True, o.ksize, 1, 3, True, excludes, True)
        torch.library.opcheck(operators.flag_positions_on_host.default, arguments)
    read = torch.rand(1, 2, 5) > 0.3 if flagged else None
    how = (*where, o.ksize, o.eps, o.eps_mode == "sum")
    for background in (b, None):
        given = read if background is not None else None
        torch.library.opcheck(
            operators.take_features_on_host.default,
            (f, background, None, given, *how, o.normalize == "both", True),
        )


def test_vmap_goes_through(cuda_on_host):
    f, b = torch.randn(3, 2, 4, 6, 8), torch.randn(2, 4, 6, 8)
    masks = torch.rand(3, 1, 1, 6, 8) > 0.9
    for mask, dim in ((None, None), (masks, 0), (masks[0], None)):

        def solved(f, mask):
            return contextual_attention(f, b, mask, foreground_mask=mask, backend="cuda")

        found = torch.func.vmap(solved, in_dims=(0, dim))(f, mask)
        for i in range(3):
            torch.testing.assert_close(found[i], solved(f[i], mask if dim is None else mask[i]))


class Called(TorchDispatchMode):
    """The operators that run, one after the other."""

    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.names.append(str(function).split(".")[1])
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("preset", ["paper", "yu2018"])
def test_a_forward_is_few_launches(cuda_on_host, preset):
    """None but those of three operators, twelve at most: what a small map takes is their time."""
    x = torch.randn(16, 8, 16, 16)
    cuda_on_host.take_launch_count()
    with Called() as called:
        contextual_attention(x, x, **vars(PRESETS[preset]), backend="cuda")
    assert called.names == ["take_features_on_host", "cut", "attend_on_host_map"]
    assert cuda_on_host.take_launch_count() <= 12


def test_masks_are_few_launches(cuda_on_host):
    x, mask = torch.randn(2, 8, 16, 16), torch.rand(1, 1, 64, 64) > 0.99
    cuda_on_host.take_launch_count()
    with Called() as called:
        contextual_attention(x, x, mask, foreground_mask=mask, backend="cuda")
    flags = ["flag_positions_on_host"] * 2
    assert called.names == [*flags, "take_features_on_host", "cut", "attend_on_host_map"]
    # Keys and queries apart: one more; of each mask, downscaled, and what is read; the candidates.
    assert cuda_on_host.take_launch_count() == 11 + 1 + 2 * 2 + 1


@pytest.mark.parametrize(("preset", "sizes"), [("paper", ODD), ("yu2018", EVEN)])
def test_one_compiled_graph_serves_all_sizes(cuda_on_host, preset, sizes):
    torch._dynamo.reset()
    layer = ContextualAttention.from_preset(preset, backend="cuda")
    counter = CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(layer, fullgraph=True, dynamic=True, backend=counter)
    solve(compiled, problem_of(*sizes[0]))
    graphs = counter.frame_count
    for size in sizes[1:]:
        arguments = problem_of(*size)
        for got, expected in zip(solve(compiled, arguments), solve(layer, arguments), strict=True):
            torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-6)
    assert counter.frame_count == graphs


def test_torch_func_goes_through(cuda_on_host):
    """Reverse mode of everything, forward mode of the value alone."""
    f, b = torch.randn(2, 3, 6, 5), torch.randn(2, 3, 6, 5)
    v, tangent = torch.randn(2, 2, 12, 10), torch.randn(2, 2, 12, 10)
    mask = torch.rand(1, 1, 6, 5) > 0.8

    def solved(f, b, v):
        return contextual_attention(f, b, mask, value=v, backend="cuda")

    _, slope = torch.func.jvp(lambda v: solved(f, b, v), (v,), (tangent,))
    torch.testing.assert_close(slope, solved(f, b, tangent))
    leaves = [x.clone().requires_grad_() for x in (f, b, v)]
    expected = torch.autograd.grad(solved(*leaves).square().sum(), leaves)
    found = torch.func.grad(lambda *maps: solved(*maps).square().sum(), (0, 1, 2))(f, b, v)
    assert all(map(torch.equal, found, expected))
    with pytest.raises(NotImplementedError, match='backend="reference"'):
        torch.func.jvp(lambda f: solved(f, b, v), (f,), (f,))
    once = torch.autograd.grad(solved(*leaves).square().sum(), leaves[0], create_graph=True)[0].sum()
    with pytest.raises(NotImplementedError, match='backend="reference"'):
        torch.autograd.grad(once, leaves[0])
