"""Joining a filling against a dense least-squares solution of the energy that its docstring states.

And against OpenCV's seamless cloning, where that has the same to do; tests/data has some of its results, of
otenim/GLCIC-PyTorch.
"""

from pathlib import Path

import numpy as np
import pytest
import torch
from skimage import data

from contextual_attention.models import inpaint
from contextual_attention.models.filling.poisson import join_filling

DATA = Path(__file__).parent / "data"


def problem(seed, channels=3, height=9, width=12):
    """Noise, and a ragged hole of several parts that reaches two edges of the picture and a corner."""
    random = np.random.default_rng(seed)
    image, filled = random.uniform(-0.3, 0.3, (2, channels, height, width)).astype(np.float32)
    hole = random.uniform(size=(height, width)) < 0.3
    hole[3:6, :4] = hole[-3:, -2:] = True
    hole[:2, 5:7] = False
    hole[0, 6] = True
    return image, hole, filled


def join(image, hole, filled):
    arguments = (torch.from_numpy(x)[None] for x in (image, hole[None], filled))
    return join_filling(*arguments)[0].numpy()


def beside(at, shape):
    for move in ((0, 1), (0, -1), (1, 0), (-1, 0)):
        to = (at[0] + move[0], at[1] + move[1])
        if 0 <= to[0] < shape[0] and 0 <= to[1] < shape[1]:
            yield to


def least_squares(image, hole, filled):
    """The energy pair by pair, one row of a dense system for each."""
    unknowns = {tuple(at): i for i, at in enumerate(np.argwhere(hole))}

    def guide(at):
        inside = [at] if hole[at] else [to for to in beside(at, hole.shape) if hole[to]]
        return np.mean([filled[:, y, x].astype(float) for y, x in inside], 0)

    rows, values = [], []
    for p in unknowns:
        for q in beside(p, hole.shape):
            if hole[q] and q < p:
                continue  # seen from there
            row, value = np.zeros(len(unknowns)), guide(p) - guide(q)
            row[unknowns[p]] = 1
            if hole[q]:
                row[unknowns[q]] = -1
            else:
                value = value + image[:, q[0], q[1]]
            rows.append(row)
            values.append(value)
    solution = np.linalg.lstsq(np.array(rows), np.array(values), rcond=None)[0]
    result = image.astype(float)
    for at, i in unknowns.items():
        result[:, at[0], at[1]] = solution[i]
    return result


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("seed", range(4))
def test_it_is_the_minimum(seed, channels):
    image, hole, filled = problem(seed, channels)
    expected = least_squares(image, hole, filled)
    assert np.abs(expected).max() < 1  # nothing is clamped
    # A step of 16 bits, half the distance to the next.
    assert np.abs(join(image, hole, filled) - expected).max() < 1.5e-5


def test_what_is_known_stays_and_what_is_not_looked_at_does_not_matter():
    image, hole, filled = problem(5)
    expected = join(image, hole, filled)
    assert np.array_equal(expected[:, ~hole], image[:, ~hole])
    image[:, hole], filled[:, ~hole] = np.nan, np.nan
    assert np.array_equal(join(image, hole, filled), expected)


def test_a_filling_of_another_level_gets_the_pictures():
    """Of the whole picture, too dark and too green: it comes back."""
    image = torch.linspace(-0.5, 0.5, 40).expand(1, 3, 30, 40).contiguous()
    hole = torch.zeros(1, 1, 30, 40, dtype=torch.bool)
    hole[..., 5:20, 10:30] = True
    level = torch.tensor([-0.3, 0.2, -0.3]).view(1, 3, 1, 1)
    # At the edge the filling goes on level, where the picture rises by 1/39 from pixel to pixel.
    assert (join_filling(image, hole, image + level) - image).abs().max() < 1 / 39


def test_a_hole_along_an_edge_of_the_picture_takes_the_level_of_the_other_edges():
    image = torch.full((1, 1, 8, 10), 0.5)
    hole = torch.zeros(1, 1, 8, 10, dtype=torch.bool)
    hole[..., :4, :] = True  # all along the top: only its lower edge is known
    filled = torch.linspace(0, 0.3, 8).view(1, 1, 8, 1).expand(1, 1, 8, 10)
    joined = join_filling(image, hole, filled)
    steps = filled[..., :4, :] - filled[..., 3:4, :]
    assert torch.allclose(joined[..., :4, :], 0.5 + steps, atol=1e-5)


def test_colours_stay_in_range():
    image = torch.full((1, 3, 10, 10), 0.9)
    hole = torch.zeros(1, 1, 10, 10, dtype=torch.bool)
    hole[..., 2:8, 2:8] = True
    filled = torch.rand(1, 3, 10, 10, generator=torch.Generator().manual_seed(0)) * 2 - 1
    joined = join_filling(image, hole, filled)
    assert joined.max() == 1
    assert joined.min() >= -1


def test_nothing_missing():
    image = torch.rand(1, 3, 5, 5)
    assert join_filling(image, torch.zeros(1, 1, 5, 5, dtype=torch.bool), torch.zeros(1, 3, 5, 5)) is image


class Off(torch.nn.Module):
    """Fills in the picture that it was made with, darker and of a cast."""

    def __init__(self, truth):
        super().__init__()
        self.truth = torch.from_numpy(np.ascontiguousarray(truth)).movedim(-1, -3)[None].float()

    def forward(self, image, mask):
        cast = torch.tensor([-0.2, -0.15, -0.1]).view(3, 1, 1)
        completed = torch.where(mask, 0.95 * self.truth.expand_as(image) + cast, image)
        return type("Inpainted", (), {"completed": completed})


@pytest.fixture(scope="module")
def photograph():
    """(64, 80, 3) uint8, and a hole of two parts, one of which reaches the edge."""
    hole = np.zeros((64, 80), bool)
    hole[10:40, 20:50] = hole[50:, 60:] = True
    return data.coffee()[150:214, 200:280], hole


@pytest.mark.parametrize("kind", ["rgb", "grey", "deep", "opacity", "tensors"])
def test_every_kind_of_picture(photograph, kind):
    truth, hole = photograph
    network = Off(truth / 127.5 - 1)
    if kind == "grey":
        truth = truth[..., :1]
        network = Off(truth / 127.5 - 1)
    elif kind == "deep":
        truth = truth.astype(np.uint16) * 257
    elif kind == "opacity":
        truth = np.dstack([truth, np.full(hole.shape, 255, np.uint8)])
    picture = torch.from_numpy(truth).movedim(-1, 0) if kind == "tensors" else truth
    plain, joined = (
        np.asarray(inpaint(picture, hole, "model", model=network, poisson=poisson))
        for poisson in (False, True)
    )
    assert joined.dtype == truth.dtype
    if kind == "tensors":
        plain, joined = (np.moveaxis(x, 0, -1) for x in (plain, joined))
    assert np.array_equal(joined[~hole], truth[~hole])
    away = [np.abs(x.astype(float) - truth)[hole].mean() for x in (plain, joined)]
    assert away[1] < away[0] / 3


def test_a_batch_and_a_feather(photograph):
    """Each picture has its own hole, one none; with a feather, joined around the border that fades."""
    truth, hole = photograph
    images = torch.from_numpy(truth / 127.5 - 1).movedim(-1, 0).float().expand(3, -1, -1, -1)
    masks = torch.zeros(3, 1, *hole.shape, dtype=torch.bool)
    masks[0, 0], masks[1, 0, 4:9, 30:40] = torch.from_numpy(hole), True
    network = Off(truth / 127.5 - 1)
    together = inpaint(images, masks, "model", model=network, poisson=True)
    for i in range(2):
        alone = inpaint(images[i], masks[i, 0], "model", model=network, poisson=True)
        assert torch.equal(together[i], alone)
    assert torch.equal(together[2], images[2])
    plain, joined = (
        inpaint(images[0], hole, "model", model=network, poisson=poisson, feather=4)
        for poisson in (False, True)
    )
    assert (joined - images[0]).abs().mean() < (plain - images[0]).abs().mean() / 3


@pytest.mark.parametrize("method", ["exemplar", "patchmatch"])
def test_it_is_for_models(photograph, method):
    with pytest.raises(ValueError, match=f'poisson: is for method "model"; "{method}" joins its copies'):
        inpaint(*photograph, method, poisson=True)


def levels(joined):
    """(H, W, C) in [0, 255], as pictures of 8 bits."""
    return (np.moveaxis(joined, 0, -1) + 1) * 127.5


def planes(picture):
    return np.moveaxis(picture / 127.5 - 1, -1, 0).astype(np.float32)


@pytest.mark.parametrize("is_ragged", [False, True])
def test_seamless_cloning(is_ragged):
    """OpenCV's, of smooth pictures: within three pixels of the hole's edge its steps are not the source's.

    It may also place the source a pixel off.
    """
    cv2 = pytest.importorskip("cv2", reason="OpenCV, of the extra bench, is not installed")
    rows, columns = np.mgrid[:90, :120] / 60
    waves = [np.sin(2 * rows + phase) * np.cos(1.5 * columns + phase) for phase in (0, 1, 2)]
    picture = np.stack([110 + 60 * wave for wave in waves], -1).round().astype(np.uint8)
    hole = np.zeros((90, 120), bool)
    hole[25:65, 30:90] = True
    if is_ragged:
        hole &= np.hypot(rows - 0.75, columns - 1) < 0.4
        hole[45:65, 75:90] = True
    bump = 30 * np.exp(-20 * ((rows - 0.8) ** 2 + (columns - 1) ** 2))[..., None]
    source = (picture * 0.9 - 25 + bump).clip(0, 255).round().astype(np.uint8)
    marked = hole.astype(np.uint8) * 255
    centre = tuple(int(x.min() + x.max()) // 2 for x in hole.nonzero()[::-1])
    below = cv2.inpaint(picture, marked, 1, cv2.INPAINT_TELEA)
    cloned = cv2.seamlessClone(source, below, marked, centre, cv2.NORMAL_CLONE).astype(float)
    found = levels(join(planes(picture), hole, planes(source)))
    assert np.abs(found - cloned)[hole].mean() < 3
    assert np.quantile(np.abs(found - cloned)[hole], 0.95) < 8
    assert np.abs(source - cloned)[hole].mean() > 25


@pytest.mark.parametrize(("case", "sample"), [("a", 0), ("b", 0), ("b", 1)])
def test_published_blending(case, sample):
    """otenim's of its network's output: of noise, to which the pixels along the edge matter."""
    with np.load(DATA / "glcic_otenim_net.npz") as arrays:
        image, mask, output, blended = (
            arrays[f"{case}.{name}"][sample] for name in ("image", "mask", "y", "blended")
        )
    hole, filled = mask[0] > 0, 2 * output - 1
    found = levels(join(image.astype(np.float32) / 127.5 - 1, hole, filled))
    away, before = (
        np.abs(x - np.moveaxis(blended, 0, -1).astype(float))[hole].mean() for x in (found, levels(filled))
    )
    assert away < before / 3
