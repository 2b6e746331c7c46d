import pytest
import torch

from contextual_attention import cells, positions


@pytest.mark.parametrize("samples", [None, 1, 2])
@pytest.mark.parametrize(("cell", "rows", "columns"), [(1, 4, 6), (2, 3, 4), (3, 2, 3), (4, 2, 3)])
def test_cut_and_join_are_adjoint_operators(map_road, cell, rows, columns, samples):
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


def test_joining_a_single_pixel_copies_it(map_road):
    pieces = torch.ones(1, 2, 2, 1)
    cells.join(pieces, 1, 1, 1, None).zero_()
    assert torch.equal(pieces, torch.ones(1, 2, 2, 1))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize(("cell", "keep"), [(1, True), (2, True), (2, False), (3, True)])
def test_paste_weighs_each_cell_and_keeps_the_rest(map_road, cell, keep, dtype):
    """Pixel by pixel; sizes beyond the blocks of the copies, and a width that is none of their multiples."""
    channels, height, width = 11, 5, 37
    rows, columns = (positions.ceil_div(n, cell) + 1 for n in (height, width))
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


@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize("samples", [1, 2])
def test_lift_is_the_adjoint_of_paste(map_road, samples, keep, wide):
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


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_lifted_cells_are_rounded_once(map_road, dtype):
    image, weight = torch.randn(2, 11, 5, 37).to(dtype), torch.rand(1, 3, 19)
    wide, _ = cells.lift(image, weight, False, 2, 3, 19, True)
    half, _ = cells.lift(image, weight, False, 2, 3, 19, False)
    expected = cells.cut(image.float(), 2, 3, 19, None) * weight[..., None]
    assert torch.equal(wide, expected)
    assert torch.equal(half, expected.to(dtype))


def test_maps_without_samples(map_road):
    none = torch.zeros(0, 3, 5, 7)
    assert cells.cut(none, 2, 4, 5, None).shape == (0, 4, 5, 12)
    assert cells.join(torch.zeros(0, 4, 5, 12), 2, 5, 7, None).shape == none.shape
