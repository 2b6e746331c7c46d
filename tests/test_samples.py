"""The stream of samples: the same for any number of workers and processes, and from any position on."""

import itertools

import numpy as np
import pytest
import torch
from PIL import Image

from contextual_attention.models.data.discount import discount_weights
from contextual_attention.models.data.masks import random_boxes
from contextual_attention.models.data.samples import (
    DataError,
    Place,
    Samples,
    Stream,
    make_loader,
    random_crop,
    sample_generator,
)
from contextual_attention.models.data.scenes import draw_scene
from contextual_attention.models.data.sources import PictureFiles, ProceduralPictures


def draw_box(batch, size, generator):
    return random_boxes(batch, size, 6, generator)


def make_samples(source=None, **options):
    source = ProceduralPictures(5, 24) if source is None else source
    return Samples(source, draw_box, (16, 16), **({"seed": 7} | options))


def take(stream, count):
    return list(itertools.islice(stream, count))


def flat(stream, count):
    return list(itertools.chain(*take(stream, count)))


class TestStream:
    def test_every_epoch_is_another_permutation(self):
        places = flat(Stream(10, seed=3, chunk=5), 8)
        epochs = [[index for epoch, index in places if epoch == e] for e in range(4)]
        assert all(sorted(epoch) == list(range(10)) for epoch in epochs)
        assert len({tuple(epoch) for epoch in epochs}) == 4

    def test_chunks_reach_over_epochs(self):
        places = flat(Stream(3, seed=0, chunk=7), 3)
        assert places == flat(Stream(3, seed=0, chunk=1), 21)
        assert [place.epoch for place in places] == [n // 3 for n in range(21)]

    @pytest.mark.parametrize("position", [0, 4, 12, 28])
    def test_goes_on_from_any_position(self, position):
        whole = flat(Stream(10, seed=1, chunk=4), 12)
        later = flat(Stream(10, seed=1, chunk=4, position=position), 5)
        assert later == whole[position : position + 20]

    def test_processes_share_what_one_would_take(self):
        alone = take(Stream(10, seed=1, chunk=6, position=6), 4)
        parts = [take(Stream(10, 1, chunk=3, processes=2, process=p, position=6), 4) for p in range(2)]
        assert [first + second for first, second in zip(*parts, strict=True)] == alone

    def test_seeds_differ(self):
        assert take(Stream(50, seed=0, chunk=50), 1) != take(Stream(50, seed=1, chunk=50), 1)


class TestSamples:
    def test_a_place_is_a_sample(self):
        first, again = make_samples()[Place(2, 3)], make_samples()[Place(2, 3)]
        for one, other in zip(first[:-1], again[:-1], strict=True):
            assert torch.equal(one, other)
        for other in (make_samples()[Place(3, 3)], make_samples(seed=8)[Place(2, 3)]):
            assert first.blend != other.blend

    def test_what_it_holds(self):
        sample = make_samples(gamma=0.9)[Place(0, 1)]
        assert sample.image.shape == (3, 16, 16)
        assert sample.image.abs().max() <= 1
        assert sample.mask.sum() == 36
        assert torch.equal(sample.discount, discount_weights(sample.mask[None], 0.9)[0])
        top, left, height, width = sample.box.tolist()
        assert sample.mask[0, top : top + height, left : left + width].all()
        assert sample.broken == ()

    def test_generators_of_neighbours_are_unlike(self):
        draws = {float(torch.rand((), generator=sample_generator(*key))) for key in np.ndindex(4, 4, 4)}
        assert len(draws) == 64

    @pytest.mark.parametrize("workers", [0, 2])
    def test_workers_do_not_change_the_samples(self, workers):
        samples = make_samples()
        loader = iter(make_loader(samples, Stream(5, 7, chunk=3), workers, pin_memory=False))
        for places in take(Stream(5, 7, chunk=3), 4):
            batch = next(loader)
            expected = [samples[place] for place in places]
            assert torch.equal(batch.image, torch.stack([sample.image for sample in expected]))
            assert torch.equal(batch.mask, torch.stack([sample.mask for sample in expected]))
            assert torch.equal(batch.box, torch.stack([sample.box for sample in expected]))


class TestBrokenFiles:
    @pytest.fixture
    def paths(self, tmp_path):
        whole, cut, other = (tmp_path / name for name in ("whole.png", "cut.png", "text.png"))
        noise = np.random.default_rng(0).integers(0, 256, (30, 30, 3), np.uint8)
        Image.fromarray(noise).save(whole)
        cut.write_bytes(whole.read_bytes()[:500])
        other.write_text("not a picture")
        return [whole, cut, other, tmp_path / "gone.png"]

    @pytest.mark.parametrize("index", [1, 2, 3])
    def test_another_picture_takes_their_place(self, paths, index):
        sample = make_samples(PictureFiles(paths))[Place(0, index)]
        assert sample.image.shape == (3, 16, 16)
        assert paths[index].name in sample.broken[0]
        again = make_samples(PictureFiles(paths))[Place(0, index)]
        assert torch.equal(sample.image, again.image)
        assert sample.broken == again.broken

    def test_messages_come_through_workers(self, paths):
        samples = make_samples(PictureFiles(paths[:2]))
        loader = make_loader(samples, Stream(2, 0, chunk=2), workers=1, pin_memory=False)
        batch = next(iter(loader))
        assert all("cut.png" in message for message in batch.broken)
        assert batch.broken

    def test_nothing_readable_is_an_error_and_no_endless_search(self, paths):
        with pytest.raises(DataError, match=r"50 pictures one after the other .*png"):
            make_samples(PictureFiles(paths[1:]))[Place(0, 0)]


def crop(picture, least, place, flip=False):
    """In the scale of the picture, which is exact to 1e-5."""
    crop = random_crop(picture.to(torch.uint8), (8, 8), least, flip, sample_generator(0, 0, place))
    return (crop + 1) * 127.5


class TestCrop:
    def test_a_picture_of_the_size_is_itself(self):
        picture = torch.randint(256, (3, 8, 8), dtype=torch.uint8)
        found = random_crop(picture, (8, 8), 1.0, False, sample_generator(0, 0, 0))
        assert found.dtype == torch.float32
        assert torch.equal(found, picture / 127.5 - 1)

    def test_the_largest_square_reaches_every_place(self):
        picture = torch.arange(12.0).expand(3, 8, 12)
        starts = {round(float(crop(picture, 1.0, place)[0, 0, 0])) for place in range(200)}
        assert starts == set(range(5))

    def test_crops_zoom_by_the_share(self):
        """On a ramp the slope of the crop is the side of the region over that of the crop."""
        picture = torch.arange(64.0).expand(3, 64, 64)
        slopes = [float(crop(picture, 0.25, place)[0, 4].diff()[2:5].mean()) for place in range(200)]
        assert min(slopes) >= 16 / 8 - 1e-4
        assert max(slopes) <= 64 / 8 + 1e-4
        assert min(slopes) < 2.5
        assert max(slopes) > 7.5

    def test_small_pictures_are_enlarged(self):
        assert crop(torch.zeros(3, 3, 5), 0.5, 0).shape == (3, 8, 8)

    def test_half_of_the_crops_are_mirrored(self):
        picture = torch.arange(8.0).expand(3, 8, 8)
        crops = (crop(picture, 1.0, place, flip=True) for place in range(200))
        mirrored = sum(bool(one[0, 0, 0] > 1) for one in crops)
        assert 70 < mirrored < 130  # 4 deviations about 100


def test_how_many_threads_the_process_has_decides_nothing():
    # From some 32 thousand numbers on torch divides a sum among threads: the mean colour of a crop or scene.
    pictures = ProceduralPictures(3, 192, draw=draw_scene)
    samples = Samples(pictures, draw_box, (128, 128), seed=7, colour=0.5)
    before, made = torch.get_num_threads(), []
    try:
        for threads in (1, 4):
            torch.set_num_threads(threads)
            made.append(torch.stack([samples[Place(0, index)].image for index in range(3)]))
            assert torch.get_num_threads() == threads  # the process's own, afterwards
    finally:
        torch.set_num_threads(before)
    assert torch.equal(*made)
