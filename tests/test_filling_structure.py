"""The method "structure": copies of the photograph, corrected by a network as far as it may be right."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from contextual_attention.models.filling import structure
from contextual_attention.models.filling.exemplar import ExemplarOptions, fill_exemplar
from contextual_attention.models.filling.structure import draw_copies, fill_structure
from contextual_attention.models.network.drafts import draw_drafts
from contextual_attention.models.network.faces import Inpainted
from contextual_attention.models.network.structure import StructureNetwork
from contextual_attention.models.patches.scales import Guide

QUICK = ExemplarOptions(rounds=2, iterations=1, start_depths=(7,))


TEXTURE = 0.08


class Prophet(nn.Module):
    """A network that gives every window one colour, with more texture than `photograph`, or with none, and
    says how far off it may be.
    """

    least = 8

    def __init__(self, colour: float, error: float, texture: float = TEXTURE) -> None:
        super().__init__()
        self.colour, self.error, self.texture, self.seen = colour, error, texture, []

    def forward(self, image, mask, drafts):
        assert drafts.shape == (image.shape[0], 6, *image.shape[2:])
        self.seen.append((image, mask, drafts))
        checkers = torch.arange(image.shape[2])[:, None] + torch.arange(image.shape[3])
        refined = (self.colour + self.texture * (2 * (checkers % 2) - 1)).to(image).expand_as(image)
        completed = torch.where(mask, refined, image)
        return Inpainted(None, refined, completed, error=torch.full_like(image[:, :1], self.error))


def photograph(height=96, width=120, channels=3, seed=0):
    """Noise around a mid grey: copies of it are never of one colour."""
    generator = torch.Generator().manual_seed(seed)
    return 0.2 * torch.rand(1, channels, height, width, generator=generator) - 0.1


def holes(height, width, *boxes):
    hole = torch.zeros(1, 1, height, width, dtype=torch.bool)
    for top, left, rows, columns in boxes:
        hole[..., top : top + rows, left : left + columns] = True
    return hole


@pytest.fixture
def guides(monkeypatch):
    """The guides that the patches were given, None for the first filling."""
    given = []

    def filling(image, hole, options=None, progress=None, guide=None):
        given.append(guide)
        return fill_exemplar(image, hole, options, progress, guide)

    monkeypatch.setattr(structure, "fill_exemplar", filling)
    return given


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_a_network_that_is_sure_corrects_everything(guides, channels):
    image, hole = photograph(channels=channels), holes(96, 120, (30, 40, 32, 40))
    filled = fill_structure(image, hole, Prophet(0.9, 0.0), QUICK)
    assert torch.equal(filled.image[~hole.expand_as(image)], image[~hole.expand_as(image)])
    first, second = guides
    assert first is None
    said = (second.colours[hole.expand_as(image)] - 0.9).abs()
    assert (said - TEXTURE).abs().max() < 1e-5  # nothing was halved
    assert torch.equal(second.weight, hole.to(torch.float32) * (2 / 3))


def test_patches_are_chosen_by_what_was_corrected():
    """What is pasted are still pixels of the photograph: those of its dark half where that is foretold."""
    image, hole = photograph(), holes(96, 120, (30, 40, 32, 40))
    image[..., :60] += 0.5
    means = []
    for colour in (-0.1, 0.6):
        options = ExemplarOptions(rounds=2, iterations=2, start_depths=(7,), blend=False)
        filled = fill_structure(image, hole, Prophet(colour, 0.0), options)
        means.append(float(filled.image[hole.expand_as(image)].mean()))
        rows, columns = hole[0, 0].nonzero().T
        down, right = filled.offsets[0, :, rows, columns]
        assert torch.equal(filled.image[0, :, rows, columns], image[0, :, rows + down, columns + right])
        assert not hole[0, 0, rows + down, columns + right].any()
    assert means[0] < 0.1
    assert means[1] > 0.4


@pytest.mark.parametrize(("colour", "error"), [(0.9, 3.0), (0.0, 1.0)])
def test_a_network_that_doubts_itself_corrects_nothing(guides, colour, error):
    image, hole = photograph(), holes(96, 120, (30, 40, 32, 40))
    filled = fill_structure(image, hole, Prophet(colour, error), QUICK)
    copies = fill_exemplar(image, hole, QUICK)
    assert torch.equal(guides[1].colours, copies.image)
    again = fill_exemplar(image, hole, QUICK, guide=Guide(copies.image, hole.to(torch.float32) * (2 / 3)))
    assert torch.equal(filled.image, again.image)
    assert torch.equal(filled.offsets, again.offsets)


def test_detail_stays_where_a_large_hole_is_halved(guides):
    """Of 100 pixels one halving is left: means of 2 x 2 pixels become the network's, and grain stays."""
    image, hole = photograph(200, 220), holes(200, 220, (40, 50, 100, 100))
    fill_structure(image, hole, Prophet(0.5, 0.0), QUICK)
    copies, corrected = fill_exemplar(image, hole, QUICK).image, guides[1].colours
    inside = (slice(None), slice(None), slice(44, 136), slice(54, 146))
    grain = [x[inside] - nn.functional.avg_pool2d(x[inside], 3, 1, 1) for x in (copies, corrected)]
    assert (corrected[inside].mean() - 0.5).abs() < 0.01
    kept = (grain[0] * grain[1]).sum() / grain[0].square().sum()
    assert 0.7 < kept < 1.1


def test_every_part_has_a_window_of_its_own(guides):
    parts = (20, 20, 30, 30), (100, 220, 40, 50)
    image, hole = photograph(160, 300), holes(160, 300, *parts, (10, 150, 3, 120))
    prophet = Prophet(0.9, 0.0)
    fill_structure(image, hole, prophet, QUICK)
    assert len(prophet.seen) == 2  # a scratch has none
    corrected = guides[1].colours
    for top, left, rows, columns in parts:
        said = (corrected[..., top : top + rows, left : left + columns] - 0.9).abs()
        assert (said - TEXTURE).abs().max() < 1e-5
    assert corrected[..., 10:13, 150:270].max() < 0.5


def test_copies_are_what_the_network_corrects():
    """Its second draft is the picture as the patches have filled it; it is not shown what the hole held."""
    image, hole = photograph(), holes(96, 120, (30, 40, 32, 40))
    prophet = Prophet(0.0, 2.0)
    copies = fill_exemplar(image, hole, QUICK).image
    fill_structure(image.masked_fill(hole, 7.0), hole, prophet, QUICK)
    seen, mask, drafts = prophet.seen[0]
    assert torch.equal(drafts[:, 3:], copies)
    assert torch.equal(mask, hole)
    assert seen.max() <= 1


def test_what_it_is_trained_with_are_copies_too():
    """Close to those of the defaults; of crops with nothing known, or nothing missing, there are none."""
    image = photograph(48, 48).repeat(3, 1, 1, 1)
    image[0] += torch.linspace(-0.6, 0.6, 48)
    missing = torch.zeros(3, 1, 48, 48, dtype=torch.bool)
    missing[0, :, 12:34, 10:36] = missing[2] = True
    quick, copies = draw_copies(image.double(), missing).split(3, 1)
    assert torch.equal(quick, draw_drafts(image, missing, count=1))
    assert torch.equal(copies[1:], quick[1:])
    assert torch.equal(copies[0][~missing[0].expand(3, -1, -1)], image[0][~missing[0].expand(3, -1, -1)])
    inside = missing[0].expand(3, -1, -1)
    errors = [
        (x[0] - image[0])[inside].square().mean()
        for x in (copies, fill_exemplar(image[:1], missing[:1]).image)
    ]
    assert errors[0] < 1.3 * errors[1]


def test_only_what_is_thin_needs_no_network(guides):
    image, hole = photograph(), holes(96, 120, (10, 20, 3, 80))
    prophet = Prophet(0.9, 0.0)
    filled = fill_structure(image, hole, prophet, QUICK)
    assert torch.equal(filled.image, fill_exemplar(image, hole, QUICK).image)
    assert (prophet.seen, guides) == ([], [None])


@pytest.mark.parametrize("length", [9, 60, 72, 73, 150, 400, 1000])
def test_windows_are_as_the_network_was_trained(length):
    tall, wide = length, length // 2 + 8
    hole = holes(3000, 3000, (1100, 1200, tall, wide))
    (window,) = structure._windows(hole, 8)
    step = 1 << window.halvings
    assert max(tall, wide) / step <= 72
    assert window.halvings == 0 or 2 * max(tall, wide) / step > 72
    for axis, first, extent in zip(window.box, (1100, 1200), (tall, wide), strict=True):
        assert axis.start % step == 0
        assert first - axis.start >= 32 * step
        assert axis.stop - first - extent >= 32 * step
    assert torch.equal(window.part, hole[(..., *window.box)])


@pytest.mark.parametrize("size", [(7, 90), (90, 7)])
def test_pictures_too_small_for_the_network_are_filled_by_patches(size):
    image, hole = photograph(*size), holes(*size, (2, 2, *(min(n - 3, 20) for n in size)))
    prophet = Prophet(0.9, 0.0)
    filled = fill_structure(image, hole, prophet, QUICK)
    assert torch.equal(filled.image, fill_exemplar(image, hole, QUICK).image)
    assert not prophet.seen
    assert torch.equal(filled.image[~hole.expand_as(image)], image[~hole.expand_as(image)])


def test_progress_ends_at_one_and_never_goes_back():
    image, hole = photograph(), holes(96, 120, (30, 40, 32, 40))
    told = []
    fill_structure(image, hole, Prophet(0.0, 1.0), QUICK, told.append)
    assert told == sorted(told)
    assert told[-1] == 1.0
    assert all(0 < share <= 1 for share in told)


@pytest.mark.parametrize("share", [0.2, 0.5, 0.8])
def test_the_share_is_that_of_the_equation(guides, share):
    """Worked out pixel by pixel, for an error that makes about that share due, where no texture is lost."""
    image, hole = photograph(), holes(96, 120, (30, 40, 12, 15))
    copies = fill_exemplar(image, hole, QUICK).image
    error = math.sqrt((1 - share) * (0.5**2 + 0.2**2 / 12 + TEXTURE**2) / 0.35)
    prophet = Prophet(0.5, error)
    fill_structure(image, hole, prophet, QUICK)
    said = prophet(*prophet.seen[0]).refined[0]
    top, left = (int(n) for n in prophet.seen[0][1][0, 0].nonzero().min(0).values)
    corrected, taken = guides[1].colours, []
    for row in range(30, 42):
        for column in range(40, 55):
            beside = (
                slice(max(30, row - 2), min(42, row + 3)),
                slice(max(40, column - 2), min(55, column + 3)),
            )
            there = [
                slice(at.start - n + m, at.stop - n + m)
                for at, n, m in zip(beside, (30, 40), (top, left), strict=True)
            ]
            apart = (said[(slice(None), *there)] - copies[(0, slice(None), *beside)]).square().mean()
            due = max(0.0, 1 - 0.35 * error**2 / float(apart))
            own, network = copies[0, :, row, column], said[:, row - 30 + top, column - 40 + left]
            assert torch.allclose(corrected[0, :, row, column], own + due * (network - own), atol=1e-5)
            taken.append(due)
    assert abs(sum(taken) / len(taken) - share) < 0.1


@pytest.mark.parametrize("texture", [0.0, 0.02, 0.05, 0.2])
def test_less_is_due_where_the_network_has_lost_texture(guides, texture):
    """Around the hole all steps are alike, and in its middle those of the network are."""
    around = 0.1
    checkers = torch.arange(96)[:, None] + torch.arange(120)
    image = (around * (2 * (checkers % 2) - 1)).expand(1, 3, -1, -1).contiguous()
    hole = holes(96, 120, (30, 40, 24, 30))
    prophet = Prophet(0.4, 0.0, texture)
    fill_structure(image, hole, prophet, QUICK)
    said = prophet(*prophet.seen[0]).refined[0]
    middle = (slice(None), slice(37, 47), slice(47, 63))
    copies, corrected = fill_exemplar(image, hole, QUICK).image[0][middle], guides[1].colours[0][middle]
    share = max(1 / 127.5, texture * math.sqrt(8)) / (around * math.sqrt(8))
    top, left = (int(n) for n in prophet.seen[0][1][0, 0].nonzero().min(0).values)
    said = said[:, 37 - 30 + top : 47 - 30 + top, 47 - 40 + left : 63 - 40 + left]
    assert torch.allclose(corrected, copies + min(1.0, share) * (said - copies), atol=1e-5)


@pytest.mark.parametrize("size", [(151, 203), (158, 180)])
@pytest.mark.parametrize(("bottom", "right"), [(False, False), (True, False), (False, True), (True, True)])
def test_a_hole_that_the_border_cuts_off(guides, size, bottom, right):
    """And sides that are no multiples of the blocks of a window that is halved."""
    (height, width), (rows, columns) = size, (101, 115)
    hole = holes(
        height, width, (height - rows if bottom else 0, width - columns if right else 0, rows, columns)
    )
    image, known = photograph(height, width), ~hole.expand(-1, 3, -1, -1)
    filled = fill_structure(image.masked_fill(hole, math.nan), hole, Prophet(0.5, 0.0), QUICK).image
    assert torch.equal(filled[known], image[known])
    # Up to the picture's border: means over 4 x 4 pixels, but for those beside what is known.
    means = nn.functional.avg_pool2d(guides[1].colours, 4, 1)
    inner = -nn.functional.max_pool2d(-hole.float(), 4, 1)
    inner = -nn.functional.max_pool2d(-inner, 5, 1, 2) > 0
    assert (means.masked_select(inner) - 0.5).abs().max() < 0.1


def test_where_halving_leaves_nothing_known_the_copies_stay(guides):
    """Of a frame narrower than a block no network can say anything."""
    image, hole = photograph(160, 160), holes(160, 160, (1, 1, 158, 158))
    prophet = Prophet(0.9, 0.0)
    filled = fill_structure(image, hole, prophet, QUICK)
    assert torch.equal(filled.image, fill_exemplar(image, hole, QUICK).image)
    assert (prophet.seen, guides) == ([], [None])


def test_known_pixels_that_are_no_number_do_not_spread():
    image, hole = photograph(), holes(96, 120, (30, 40, 32, 40))
    image[..., :2] = math.nan
    torch.manual_seed(0)
    filled = fill_structure(image, hole, StructureNetwork(cnum=4), QUICK)
    assert filled.image.masked_select(hole).isfinite().all()


def test_every_part_is_told_of():
    image, hole = photograph(96, 200), holes(96, 200, (20, 20, 20, 20), (20, 90, 30, 20), (60, 150, 20, 30))
    told = []
    fill_structure(image, hole, Prophet(0.0, 1.0), QUICK, told.append)
    assert told == sorted(told)
    assert len({share for share in told if 0.45 <= share < 0.55}) >= 3  # as each begins
    assert told[-1] == 1.0


def test_the_network_itself(guides):
    """One that has learnt nothing yet: the mean of its fillings, sure of itself by what it is told to be."""
    image, hole = photograph(), holes(96, 120, (30, 40, 32, 40))
    torch.manual_seed(0)
    network = StructureNetwork(cnum=4)
    copies = fill_exemplar(image, hole, QUICK).image
    for log_error in (-9.0, 9.0):
        network.last.bias.data[-4:] = log_error
        fill_structure(image, hole, network, QUICK)
    sure, doubtful = guides[1].colours, guides[3].colours
    assert torch.equal(doubtful, copies)
    inside = hole.expand_as(image)
    assert sure[inside].std() < 0.9 * copies[inside].std()  # means have less contrast than what they are of
