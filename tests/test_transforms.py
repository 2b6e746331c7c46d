"""Forward mode and torch.func's transforms, over the default backend and the reference."""

import pytest
import torch
import torch.autograd.forward_ad as forward_ad
from torch.func import functional_call, grad, hessian, jacfwd, jacrev, jvp, vjp, vmap

from contextual_attention import ContextualAttention, contextual_attention, functional
from contextual_attention.options import PRESETS

BACKENDS = [None, "reference"]


def random(*shape, seed=0, dtype=torch.float32):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def problem(dtype=torch.float32):
    """Foreground, background, value at twice the resolution, and the masks."""
    maps = [random(2, 3, 6, 5, seed=i, dtype=dtype) for i in range(2)]
    value = random(2, 2, 12, 10, seed=2, dtype=dtype)
    return (*maps, value), {"mask": random(1, 1, 6, 5) > 1.5, "foreground_mask": random(2, 1, 6, 5) > 0}


def solver(masks, **options):
    return lambda f, b, v: contextual_attention(f, b, value=v, **masks, **options)


def tangents(maps):
    return tuple(random(*x.shape, seed=7 + i, dtype=x.dtype) for i, x in enumerate(maps))


@pytest.mark.parametrize("preset", PRESETS)
def test_the_reference_s_jvp_is_the_slope(preset):
    """Central differences in float64: an error of step**2, and of 2**-53 / step."""
    maps, masks = problem(torch.float64)
    options = PRESETS[preset].changed()
    if preset == "yu2018":
        options["downscale"] = "strided"  # 5 columns are no multiple of the rate
    solve = solver(masks, **options, backend="reference")
    directions, step = tangents(maps), 1e-5
    _, found = jvp(solve, maps, directions)
    ahead, behind = (
        solve(*(x + s * d for x, d in zip(maps, directions, strict=True))) for s in (step, -step)
    )
    torch.testing.assert_close(found, (ahead - behind) / (2 * step), rtol=1e-7, atol=1e-7)


def test_forward_mode_of_the_default_is_right():
    maps, masks = problem()
    directions = tangents(maps)
    _, expected = jvp(solver(masks, backend="reference"), maps, directions)
    _, found = jvp(solver(masks), maps, directions)
    assert expected.norm() > 0.1
    assert torch.equal(found, expected)
    with forward_ad.dual_level():
        duals = map(forward_ad.make_dual, maps, directions)
        assert torch.equal(forward_ad.unpack_dual(solver(masks)(*duals)).tangent, expected)


@pytest.mark.parametrize("operand", [0, 1])
def test_forward_mode_of_a_fused_backend_names_the_way_out(operand):
    maps, masks = problem()

    def solve(x):
        return solver(masks, backend="cpu")(*maps[:operand], x, *maps[operand + 1 :])

    with pytest.raises(NotImplementedError, match='backend="reference"'):
        jvp(solve, maps[operand : operand + 1], tangents(maps[operand : operand + 1]))
    with pytest.raises(NotImplementedError, match='backend="reference"'):
        jacfwd(solve)(maps[operand])
    with forward_ad.dual_level(), pytest.raises(NotImplementedError, match='backend="reference"'):
        solve(forward_ad.make_dual(maps[operand], maps[operand]))


def test_a_fused_backend_pushes_tangents_of_the_value_forward():
    """The output is linear in the value."""
    (f, b, v), masks = problem()
    (direction,) = tangents((v,))
    _, found = jvp(lambda x: solver(masks, backend="cpu")(f, b, x), (v,), (direction,))
    torch.testing.assert_close(found, solver(masks, backend="cpu")(f, b, direction))


def test_forward_mode_beyond_the_limit_must_be_asked_for(monkeypatch):
    maps, masks = problem()
    monkeypatch.setattr(functional, "_DENSE_LIMIT", 0)
    with pytest.raises(RuntimeError, match=r'forward mode: .*backend="reference"'):
        jvp(solver(masks), maps, tangents(maps))


def close(found, expected):
    """Of the same numbers, computed in other batches or orders."""
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_gradients_by_transform_are_autograd_s():
    maps, masks = problem()
    solve = solver(masks)
    leaves = [x.clone().requires_grad_() for x in maps]
    expected = torch.autograd.grad(solve(*leaves).square().sum(), leaves)
    close(grad(lambda *x: solve(*x).square().sum(), argnums=(0, 1, 2))(*maps), expected)
    output, pull = vjp(solve, *maps)
    close(pull(2 * output), expected)


def test_jacobians_of_the_default():
    maps, masks = problem()
    expected = jacrev(solver(masks, backend="reference"), argnums=(0, 1, 2))(*maps)
    close(jacrev(solver(masks), argnums=(0, 1, 2))(*maps), expected)
    close(jacfwd(solver(masks), argnums=(0, 1, 2))(*maps), expected)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("keep", [False, True])
def test_samples_one_by_one_are_the_batch(keep, backend):
    """Over some arguments and not over others; without warnings of a slow loop."""
    (f, b, v), masks = problem()
    arguments = {"value": None if keep else v, **masks, "backend": backend, "return_offsets": True}

    def one(f, b, v, hole):
        given = {"value": v, "mask": masks["mask"], "foreground_mask": hole}
        given = {name: None if x is None else x[None] if x.dim() == 3 else x for name, x in given.items()}
        return contextual_attention(f[None], b[None], **given, backend=backend, return_offsets=True)

    dims = (0, 0, None if keep else 0, 0)
    output, offsets = vmap(one, dims)(f, b, None if keep else v, masks["foreground_mask"])
    expected = contextual_attention(f, b, **arguments)
    close(output[:, 0], expected[0])
    assert torch.equal(offsets[:, 0], expected[1])
    close(
        vmap(one, (0, None, *dims[2:]))(f, b[0], None if keep else v, masks["foreground_mask"])[0][0],
        output[0],
    )


def test_batches_of_batches():
    maps, masks = problem()
    stacked = [torch.stack([x, x.flip(3), 2 * x]) for x in maps]
    found = vmap(solver(masks), in_dims=0, out_dims=1)(*stacked)
    for i in range(3):
        close(found[:, i], solver(masks)(*(x[i] for x in stacked)))
    inner = vmap(lambda f, b, v: contextual_attention(f[None], b[None], value=v[None])[0])
    close(vmap(inner)(*stacked), torch.stack([solver({})(*(x[i] for x in stacked)) for i in range(3)]))


@pytest.mark.filterwarnings("error")
def test_gradients_of_every_sample():
    maps, _ = problem()

    def loss(f, b, v):
        return contextual_attention(f[None], b[None], value=v[None]).square().sum()

    found = vmap(grad(loss, argnums=(0, 1, 2)))(*maps)
    leaves = [x.clone().requires_grad_() for x in maps]
    close(found, torch.autograd.grad(solver({})(*leaves).square().sum(), leaves))


def test_second_derivatives_are_right_or_refused():
    (f, b, _), _ = problem()
    f, b = f[:1, :, :4, :4], b[:1, :, :4, :4]

    def loss(x, backend=None):
        return contextual_attention(x, b, backend=backend).square().sum()

    expected = hessian(lambda x: loss(x, "reference"))(f)
    assert expected.abs().max() > 1e-3
    close(hessian(loss)(f), expected)  # forward over reverse: both in the reference
    with pytest.raises(NotImplementedError, match='backend="reference"'):
        jacrev(jacrev(loss))(f)


def test_the_layer_in_a_functional_call():
    layer, x = ContextualAttention(), random(1, 3, 6, 6)
    assert torch.equal(functional_call(layer, {}, (x, x)), layer(x, x))


def test_a_compiled_layer_is_differentiated_like_the_layer():
    """Inside the graph and outside of it."""
    torch._dynamo.reset()
    x, direction = random(1, 3, 6, 6), random(1, 3, 6, 6, seed=1)
    fixed = random(1, 3, 6, 6, seed=2)

    def pushed(y):
        return jvp(lambda z: contextual_attention(z, fixed), (y,), (direction,))[1]

    expected = pushed(x)
    assert expected.norm() > 1e-3
    close(torch.compile(pushed, backend="eager")(x), expected)
    compiled = torch.compile(lambda y: contextual_attention(y, fixed), backend="eager")
    close(jvp(compiled, (x,), (direction,))[1], expected)
    fused = torch.compile(lambda y: contextual_attention(y, fixed, backend="cpu"), backend="eager")
    with pytest.raises(NotImplementedError, match='backend="reference"'):
        jvp(fused, (x,), (direction,))
