import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from contextual_attention import attention_weights, backends, contextual_attention, functional

BACKENDS = ["cpu", "reference"]
# Both backends accumulate in float32, in different orders.
ROUNDING = {"rtol": 1e-5, "atol": 1e-6}


def features(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("backend", BACKENDS)
def test_two_pixels_by_hand(backend):
    """Orthonormal features: s = 1 for itself, 0 for the other; with scale ln 3 the weights are 3/4, 1/4."""
    maps = torch.eye(2).reshape(1, 2, 1, 2)
    value = torch.tensor([10.0, 20.0]).reshape(1, 1, 1, 2)
    output, offsets = contextual_attention(
        maps,
        maps,
        value=value,
        ksize=1,
        rate=1,
        fuse=False,
        softmax_scale=math.log(3),
        backend=backend,
        return_offsets=True,
    )
    # Position 0 pastes [10, 20] * 3/4 + [20, 0] * 1/4 from column 0 on, position 1 [17.5, .] from column 1.
    torch.testing.assert_close(output, torch.tensor([12.5, (15 + 17.5) / 2]).reshape(1, 1, 1, 2), **ROUNDING)
    assert torch.equal(offsets, torch.zeros(1, 2, 1, 2, dtype=torch.int64))


@pytest.mark.parametrize("backend", BACKENDS)
def test_what_no_selected_patch_covers_is_kept(backend):
    x = features(1, 2, 8, 8).requires_grad_()
    y = features(1, 2, 8, 8, seed=1)
    hole = torch.zeros(1, 1, 8, 8)
    hole[..., 2, 2] = 1
    output = contextual_attention(x, y, foreground_mask=hole, backend=backend)
    kept = torch.ones(8, 8, dtype=torch.bool)
    kept[1:5, 1:5] = False  # the 4 x 4 patch around the downscaled pixel (1, 1)
    assert torch.equal(output[..., kept], x[..., kept])
    assert (output[..., ~kept] != x[..., ~kept]).all()
    (gradient,) = torch.autograd.grad(output[..., kept].sum(), x)
    # What is kept passes its gradient straight on; nothing else sees it.
    assert torch.equal(gradient, kept.float().expand(1, 2, 8, 8))
    other_kind = contextual_attention(x, y, value=features(1, 3, 8, 8), foreground_mask=hole, backend=backend)
    assert (other_kind[..., kept] == 0).all()


def failing(**wrong):
    """Arguments of a good call with some replaced."""
    return {"foreground": features(2, 3, 8, 6), "background": features(2, 3, 4, 10), **wrong}


_BACKEND_EXPECTED = f"backend: expected None or one of {', '.join(backends.available_backends())}, got 'gpu'"
BAD_ARGUMENTS = {
    "not a tensor": (failing(foreground=[[1.0]]), TypeError, "foreground: expected a tensor, got list"),
    "rank": (failing(background=torch.ones(3, 4, 10)), ValueError, "background: expected 4 dimensions"),
    "integers": (
        failing(foreground=torch.ones(2, 3, 8, 6, dtype=torch.int64)),
        TypeError,
        "foreground: expected float32, bfloat16, float16 or float64, got torch.int64",
    ),
    "complex": (failing(background=torch.ones(2, 3, 4, 10) * 1j), TypeError, "background: expected float32"),
    "sparse": (
        failing(foreground=torch.ones(2, 3, 8, 6).to_sparse()),
        TypeError,
        "foreground: expected a dense",
    ),
    "no pixels": (
        failing(background=torch.ones(2, 3, 0, 4)),
        ValueError,
        "background: expected at least one",
    ),
    "no channels": (
        failing(foreground=torch.ones(2, 0, 4, 4)),
        ValueError,
        "foreground: expected at least one",
    ),
    "batches": (failing(background=features(1, 3, 4, 10)), ValueError, "foreground, 2, got 1"),
    "channels": (
        failing(background=features(2, 4, 4, 10)),
        ValueError,
        "background: expected as many channels",
    ),
    "dtypes": (failing(background=features(2, 3, 4, 10).half()), TypeError, "background: expected the dtype"),
    "devices": (
        failing(background=torch.ones(2, 3, 4, 10, device="meta")),
        ValueError,
        "background: expected to be on cpu with the features, got meta",
    ),
    "value's size": (
        failing(value=features(2, 3, 8, 10)),
        ValueError,
        "value: expected the height and width",
    ),
    "value's ratio": (
        failing(value=features(2, 3, 6, 15)),
        ValueError,
        "value: expected the height and width",
    ),
    "value's dtype": (failing(value=features(2, 3, 4, 10).double()), TypeError, "value: expected the dtype"),
    "value's batch": (failing(value=features(3, 3, 4, 10)), ValueError, "value: expected as many samples"),
    "mask's size": (
        failing(mask=torch.ones(2, 1, 4, 20)),
        ValueError,
        "mask: expected the height and width of background, (4, 10), times one integer >= 1, got (4, 20)",
    ),
    "mask too small": (
        failing(mask=torch.ones(2, 1, 2, 5)),
        ValueError,
        "mask: expected the height and width",
    ),
    "mask's rank": (failing(mask=torch.ones(4, 10)), ValueError, "mask: expected shape (B or 1, 1, height"),
    "mask's channels": (failing(mask=torch.ones(2, 3, 4, 10)), ValueError, "mask: expected shape (B or 1, 1"),
    "mask's batch": (failing(mask=torch.ones(3, 1, 4, 10)), ValueError, "mask: expected 2 samples, or 1"),
    "mask's dtype": (
        failing(mask=torch.ones(2, 1, 4, 10).int()),
        TypeError,
        "got torch.int32; pass mask != 0",
    ),
    "mask's device": (
        failing(mask=torch.ones(2, 1, 4, 10, device="meta")),
        ValueError,
        "mask: expected to be",
    ),
    "mask's type": (failing(mask=1.0), TypeError, "mask: expected a tensor, got float"),
    "foreground mask's size": (
        failing(foreground_mask=torch.ones(2, 1, 4, 10)),
        ValueError,
        "foreground_mask: expected the height and width of foreground, (8, 6)",
    ),
    "aligned sizes": (
        failing(downscale="aligned", rate=4),
        ValueError,
        'foreground: expected height and width in multiples of rate, 4, for downscale="aligned"',
    ),
    "option": (failing(ksize=4), ValueError, "ksize: expected an odd integer"),
    "rate 0": (failing(rate=0), ValueError, "rate: expected an integer >= 1, got 0"),
    "options": (failing(boundary="wrap"), ValueError, "boundary: "),
    "backend": (failing(backend="gpu"), ValueError, _BACKEND_EXPECTED),
    "workspace's type": (failing(workspace=1.5), TypeError, "workspace: expected None or a number of bytes"),
    "workspace": (failing(workspace=0), ValueError, "workspace: expected at least 1 byte, got 0"),
    "little workspace": (failing(workspace=1, backend="cpu"), ValueError, "workspace: expected at least"),
}


@pytest.mark.parametrize(("arguments", "error", "message"), BAD_ARGUMENTS.values(), ids=BAD_ARGUMENTS)
def test_a_bad_argument_is_named(arguments, error, message):
    with pytest.raises(error) as raised:
        contextual_attention(**arguments)
    assert message in str(raised.value)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_casts_as_torchs_attention_does(dtype, backend):
    maps = features(1, 4, 6, 6).requires_grad_()
    value = features(1, 2, 6, 6, seed=1).to(torch.float16)
    with torch.autocast("cpu", dtype):
        peer = F.scaled_dot_product_attention(*[maps.flatten(2)] * 3)
        output = contextual_attention(maps, maps.detach(), value=value, backend=backend)
    assert output.dtype == peer.dtype == dtype
    low = maps.detach().to(dtype)
    assert torch.equal(output, contextual_attention(low, low, value=value.to(dtype), backend=backend))
    (gradient,) = torch.autograd.grad(output.sum(), maps)
    assert gradient.dtype == torch.float32


def test_a_backward_inside_autocast_is_the_same():
    maps = features(1, 4, 6, 6).requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        output = contextual_attention(maps, maps, backend="cpu")
        (inside,) = torch.autograd.grad(output.sum(), maps, retain_graph=True)
    assert torch.equal(inside, torch.autograd.grad(output.sum(), maps)[0])


def test_autocast_leaves_float64_alone():
    maps = features(1, 2, 4, 4).double()
    with torch.autocast("cpu", torch.bfloat16):
        assert contextual_attention(maps, maps).dtype == torch.float64
        with pytest.raises(TypeError, match=r"background: expected the dtype of foreground, torch\.float64"):
            contextual_attention(maps, maps.float())


def test_disabled_autocast_casts_nothing():
    maps = features(1, 2, 4, 4)
    with torch.autocast("cpu", torch.bfloat16), torch.autocast("cpu", enabled=False):
        assert contextual_attention(maps, maps).dtype == torch.float32


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_empty_batch_works(backend):
    maps = features(0, 3, 5, 4).requires_grad_()
    value = features(0, 2, 10, 8).requires_grad_()
    masks = {"mask": torch.ones(1, 1, 5, 4), "foreground_mask": torch.ones(0, 1, 5, 4)}
    output, offsets = contextual_attention(
        maps, maps, value=value, **masks, backend=backend, return_offsets=True
    )
    assert output.shape == (0, 2, 10, 8)
    assert offsets.shape == (0, 2, 3, 2)
    for x, gradient in zip((maps, value), torch.autograd.grad(output.sum(), (maps, value)), strict=True):
        assert gradient.shape == x.shape


@pytest.mark.parametrize("backend", BACKENDS)
def test_sums_of_large_halves_do_not_overflow(backend):
    """Four patches overlap: their sum is four times the largest float16 here, their mean is not."""
    maps = features(1, 2, 6, 6).half()
    value = torch.full((1, 1, 6, 6), 60000.0, dtype=torch.float16)
    output = contextual_attention(maps, maps, value=value, rate=1, ksize=1, fuse=False, backend=backend)
    assert torch.isfinite(output).all()


LAYOUTS = {
    "channels last": lambda x: x.contiguous(memory_format=torch.channels_last),
    "transposed": lambda x: x.mT.contiguous().mT,
    "a slice": lambda x: F.pad(x, (1, 2, 3, 4))[..., 3:-4, 1:-2],
    "every other": lambda x: x.repeat_interleave(2, 1)[:, ::2],
}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_memory_layout_changes_nothing(layout, backend):
    maps = {
        "foreground": features(2, 3, 7, 6),
        "background": features(2, 3, 5, 8, seed=1),
        "value": features(2, 4, 10, 16, seed=2),
    }
    masks = {"mask": features(2, 1, 5, 8) > 1, "foreground_mask": features(1, 1, 14, 12) > 0}
    upstream = features(2, 4, 14, 12, seed=3)

    def solve(layout):
        laid = {name: layout(x).requires_grad_() for name, x in maps.items()}
        output = contextual_attention(
            **laid, **{name: layout(x) for name, x in masks.items()}, backend=backend
        )
        assert output.is_contiguous()
        return output.detach(), *torch.autograd.grad(output, list(laid.values()), layout(upstream))

    for got, expected in zip(solve(layout), solve(torch.Tensor.contiguous), strict=True):
        assert torch.equal(got, expected)


def test_the_fastest_backend_is_taken():
    maps = features(1, 3, 9, 9)
    assert torch.equal(contextual_attention(maps, maps), contextual_attention(maps, maps, backend="cpu"))
    precise = contextual_attention(maps.double(), maps.double())
    torch.testing.assert_close(precise, contextual_attention(maps, maps).double(), **ROUNDING)


def test_a_large_dense_fall_back_must_be_asked_for(monkeypatch):
    huge = torch.zeros(1, dtype=torch.float64).expand(1, 1, 512, 512)  # 65536**2 scores from one number
    with pytest.raises(RuntimeError, match=r"cpu: it computes in .*float64.* GiB .*backend=.reference."):
        contextual_attention(huge, huge)
    small = features(1, 1, 4, 4).double()
    monkeypatch.setattr(functional, "_DENSE_LIMIT", 0)
    with pytest.raises(RuntimeError, match="GiB"):
        contextual_attention(small, small)
    contextual_attention(small, small, backend="reference")


def test_a_missing_backend_is_replaced_for_small_problems_only(monkeypatch):
    missing = replace(backends._BACKENDS["cpu"], unavailable="it was not built")
    monkeypatch.setitem(backends._BACKENDS, "cpu", missing)
    maps = features(1, 2, 6, 6)
    assert torch.equal(
        contextual_attention(maps, maps), contextual_attention(maps, maps, backend="reference")
    )


WEIGHT_OPTIONS = [
    {},
    {"stride": 2, "masking": "multiply"},
    {"propagation": "before", "boundary": "wrap", "normalize": "background", "mask_downscale": "sampled"},
]


@pytest.mark.parametrize("options", WEIGHT_OPTIONS)
def test_weights_are_what_the_layer_pastes_by(options):
    """The heaviest position of every map is the one that the offsets of the cpu backend point at."""
    foreground, background = features(2, 3, 8, 6), features(2, 3, 10, 9, seed=1)
    mask = features(2, 1, 10, 9) > 1.5
    queries = torch.cartesian_prod(torch.arange(4), torch.arange(3))
    maps = attention_weights(foreground, background, mask, queries=queries, **options)
    assert maps.shape == (2, 12, 5, 5)
    heaviest = maps.flatten(2).argmax(2)
    found = torch.stack((heaviest // 5, heaviest % 5), 1).view(2, 2, 4, 3)
    _, offsets = contextual_attention(
        foreground, background, mask, **options, backend="cpu", return_offsets=True
    )
    assert torch.equal(found - queries.T.view(2, 4, 3), offsets)


def test_weights_of_every_sample_s_own_queries():
    maps = features(2, 3, 8, 8)
    queries = torch.tensor([[[0, 1], [3, 3]], [[2, 2], [1, 0]]], dtype=torch.int32)
    own = attention_weights(maps, maps, queries=queries)
    for sample in range(2):
        alone = attention_weights(maps, maps, queries=queries[sample])
        assert torch.equal(own[sample], alone[sample])
    torch.testing.assert_close(own.sum((2, 3)), torch.ones(2, 2))


def test_weights_follow_the_masks():
    maps = features(1, 3, 8, 8)
    selected = torch.zeros(1, 1, 8, 8)
    selected[..., :4] = 1
    weights = attention_weights(
        maps, maps, selected, foreground_mask=selected, queries=torch.tensor([[0, 0], [0, 3]])
    )
    torch.testing.assert_close(weights.sum((2, 3)), torch.tensor([[1.0, 0.0]]))
    assert (weights[..., :3] == 0).all()  # the hole and the patches that touch it


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"queries": [[0, 0]]}, TypeError, "queries: expected a tensor, got list"),
        ({"queries": torch.zeros(1, 2)}, TypeError, "queries: expected integer positions, got torch.float32"),
        ({"queries": torch.zeros(3, dtype=torch.int64)}, ValueError, "queries: expected shape (Q, 2) or"),
        ({"queries": torch.zeros(3, 1, 2, dtype=torch.int64)}, ValueError, "or (2, Q, 2), got (3, 1, 2)"),
        ({"queries": torch.tensor([[0, 0], [4, 0]])}, ValueError, "grid (4, 3), got [4, 0]"),
        ({"queries": torch.tensor([[0, -1]])}, ValueError, "grid (4, 3), got [0, -1]"),
        ({"queries": torch.tensor([[0, 0]]), "radius": 1}, TypeError, "radius"),
        ({"queries": torch.tensor([[0, 0]]), "mask": torch.ones(2, 1, 3, 3)}, ValueError, "mask: expected"),
    ],
)
def test_a_bad_argument_of_weights_is_named(arguments, error, message):
    with pytest.raises(error) as raised:
        attention_weights(features(2, 3, 8, 6), features(2, 3, 4, 10), **arguments)
    assert message in str(raised.value)


def test_weights_of_no_queries():
    maps = features(2, 3, 8, 6)
    assert attention_weights(maps, maps, queries=torch.zeros(0, 2, dtype=torch.int64)).shape == (2, 0, 4, 3)
