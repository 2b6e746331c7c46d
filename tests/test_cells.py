import pytest
import torch

from contextual_attention import cells
from contextual_attention.options import Options

# Those of the CPU, and the tensor code that every other device runs, in several bands of rows and in one.
ROADS = ("kernels", "generic", "generic, banded")
EACH_ROAD = pytest.mark.parametrize("road", ROADS, indirect=True)


@pytest.fixture
def road(request, monkeypatch):
    if request.param != ROADS[0]:
        request.getfixturevalue("generic_maps")
    if request.param == ROADS[2]:
        monkeypatch.setattr(cells, "_BAND_BYTES", 1)


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
    small = cells.downscale(x, None, options)
    assert small[0, 0, :, 0].tolist() == expected
    assert torch.equal(cells.downscale(x.mT, None, options), small.transpose(1, 2))


def test_aligned_positions_are_rounded_in_float32():
    """A tie in exact arithmetic, where the float32 step is below the exact one."""
    size, rate, position = 82, 2, 20  # 20 * 81 / 40 = 40.5, a float32 product too
    x = torch.arange(float(size)).reshape(1, 1, 1, size).expand(1, 1, size, size)
    pixels = cells.downscale(x, None, Options(rate=rate, downscale="aligned"))[0, 0, :, 0]
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
    small = cells.downscale_mask(mask, torch.empty(1, 1, 6, 6), options)
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
        small = cells.downscale_mask(mask, features, Options(mask_downscale=rule, downscale=downscale))
        assert small[0, 0].int().tolist() == expected(i)


def test_a_patch_is_valid_if_its_window_is():
    mask = torch.zeros(1, 1, 5, 7)
    mask[..., 2, 3] = 1
    background = torch.empty(1, 1, 5, 7)
    valid = cells.validity(mask, background, Options(rate=1, ksize=3))
    expected = torch.ones(1, 5, 7, dtype=torch.bool)
    expected[:, 1:4, 2:5] = False
    assert torch.equal(valid, expected)
    on_grid = cells.validity(mask, background, Options(rate=1, ksize=3, stride=2))
    assert on_grid.nonzero()[:, 1:].tolist() == [
        [i, j] for i in (0, 2, 4) for j in (0, 2, 4, 6) if not (i == 2 and j in (2, 4))
    ]


@pytest.mark.parametrize("eps_mode", ["max", "sum"])
def test_norms_of_zero_patches_have_zero_gradient(eps_mode):
    x = torch.zeros(1, 3, 4, 2, requires_grad=True)
    norms = cells.reciprocal_norms(x, Options(eps_mode=eps_mode))
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
    norms, expected = (cells.reciprocal_norms(each, Options()) for each in (x, wide))
    assert torch.equal(norms, expected)
    found, exact = (torch.autograd.grad(y, each, slope)[0] for y, each in ((norms, x), (expected, wide)))
    assert torch.equal(found, exact.to(dtype))
    torch.library.opcheck(cells._squares, (x,))


@EACH_ROAD
@pytest.mark.parametrize("samples", [None, 1, 2])
@pytest.mark.parametrize(("cell", "rows", "columns"), [(1, 4, 6), (2, 3, 4), (3, 2, 3), (4, 2, 3)])
def test_cut_and_join_are_adjoint_operators(road, cell, rows, columns, samples):
    kept = None if samples is None else torch.rand(samples, rows, columns) < 0.6
    image = torch.randn(2, 3, 3, 5, dtype=torch.float64, requires_grad=True)
    pieces = torch.randn(2, rows, columns, 3 * cell**2, dtype=torch.float64, requires_grad=True)
    whole = cells.cut(image, cell, rows, columns, None)
    torch.testing.assert_close(cells.join(whole, cell, 3, 5, None), image)
    cut = cells.cut(image, cell, rows, columns, kept)
    if kept is not None:
        assert torch.equal(cut, whole * kept[..., None])
    torch.testing.assert_close((cut * pieces).sum(), (image * cells.join(pieces, cell, 3, 5, kept)).sum())
    torch.library.opcheck(cells._cut, (image, cell, rows, columns, kept))
    torch.library.opcheck(cells._join, (pieces, cell, 3, 5, kept))


@EACH_ROAD
@pytest.mark.parametrize("samples", [None, 1, 2])
def test_pick_and_place_are_adjoint_operators(road, samples):
    kept = None if samples is None else torch.rand(samples, 2, 3) < 0.6
    rows, columns = torch.tensor([0, 2]), torch.tensor([1, 3, 4])
    image = torch.randn(2, 3, 4, 5, dtype=torch.float64, requires_grad=True)
    pixels = torch.randn(2, 2, 3, 3, dtype=torch.float64, requires_grad=True)
    whole = cells.pick(image, rows, columns, None)
    assert torch.equal(whole[1, 1, 2], image[1, :, 2, 4])
    picked = cells.pick(image, rows, columns, kept)
    if kept is not None:
        assert torch.equal(picked, whole * kept[..., None])
    torch.testing.assert_close(
        (picked * pixels).sum(), (image * cells.place(pixels, rows, columns, 4, 5, kept)).sum()
    )
    torch.library.opcheck(cells._pick, (image, rows, columns, kept))
    torch.library.opcheck(cells._place, (pixels, rows, columns, 4, 5, kept))


@EACH_ROAD
def test_joining_a_single_pixel_copies_it(road):
    pieces = torch.ones(1, 2, 2, 1)
    cells.join(pieces, 1, 1, 1, None).zero_()
    assert torch.equal(pieces, torch.ones(1, 2, 2, 1))


@EACH_ROAD
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize(("cell", "keep"), [(1, True), (2, True), (2, False), (3, True)])
def test_paste_weighs_each_cell_and_keeps_the_rest(road, cell, keep, dtype):
    """Pixel by pixel; sizes beyond the blocks of the copies, and a width that is none of their multiples."""
    channels, height, width = 11, 5, 37
    rows, columns = (cells.ceil_div(n, cell) + 1 for n in (height, width))
    pieces = torch.randn(2, rows, columns, cell**2 * channels)
    weight = torch.rand(1, rows, columns) * (torch.rand(1, rows, columns) < 0.6)
    foreground = torch.randn(2, channels, height, width).to(dtype)
    expected = foreground.clone() if keep else torch.zeros_like(foreground)
    for y in range(height):
        for x in range(width):
            (row, i), (column, j) = divmod(y + cell // 2, cell), divmod(x + cell // 2, cell)
            if weight[0, row, column] == 0:
                continue
            pixel = pieces.view(2, rows, columns, cell, cell, channels)[:, row, column, i, j]
            expected[:, :, y, x] = (pixel * weight[0, row, column]).to(dtype)
    found = cells.paste(pieces, weight, foreground, keep, cell, height, width)
    assert torch.equal(found, expected)


@EACH_ROAD
@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize("samples", [1, 2])
def test_lift_is_the_adjoint_of_paste(road, samples, keep, wide):
    pieces, slope = torch.randn(2, 4, 5, 2**2 * 3), torch.randn(2, 3, 5, 7)
    weight = torch.rand(samples, 4, 5) * (torch.rand(samples, 4, 5) < 0.6)
    foreground = torch.randn(2, 3, 5, 7)
    arguments = (pieces, weight, foreground, keep, 2, 5, 7)
    torch.library.opcheck(cells.paste, arguments)
    torch.library.opcheck(cells._lift, (slope, weight, keep, 2, 4, 5, wide))
    lifted, kept = cells.lift(slope, weight, keep, 2, 4, 5, wide)
    found = (lifted * pieces).sum()
    if keep:
        found = found + (kept * foreground).sum()
    torch.testing.assert_close(found, (cells.paste(*arguments) * slope).sum())


@EACH_ROAD
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_lifted_cells_are_rounded_once(road, dtype):
    image, weight = torch.randn(2, 11, 5, 37).to(dtype), torch.rand(1, 3, 19)
    wide, _ = cells.lift(image, weight, False, 2, 3, 19, True)
    half, _ = cells.lift(image, weight, False, 2, 3, 19, False)
    expected = cells.cut(image.float(), 2, 3, 19, None) * weight[..., None]
    assert torch.equal(wide, expected)
    assert torch.equal(half, expected.to(dtype))


@EACH_ROAD
def test_maps_without_samples(road):
    none = torch.zeros(0, 3, 5, 7)
    assert cells.cut(none, 2, 4, 5, None).shape == (0, 4, 5, 12)
    assert cells.join(torch.zeros(0, 4, 5, 12), 2, 5, 7, None).shape == none.shape
