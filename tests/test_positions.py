import pytest
import torch

from contextual_attention import positions
from contextual_attention.options import Options

LINE = torch.arange(6.0).reshape(1, 1, 1, 6)


@pytest.mark.parametrize(
    ("downscale", "rate", "size", "expected"),
    [
        ("strided", 2, 6, [0, 2, 4]),
        ("strided", 4, 6, [0, 4]),
        ("strided", 7, 6, [0]),
        ("strided", 1, 3, [0, 1, 2]),
        ("aligned", 2, 6, [0, 3, 5]),  # sigma = 5/2, and 2.5 + 1/2 rounds up
        ("aligned", 3, 6, [0, 5]),
        ("aligned", 6, 6, [0]),
        ("aligned", 1, 3, [0, 1, 2]),
    ],
)
def test_a_position_reads_its_pixel(downscale, rate, size, expected):
    options = Options(rate=rate, downscale=downscale)
    x = LINE[..., :size].expand(1, 1, size, size).contiguous()
    small = positions.downscale(x, None, options)
    assert small[0, 0, :, 0].tolist() == expected
    assert torch.equal(positions.downscale(x.mT, None, options), small.transpose(1, 2))


def test_aligned_positions_are_rounded_in_float32():
    """A tie in exact arithmetic, where the float32 step is below the exact one."""
    size, rate, position = 82, 2, 20  # 20 * 81 / 40 = 40.5, a float32 product too
    x = torch.arange(float(size)).reshape(1, 1, 1, size).expand(1, 1, size, size)
    pixels = positions.downscale(x, None, Options(rate=rate, downscale="aligned"))[0, 0, :, 0]
    sigma = torch.tensor(81.0) / torch.tensor(40.0)
    assert pixels[position] == torch.floor(position * sigma + 0.5)
    assert pixels[-1] == size - 1


@pytest.mark.parametrize(
    ("rule", "downscale", "expected"),
    [
        ("any", "strided", [1, 0, 1]),
        ("any", "aligned", [1, 0, 1]),
        ("sampled", "strided", [0, 0, 0]),
        ("sampled", "aligned", [0, 0, 1]),
    ],
)
def test_a_mask_is_downscaled_by_its_rule(rule, downscale, expected):
    mask = torch.tensor([0, 1.0, 0, 0, 0, -0.5]).reshape(1, 1, 1, 6).expand(1, 1, 6, 6)
    options = Options(mask_downscale=rule, downscale=downscale)
    small = positions.downscale_mask(mask, torch.empty(1, 1, 6, 6), options)
    assert small.dtype == torch.bool
    assert small[0, 0].int().tolist() == expected


@pytest.mark.parametrize(
    ("rule", "downscale", "expected"),
    [
        # 3 pixels of 4 each, downscaled by 2: blocks of 8, the last one cut at the edge
        ("any", "strided", lambda i: [int(i < 8), int(i >= 8)]),
        # first pixels 0, 4, 8 of every 4, then the first and the third of those
        ("sampled", "strided", lambda i: [int(i == 0), int(i == 8)]),
    ],
)
def test_an_image_size_mask_is_brought_to_feature_size_first(rule, downscale, expected):
    features = torch.empty(1, 1, 3, 3)
    for i in range(12):
        mask = torch.zeros(1, 1, 12, 12)
        mask[..., i] = 1
        small = positions.downscale_mask(mask, features, Options(mask_downscale=rule, downscale=downscale))
        assert small[0, 0].int().tolist() == expected(i)


def test_a_patch_is_valid_if_its_window_is():
    mask = torch.zeros(1, 1, 5, 7)
    mask[..., 2, 3] = 1
    background = torch.empty(1, 1, 5, 7)
    valid = positions.validity(mask, background, Options(rate=1, ksize=3))
    expected = torch.ones(1, 5, 7, dtype=torch.bool)
    expected[:, 1:4, 2:5] = False
    assert torch.equal(valid, expected)
    on_grid = positions.validity(mask, background, Options(rate=1, ksize=3, stride=2))
    assert on_grid.nonzero()[:, 1:].tolist() == [
        [i, j] for i in (0, 2, 4) for j in (0, 2, 4, 6) if not (i == 2 and j in (2, 4))
    ]


@pytest.mark.parametrize("eps_mode", ["max", "sum"])
def test_norms_of_zero_patches_have_zero_gradient(eps_mode):
    x = torch.zeros(1, 3, 4, 2, requires_grad=True)
    norms = positions.reciprocal_norms(x, Options(eps_mode=eps_mode))
    # ksize**2 * C entries, each with eps added to its square
    expected = 1e4 if eps_mode == "max" else (9 * 2 * 1e-4) ** -0.5
    torch.testing.assert_close(norms, torch.full((1, 3, 4), expected))
    (gradient,) = torch.autograd.grad(norms.sum(), x)
    assert torch.equal(gradient, torch.zeros_like(x))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_norms_of_half_precision_are_those_of_float32(dtype):
    """To the bit, the gradient rounded once."""
    x = torch.randn(2, 5, 4, 3).to(dtype).requires_grad_()
    wide = x.detach().float().requires_grad_()
    slope = torch.randn(2, 5, 4)
    norms, expected = (positions.reciprocal_norms(each, Options()) for each in (x, wide))
    assert torch.equal(norms, expected)
    found, exact = (torch.autograd.grad(y, each, slope)[0] for y, each in ((norms, x), (expected, wide)))
    assert torch.equal(found, exact.to(dtype))
    torch.library.opcheck(torch.ops.contextual_attention.squares.default, (x,))


@pytest.mark.parametrize("samples", [None, 1, 2])
def test_pick_and_place_are_adjoint_operators(map_road, samples):
    kept = None if samples is None else torch.rand(samples, 2, 3) < 0.6
    rows, columns = torch.tensor([0, 2]), torch.tensor([1, 3, 4])
    image = torch.randn(2, 3, 4, 5, dtype=torch.float64, requires_grad=True)
    pixels = torch.randn(2, 2, 3, 3, dtype=torch.float64, requires_grad=True)
    whole = positions.pick(image, rows, columns, None)
    assert torch.equal(whole[1, 1, 2], image[1, :, 2, 4])
    picked = positions.pick(image, rows, columns, kept)
    if kept is not None:
        assert torch.equal(picked, whole * kept[..., None])
    torch.testing.assert_close(
        (picked * pixels).sum(), (image * positions.place(pixels, rows, columns, 4, 5, kept)).sum()
    )
    torch.library.opcheck(positions._pick, (image, rows, columns, kept))
    torch.library.opcheck(positions._place, (pixels, rows, columns, 4, 5, kept))
