"""Sample grids: which picture stands where."""

import torch

from contextual_attention.models.data.masks import random_boxes
from contextual_attention.models.data.samples import Place, Samples, collate
from contextual_attention.models.data.sources import ProceduralPictures
from contextual_attention.models.network.faces import Inpainted
from contextual_attention.models.network.generator import InpaintGenerator
from contextual_attention.models.network.structure import StructureNetwork
from contextual_attention.models.training.gallery import Gallery
from contextual_attention.photos import to_uint8
from contextual_attention.visualize import offsets_to_image


def make_samples(count):
    return Samples(
        ProceduralPictures(count, 24), lambda b, size, g: random_boxes(b, size, 8, g), (16, 24), seed=0
    )


def complete(network, sample, **options):
    return network(sample.image, sample.mask, **options)


def tile(grid, row, column):
    """The picture in a place of a grid of 16 x 24 pictures with gaps of 2."""
    return grid[:, 18 * row : 18 * row + 16, 26 * column : 26 * column + 24]


def test_a_row_is_a_sample_and_its_columns_are_what_became_of_it():
    torch.manual_seed(0)
    samples, generator = make_samples(3), InpaintGenerator(cnum=2)
    grid = Gallery(samples, complete, count=4).draw(generator, torch.device("cpu"))
    assert grid.dtype == torch.uint8
    assert grid.shape == (3, 4 * 18, 5 * 26)
    assert (grid[:, 16:18] == 255).all()
    assert (grid[:, :, 24:26] == 255).all()
    batch = collate([samples[Place(0, index)] for index in (0, 1, 2, 0)])  # three pictures fill four rows
    with torch.no_grad():
        result = generator(batch.image, batch.mask, return_offsets=True)
    attention = offsets_to_image(result.offsets, (16, 24))
    for row in range(4):
        hole = batch.mask[row].expand(3, -1, -1)
        assert (tile(grid, row, 0)[hole] == 255).all()
        assert torch.equal(tile(grid, row, 0)[~hole], to_uint8(batch.image)[row][~hole])
        for column, expected in enumerate((result.coarse, result.completed, batch.image), start=1):
            # Convolutions of another batch may be rounded in another order.
            difference = tile(grid, row, column).int() - to_uint8(expected)[row].int()
            assert difference.abs().max() <= 1
        assert torch.equal(tile(grid, row, 4), attention[row])


def test_the_expected_error_is_shown_in_the_hole():
    """Grey: as many shares of white as of a quarter of the range, which is 0.5; more is white."""

    class Doubtful:
        has_offsets = False

        def __call__(self, image, mask):
            error = torch.linspace(0, 1, 24).expand(len(image), 1, 16, 24)
            return Inpainted(None, image, image, error=error)

    samples = make_samples(2)
    grid = Gallery(samples, complete, count=2).draw(Doubtful(), torch.device("cpu"))
    assert grid.shape == (3, 2 * 18, 4 * 26)  # input, completed, expected error, original
    for row in range(2):
        sample = samples[Place(0, row)]
        expected = (torch.linspace(0, 2, 24).clamp(max=1) * 255).expand(3, 16, 24) * sample.mask
        assert (tile(grid, row, 2) - expected).abs().max() <= 1
        assert torch.equal(tile(grid, row, 3), to_uint8(sample.image))


def test_a_network_without_attention_has_no_picture_of_it():
    gallery = Gallery(make_samples(1), complete, count=1)
    grid = gallery.draw(InpaintGenerator(cnum=2, attention=None), torch.device("cpu"))
    assert grid.shape == (3, 18, 4 * 26)


def test_drafts_are_those_of_the_samples():
    """What a network is trained with, and no others, which it would draw itself."""
    samples = make_samples(2)
    samples.draft = lambda image, mask: image.new_full((len(image), 6, 16, 24), 0.25)
    seen = []

    def complete(network, sample, **options):
        seen.append(sample.drafts)
        return network(sample.image, sample.mask, sample.drafts, **options)

    network = StructureNetwork(cnum=2, dilations=(1,))
    Gallery(samples, complete, count=2).draw(network, torch.device("cpu"))
    assert torch.equal(seen[0], torch.full((2, 6, 16, 24), 0.25))
