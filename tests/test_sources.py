"""Where pictures come from: folders, patterns, lists, datasets, the procedural set."""

import io
import os
import sys
import threading
import time
import types
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from helpers import layouts
from helpers.runs import peak, start_of_peak
from PIL import Image

from contextual_attention.models.data.dead_leaves import dead_leaves
from contextual_attention.models.data.scenes import draw_scene
from contextual_attention.models.data.sources import Cached, Mixed, find_pictures, open_source
from contextual_attention.opening import _Budget
from contextual_attention.photos import PhotoError, read_photo, to_features, to_uint8


@pytest.fixture
def folder(tmp_path):
    noise = np.random.default_rng(0)
    (tmp_path / "below").mkdir()
    for name in ("b.png", "a.jpg", "below/c.PNG"):
        Image.fromarray(noise.integers(0, 256, (9, 7, 3), np.uint8)).save(tmp_path / name)
    (tmp_path / "notes.md").write_text("no picture")
    os.mkfifo(tmp_path / "pipe.png")
    return tmp_path


def names(paths, folder):
    return [str(path.relative_to(folder)) for path in paths]


def test_a_folder_gives_its_pictures_and_never_a_pipe(folder):
    assert names(find_pictures(folder), folder) == ["a.jpg", "b.png", "below/c.PNG"]


def test_a_pattern_and_a_list(folder):
    assert names(find_pictures(f"{folder}/*.png"), folder) == ["b.png"]
    assert names(find_pictures(f"{folder}/**/*.PNG"), folder) == ["below/c.PNG"]
    (folder / "list.txt").write_text("below/c.PNG\n\nb.png\n")
    assert names(find_pictures(folder / "list.txt"), folder) == ["below/c.PNG", "b.png"]


def test_pictures_are_found_by_their_content_too(folder):
    (folder / "b.png").rename(folder / "b")
    (folder / "data.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(99))  # Pillow knows its name, and no more
    assert names(find_pictures(folder), folder) == ["a.jpg", "b", "below/c.PNG"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_a_list_of_another_editor(folder, encoding):
    """Of Windows, which writes a mark at the beginning and two signs at the ends of lines."""
    (folder / "b.png").rename(folder / "größe.png")
    mark = "\ufeff" if encoding in ("utf-16-le", "utf-16-be") else ""
    (folder / "list.txt").write_bytes(f"{mark}below/c.PNG\r\n\r\ngröße.png\r\n".encode(encoding))
    assert names(find_pictures(folder / "list.txt"), folder) == ["below/c.PNG", "größe.png"]


def test_a_list_that_is_no_text_is_named(folder):
    (folder / "list.txt").write_bytes(b"b.png\n\xff\n")
    with pytest.raises(ValueError, match=r"list\.txt: a list of pictures in utf-8-sig cannot be read"):
        find_pictures(folder / "list.txt")


@pytest.mark.parametrize("name", ["pipe.png", "below", "/dev/zero"])
def test_a_list_of_other_than_files_never_hangs(folder, name):
    (folder / "list.txt").write_text(f"{name}\nb.png\n")
    source = open_source(str(folder / "list.txt"), 8)
    with pytest.raises(PhotoError, match=f"{name}: cannot be read as a picture .not a regular file"):
        source.read(0)
    assert source.read(1).shape == (3, 9, 7)


@pytest.mark.parametrize("where", ["nowhere", "*.gif", "list.txt"])
def test_nothing_there_is_said(where, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "list.txt").write_text("\n")
    with pytest.raises(ValueError, match=r"no pictures at .* expected a folder, a glob pattern, a list"):
        find_pictures(where)


def test_the_order_of_files_is_that_of_paths(tmp_path):
    """Since a seed finds a picture by its place in the order."""
    for name in ("a/b.png", "a-/b.png", "a.png", "a/-.png", "a b.png", "A.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = find_pictures(tmp_path)
    assert len(found) == 6
    assert found == sorted(found)


def test_a_split_of_a_published_data_set(tmp_path):
    layouts.dtd(tmp_path)
    said = []
    source = open_source(str(tmp_path), 16, split="val2", say=said.append)
    assert said == ["data: DTD, split val2: 1 of 1,880 pictures, by labels/val2.txt"]
    assert len(source) == 1
    assert torch.equal(source.read(0), open_source(str(tmp_path / "images/banded"), 16).read(0))
    assert len(open_source(str(tmp_path), 16)) == 2  # for training
    assert len(open_source(str(tmp_path), 16, split="all")) == 4


def test_a_data_set_can_be_taken_for_a_folder(tmp_path):
    layouts.dtd(tmp_path)
    said = []
    assert len(open_source(str(tmp_path), 16, layout="plain", say=said.append)) == 4
    assert said == []


@pytest.mark.parametrize("data", ["{folder}", "{folder}/*.png", "procedural", "scenes"])
def test_what_is_no_data_set_has_no_splits(folder, data):
    data = data.format(folder=folder)
    assert len(open_source(data, 16, split="all")) == len(open_source(data, 16)) >= 1
    with pytest.raises(
        ValueError, match=r"split: no published data set is recognised at .*there is no split 'val'"
    ):
        open_source(data, 16, split="val")
    with pytest.raises(ValueError, match="nothing of the layout places2"):
        open_source(data, 16, layout="places2")


@pytest.mark.parametrize("name", ["procedural", "scenes"])
def test_a_folder_named_as_a_procedural_set_is_not_looked_into(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    layouts.dtd(tmp_path / name)
    assert len(open_source(name, 16, count=3)) == 3


def test_files_are_read_as_photos(folder):
    source = open_source(str(folder), 8)
    assert len(source) == 3
    assert torch.equal(to_features(source.read(1)), read_photo(folder / "b.png")[0])


@pytest.mark.parametrize(("name", "draw"), [("procedural", dead_leaves), ("scenes", draw_scene)])
def test_procedural_pictures_have_a_number_each(name, draw):
    source = open_source(name, 40, count=7)
    assert len(source) == 7
    assert source.read(3).shape == (3, 60, 60)
    assert torch.equal(source.read(3), source.read(3))
    assert not torch.equal(source.read(3), source.read(4))
    assert torch.equal(source.read(0), to_uint8(draw((60, 60), torch.Generator().manual_seed(0))))


@pytest.mark.parametrize("name", ["procedural", "scenes"])
def test_procedural_sets_of_other_seeds_have_other_pictures(name):
    pictures = [open_source(data, 16, count=3).read(0) for data in (name, f"{name}:0", f"{name}:1")]
    assert torch.equal(pictures[0], pictures[1])
    assert not torch.equal(pictures[0], pictures[2])
    for seed in ("", "-1", "x"):
        with pytest.raises(ValueError, match=f"expected {name}:SEED .* got {name}:{seed}$"):
            open_source(f"{name}:{seed}", 16)


def test_a_large_picture_takes_little_more_memory_than_its_pixels(tmp_path):
    """Pillow holds 4 bytes a pixel, hands out 3 in two copies, and 3 are the result; float32 takes 12."""
    side = 4000
    Image.new("RGB", (side, side), (200, 100, 50)).save(tmp_path / "large.png")
    source = open_source(str(tmp_path), 16)
    before = start_of_peak()
    assert source.read(0).shape == (3, side, side)
    assert peak() - before < 16 * side**2


@pytest.mark.parametrize("pixels", [1, 5, 6, 10, 1000])
def test_threads_decode_no_more_than_the_budget(pixels):
    budget, lock = _Budget(10), threading.Lock()
    now, most = 0, 0

    def decode(_):
        nonlocal now, most
        with budget.spent_on(pixels):
            with lock:
                now += 1
                most = max(most, now)
            time.sleep(0.002)
            with lock:
                now -= 1

    with ThreadPoolExecutor(12) as pool:
        list(pool.map(decode, range(48)))
    assert 1 <= most <= max(1, 10 // pixels)


class Counting:
    """A source that counts how often each picture is read."""

    def __init__(self):
        self.reads = []

    def __len__(self):
        return 4

    def read(self, index):
        self.reads.append(index)
        return torch.full((3, 5, 5), index, dtype=torch.uint8)


def test_a_mixed_source_has_the_pictures_of_one_and_then_those_of_the_other():
    first, second = open_source("procedural", 16, count=3), Counting()
    mixed = Mixed(first, second)
    assert len(mixed) == 3 + 4
    for index in range(3):
        assert torch.equal(mixed.read(index), first.read(index))
    assert second.reads == []
    for index in range(4):
        assert torch.equal(mixed.read(3 + index), torch.full((3, 5, 5), index, dtype=torch.uint8))
    assert second.reads == [0, 1, 2, 3]


def test_a_cache_reads_once_what_fits():
    source = Counting()
    cached = Cached(source, limit=2 * 75)
    for _ in range(3):
        for index in range(4):
            assert torch.equal(cached.read(index), torch.full((3, 5, 5), index, dtype=torch.uint8))
    assert source.reads.count(0) == source.reads.count(1) == 1
    assert source.reads.count(2) == source.reads.count(3) == 3


class TestHub:
    """Against a stand-in for the package datasets, which is not among the requirements."""

    @pytest.fixture
    def datasets(self, monkeypatch):
        class Column:
            def __init__(self, decode=True):
                self.decode = decode

        class Rows(list):
            def __init__(self):
                self.features = {"text": "string", "photo": Column()}

            def cast_column(self, name, feature):
                assert name == "photo"
                assert not feature.decode
                return self

        def load_dataset(name, split):
            assert name == "owner/name"
            rows = Rows()
            if split == "train":
                data = io.BytesIO()
                Image.new("RGB", (4, 6), (255, 0, 0)).save(data, "PNG")
                for content in (data.getvalue(), b"damaged"):
                    rows.append({"text": "", "photo": {"bytes": content, "path": None}})
            return rows

        package = types.ModuleType("datasets")
        package.Image, package.load_dataset = Column, load_dataset
        monkeypatch.setitem(sys.modules, "datasets", package)
        return package

    def test_reads_its_pictures(self, datasets):
        source = open_source("hf:owner/name", 8)
        assert len(source) == 2
        assert torch.equal(source.read(0)[:, 0, 0], torch.tensor([255, 0, 0]))
        assert source.read(0).shape == (3, 6, 4)
        with pytest.raises(PhotoError, match="owner/name, row 1"):
            source.read(1)

    def test_says_when_there_are_no_pictures(self, datasets, monkeypatch):
        monkeypatch.setattr(datasets, "Image", int)
        with pytest.raises(ValueError, match="no column of pictures, only text, photo"):
            open_source("hf:owner/name", 8)

    def test_says_when_a_split_is_empty(self, datasets):
        with pytest.raises(ValueError, match="data: the split 'test' of owner/name is empty"):
            open_source("hf:owner/name:test", 8)

    def test_says_what_is_missing(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "datasets", None)
        with pytest.raises(ValueError, match="pip install datasets"):
            open_source("hf:owner/name", 8)
