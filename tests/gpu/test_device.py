"""Streams, graphs, compilation, memory: how the backends live on a GPU."""

from functools import partial

import pytest
import torch
from helpers import footprint
from helpers.compare import assert_near
from problems import features, relative_error

from contextual_attention import ContextualAttention, attention_weights, contextual_attention

MIB = 2**20


def layer_and_input(backend, preset="paper", dtype=torch.float32, size=64, channels=32):
    x = features(2, channels, size, size, dtype=dtype)
    return ContextualAttention.from_preset(preset, backend=backend), x


def test_a_stream_of_ones_own(backend):
    layer, x = layer_and_input(backend)
    expected = layer(x, x)
    torch.cuda.synchronize()
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        # Long enough that work on another stream would come too early.
        slow = features(4096, 4096)
        for _ in range(20):
            slow = slow @ slow * 1e-3
        late = x + 0 * slow.flatten()[0].nan_to_num(0, 0, 0)
        output = layer(late, late)
    stream.synchronize()
    assert torch.equal(output, expected)


@pytest.mark.parametrize("preset", ["paper", "yu2018"])
def test_cuda_graph(backend, preset):
    """Forward and backward are captured, and replayed on other numbers."""
    layer, x = layer_and_input(backend, preset, torch.bfloat16)
    x.requires_grad_()
    gradient = torch.randn_like(x)

    def step():
        return torch.autograd.grad(layer(x, x), x, gradient)[0]

    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = step()
    with torch.no_grad():
        x.copy_(torch.randn_like(x))
    graph.replay()
    assert torch.equal(captured, step())


@pytest.mark.long
@pytest.mark.parametrize("preset", ["paper", "mmagic"])
def test_compile(backend, preset):
    torch._dynamo.reset()
    layer, x = layer_and_input(backend, preset)
    x.requires_grad_()
    compiled = torch.compile(layer, fullgraph=True)
    for found, expected in zip(
        (compiled(x, x), *torch.autograd.grad(compiled(x, x).square().sum(), x)),
        (layer(x, x), *torch.autograd.grad(layer(x, x).square().sum(), x)),
        strict=True,
    ):
        # Inductor sums the norms in another order; the softmax passes that on.
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_autocast(backend):
    layer, x = layer_and_input(backend)
    with torch.autocast("cuda", torch.bfloat16):
        assert layer(x, x).dtype == torch.bfloat16


def test_no_synchronisation(backend):
    layer, x = layer_and_input(backend)
    x.requires_grad_()
    layer(x, x).sum().backward()
    torch.cuda.set_sync_debug_mode("error")
    try:
        output = layer(x, x)
        torch.autograd.grad(output, x, torch.ones_like(output))
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_two_devices_are_refused(backend):
    x = features(1, 4, 8, 8)
    with pytest.raises(ValueError, match="background: expected to be on cuda:0 with the features, got cpu"):
        contextual_attention(x, x.cpu(), backend=backend)


# CUDA's are 13 or 14 of its own in half precision; a product may take a kernel more.
MOST_LAUNCHES = {"cuda": 16, "triton": 60}


def test_launches_of_a_small_map(backend, record_property):
    """A batch of 16 images of 256 x 256 is one strip."""
    layer, x = layer_and_input(backend, dtype=torch.bfloat16)
    x = features(16, 128, 64, 64, dtype=torch.bfloat16)
    layer(x, x)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        layer(x, x)
        torch.cuda.synchronize()
    launches = sum(event.count for event in profile.key_averages() if event.device_time_total > 0)
    record_property("launches", launches)
    print(f"{backend}: {launches} kernels and copies, 16 x 256 x 256 forward")
    assert launches <= MOST_LAUNCHES[backend]


def held(function):
    """What it returns, and the most bytes that it held at once."""
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    result = function()
    torch.cuda.synchronize()
    return result, torch.cuda.max_memory_allocated() - before


def alive_at_the_peak(function):
    """The sizes in MiB of what it holds at its peak, the largest first: beside footprint.py's table."""
    torch.cuda.memory._record_memory_history(context=None)
    try:
        function()
        torch.cuda.synchronize()
        events = torch.cuda.memory._snapshot()["device_traces"][torch.cuda.current_device()]
    finally:
        torch.cuda.memory._record_memory_history(enabled=None)
    alive, peak, held = {}, {}, 0
    for event in events:
        if event["action"] == "alloc":
            alive[event["addr"]] = event["size"]
        elif event["action"] == "free_requested":
            alive.pop(event["addr"], None)
        if sum(alive.values()) > held:
            held, peak = sum(alive.values()), dict(alive)
    return [round(size / MIB, 1) for size in sorted(peak.values(), reverse=True) if size > MIB]


def assert_held(grown, most, function):
    # A list is short enough for the digest of a session.
    assert grown <= most, f"{grown} of {most} bytes; MiB at the peak: {alive_at_the_peak(function)}"


def most_bytes(backend, x, workspace):
    """footprint.py's, and what torch's allocator adds: up to a megabyte to a block, which it does not split.

    Of blocks that are large enough for that not 14 are held at once.
    """
    most = footprint.triton_bytes if backend == "triton" else footprint.most_bytes
    return most(x, workspace) + 14 * MIB


def warm_up(backend, x):
    """cuBLAS keeps a workspace of its own from its first product on, in autograd's thread another one."""
    footprint.solve(x.detach()[..., :32, :32].requires_grad_(x.requires_grad), backend=backend)


@pytest.mark.long
@pytest.mark.parametrize("image", [2048, 4096])
def test_a_large_image_fits(backend, image):
    """In what must be held at once; right where it is looked at."""
    side = image // 4
    x = features(1, 128, side, side, dtype=torch.bfloat16)
    workspace = 256 * MIB
    with torch.no_grad():
        warm_up(backend, x)
        solve = partial(footprint.solve, x, backend=backend, workspace=workspace)
        output, grown = held(solve)
        assert_held(grown, most_bytes(backend, x, workspace), solve)
    assert relative_error(pixels(output, side), exact_pixels(x, side)) < 1e-2


@pytest.mark.long
def test_a_large_image_learns(backend):
    x = features(1, 128, 512, 512, dtype=torch.bfloat16).requires_grad_()
    workspace = 256 * MIB
    warm_up(backend, x)
    solve = partial(footprint.solve, x, backend=backend, workspace=workspace)
    gradient, grown = held(solve)
    assert gradient.isfinite().all()
    del gradient
    assert_held(grown, most_bytes(backend, x, workspace), solve)


def rows_to_check(side):
    """Downscaled positions (row, column), all of them inside."""
    half = side // 2
    return torch.tensor([[3, 5], [half // 2, half // 3], [half - 2, half - 4], [1, half - 2]])


def pixels(output, side):
    """The pixel at rate * (row, column), of each position: (positions, C)."""
    at = 2 * rows_to_check(side)
    return output[0][:, at[:, 0], at[:, 1]].T


def exact_pixels(x, side):
    """The same by float64 rows of the reference's weights: a mean over the four patches that cover it."""
    wide = x.double()
    total = 0
    for down in (0, 1):
        for right in (0, 1):
            queries = rows_to_check(side) - torch.tensor([down, right])
            weights = attention_weights(wide, wide, queries=queries)[0]  # (positions, h, w)
            # Patch q begins at 2 q - 1: the pixel of its own position is its second one, and with the patch
            # one position before, its fourth.
            shifted = torch.nn.functional.pad(wide, (0, 2, 0, 2))[0, :, 2 * down :: 2, 2 * right :: 2]
            shifted = shifted[:, : weights.shape[1], : weights.shape[2]]
            total = total + torch.einsum("qyx,cyx->qc", weights, shifted) / 4
    return total


def test_exact_pixels_are_those_of_the_reference():
    x = features(1, 4, 40, 40)
    output = contextual_attention(x.double(), x.double(), backend="reference")
    assert_near("pixels", pixels(output, 40), exact_pixels(x, 40), 1e-12)
