"""Samples that are used several times: which comes when, how it is turned, and that a run can be taken up
again anywhere, by any number of processes.
"""

import itertools
from collections import Counter

import numpy as np
import pytest
import torch
from helpers.runs import make_trainer, tiny
from lightning_fabric import Fabric

from contextual_attention.models.data.echo import WINDOW, Echo, turned
from contextual_attention.models.data.samples import Sample
from contextual_attention.models.training.feed import Feed, make_samples

EMPTY = torch.empty(0)


def numbered(first):
    """Batches of one sample, whose pixel is the number of the batch."""
    for number in itertools.count(first):
        x = torch.full((1, 1, 1, 1), float(number))
        yield Sample(x, x > -1, x, torch.zeros(1, 4, dtype=torch.int64), torch.zeros(1), x, ())


def numbers(times, count, start=0):
    echo = Echo(numbered, times, parts=1, seed=0)
    return [int(echo.part(batch, 0, slice(0, 1), 1).image) for batch in range(start, start + count)]


class TestOrder:
    @pytest.mark.parametrize("times", [1, 2, 3, 7, 12, 30, 64])
    def test_each_is_used_so_many_times(self, times):
        """But for those of the beginning, more often, and of the end."""
        used = Counter(numbers(times, times * 300))
        assert {used[number] for number in range(WINDOW + times, 300 - WINDOW - times)} == {times}
        assert max(used.values()) <= 2 * times - 1
        assert min(used[number] for number in range(300 - WINDOW - times)) == times

    def test_once_is_the_stream_itself(self):
        assert numbers(1, 20, start=5) == list(range(5, 25))

    @pytest.mark.parametrize("times", [2, 5, 60])
    def test_uses_lie_apart(self, times):
        order = numbers(times, times * 300)
        groups = [place // times for place, number in enumerate(order) if number == 150]
        apart = max(1, WINDOW // (times - 1))
        assert groups == [150 + apart * repeat for repeat in range(times)]

    @pytest.mark.parametrize("times", [2, 3, 6])
    @pytest.mark.parametrize("updates", [2, 3, 6])
    def test_every_update_of_a_step_sees_fresh_batches_and_used_ones(self, times, updates):
        first = 2 * WINDOW * times * updates  # later no fresh one stands in for another
        order = numbers(times, 200 * times * updates, start=first)
        fresh = [number == place // times for place, number in enumerate(order, first)]
        for update in range(updates):
            assert 0.5 / times < np.mean(fresh[update::updates]) < 1.5 / times

    @pytest.mark.parametrize("start", [1, 17, 100, 301])
    def test_goes_on_from_anywhere(self, start):
        assert numbers(4, 400)[start:] == numbers(4, 400 - start, start)

    @pytest.mark.parametrize("times", [3, 30, 64])
    def test_no_more_is_held_than_is_used_again(self, times):
        echo = Echo(numbered, times, parts=1, seed=0)
        for batch in range(times * 150):
            echo.part(batch, 0, slice(0, 1), 1)
            assert len(echo._held) <= max(WINDOW, times) + 1


def by_hand(x, symmetry):
    """(n, H, W) in reverse by columns, by rows, and transposed."""
    x = x.numpy()
    x = x[:, :, ::-1] if symmetry & 1 else x
    x = x[:, ::-1] if symmetry & 2 else x
    return np.swapaxes(x, 1, 2) if symmetry & 4 else x


@pytest.fixture(scope="module")
def sample():
    random = torch.Generator().manual_seed(3)

    def draw(*shape):
        return torch.rand(8, *shape, generator=random)

    boxes = torch.tensor([[1, 2, 3, 4], [0, 0, 6, 6], [5, 1, 1, 2], [2, 3, 4, 3]] * 2)
    return Sample(
        draw(3, 6, 6), draw(1, 6, 6) < 0.5, draw(1, 6, 6), boxes, draw(), draw(4, 6, 6), ("broken",)
    )


class TestTurned:
    def test_every_symmetry_of_every_plane(self, sample):
        changed = turned(sample, torch.arange(8))
        for name in ("image", "mask", "discount", "drafts"):
            for symmetry in range(8):
                expected = by_hand(getattr(sample, name)[symmetry], symmetry)
                assert np.array_equal(getattr(changed, name)[symmetry].numpy(), expected), (name, symmetry)
        assert torch.equal(changed.blend, sample.blend)
        assert changed.broken == sample.broken

    def test_boxes_go_with_the_pixels(self, sample):
        changed = turned(sample, torch.arange(8))
        for before, after, image, other, symmetry in zip(
            sample.box, changed.box, sample.image, changed.image, range(8), strict=True
        ):
            crops = [
                x[:, top : top + height, left : left + width]
                for x, (top, left, height, width) in ((image, before.tolist()), (other, after.tolist()))
            ]
            assert np.array_equal(crops[1].numpy(), by_hand(crops[0], symmetry)), symmetry

    def test_without_drafts(self, sample):
        empty = sample._replace(drafts=sample.drafts[:, :0])
        assert turned(empty, torch.arange(8)).drafts.shape == (8, 0, 6, 6)


class Process:
    """What `Feed` asks of a Fabric, of one of several processes."""

    device = torch.device("cpu")

    def __init__(self, rank, processes):
        self.global_rank, self.world_size = rank, processes

    def to_device(self, x):
        return x


def collate_parts(parts):
    """One batch of parts of it."""
    return Sample(*(torch.cat(tensors) for tensors in zip(*(part[:-1] for part in parts), strict=True)), ())


def take(count, fabric=None, position=0, **changes):
    config = tiny(data__echo="3", **changes)
    feed = Feed(make_samples(config), config, fabric or Fabric(accelerator="cpu"), position)
    return [feed.next() for _ in range(count)]


def assert_same(one, other):
    assert all(torch.equal(a, b) for a, b in zip(one[:-1], other[:-1], strict=True))


class TestFeed:
    def test_what_is_used_again_is_turned(self):
        plain = tiny()
        feed = Feed(make_samples(plain), plain, Fabric(accelerator="cpu"), 0)
        fresh = [feed.next() for _ in range(8)]
        colours = [sample.image.flatten(1).sort().values for sample in fresh]
        found = []
        for sample in take(24):
            same = [torch.equal(sample.image.flatten(1).sort().values, each) for each in colours]
            number = same.index(True)
            found.append((number, torch.equal(sample.image, fresh[number].image)))
        assert Counter(number for number, _ in found) == dict.fromkeys(range(8), 3)
        assert Counter(number for number, is_plain in found if is_plain) == dict.fromkeys(range(8), 1)

    @pytest.mark.parametrize(("position", "workers"), [(5, "0"), (5, "2"), (160, "1")])
    def test_goes_on_from_any_position(self, position, workers):
        whole, rest = take(position + 9), take(9, position=position * 4, data__workers=workers)
        for one, other in zip(whole[position:], rest, strict=True):
            assert_same(one, other)

    @pytest.mark.parametrize(("processes", "parts"), [(2, 1), (1, 2), (2, 2)])
    def test_processes_and_parts_share_what_one_would_take(self, processes, parts):
        whole = take(8)
        shared = [
            take(8 * parts, Process(rank, processes), optimiser__accumulate=str(parts))
            for rank in range(processes)
        ]
        for number, batch in enumerate(whole):
            pieces = [
                shared[rank][number * parts + part] for part in range(parts) for rank in range(processes)
            ]
            assert_same(batch, collate_parts(pieces))

    def test_what_is_held_is_not_the_workers(self):
        """Of shared memory little is there, and each tensor in it takes an open file."""
        config = tiny(data__echo="2", data__workers="1")
        feed = Feed(make_samples(config), config, Fabric(accelerator="cpu"), 0)
        feed.next()
        ((held,),) = feed._echo._held.values()
        assert not any(x.is_shared() for x in held[:-1])

    def test_a_resumed_run_is_the_run(self, tmp_path):
        whole, resumed = (make_trainer(tmp_path / name, data__echo="3") for name in ("a", "b"))
        whole.run(4)
        resumed.run(2)
        resumed = make_trainer(tmp_path / "b", resume=True, data__echo="3")
        resumed.run(4)
        for name, weight in whole.generator.state_dict().items():
            assert torch.equal(weight, resumed.generator.state_dict()[name]), name
