"""Places2 and ImageNet, in small folders of the layouts that they are unpacked to."""

import pytest
from helpers.layouts import PLACES_LISTS, imagenet, lists, pictures, places

from contextual_attention.models.data.data_sets import report
from contextual_attention.models.data.recognising import recognise

TRAIN = ["a/airfield/00000001.jpg", "a/airfield/00000002.jpg", "b/bus_station/indoor/00000001.jpg"]


@pytest.mark.parametrize(
    ("size", "suffix", "layout"),
    [
        ("large", "", "places2"),
        ("256", "", "places2-256"),
        ("large", "_standard", "places2"),  # as torchvision renames it
        ("256", "_standard", "places2-256"),
    ],
)
def test_places_as_its_archives_are_unpacked(tmp_path, size, suffix, layout):
    places(tmp_path, size, suffix)
    found = recognise(tmp_path)
    assert found.layout == layout
    train = found.pictures("train")
    assert train.names == [f"data_{size}{suffix}/{name}" for name in TRAIN]
    assert (train.expected, train.by) == (1_803_460, f"data_{size}{suffix}")
    assert found.pictures("val").names == [f"val_{size}/Places365_val_00000002.jpg"]
    assert found.pictures("val").expected == 36_500
    assert len(found.pictures("all").names) == 4
    assert found.pictures("all").expected == 1_803_460 + 36_500 + 328_500


@pytest.mark.parametrize("folder", ["", "filelist_places365-standard"])
def test_what_is_missing_of_places_is_named_by_its_lists(tmp_path, folder):
    places(tmp_path)
    for name in PLACES_LISTS:
        (tmp_path / name).unlink()
    lists(tmp_path / folder, PLACES_LISTS)
    assert list(report(recognise(tmp_path), "all")) == [
        "Places2, large, split train: 3 of 1,803,460 pictures, by data_large",
        "  missing: 1: data_large/c/canyon/00000003.jpg",
        "Places2, large, split val: 1 of 36,500 pictures, by val_large",
        "  missing: 1: val_large/Places365_val_00000001.jpg",
        "data: the split test of Places2, large is missing: no folder test_large in "
        f"{tmp_path} (328,500 pictures)",
    ]


def test_a_missing_list_of_places_is_named(tmp_path):
    pictures(tmp_path, "data_256/a/airfield/00000001.jpg")
    assert list(report(recognise(tmp_path), "train")) == [
        "Places2, 256 x 256, split train: 1 of 1,803,460 pictures, by data_256",
        f"  missing: 1,803,459; places365_train_standard.txt would name them, and is not in {tmp_path}",
    ]


def test_a_split_that_is_not_unpacked(tmp_path):
    pictures(tmp_path, "data_256/a/airfield/00000001.jpg")
    found = recognise(tmp_path)
    with pytest.raises(
        ValueError, match=r"the split val of Places2, 256 x 256 is missing: no folder val_256"
    ):
        found.pictures("val")
    with pytest.raises(
        ValueError, match=r"Places2, 256 x 256 has the splits train, val, test, all; got 'dev'"
    ):
        found.pictures("dev")
    assert found.pictures("all").names == ["data_256/a/airfield/00000001.jpg"]


def test_more_than_were_published_is_said(tmp_path, monkeypatch):
    places(tmp_path)
    found = recognise(tmp_path)
    monkeypatch.setattr(type(found), "published", {"train": 2, "val": 1, "test": 0})
    assert next(report(found, "train")).endswith(
        "split train: 3 pictures (1 more than were published), by data_large"
    )
    assert next(report(found, "val")).endswith("split val: 1 pictures, by val_large")


MARKS = {
    "a list": lambda root: (root / "places365_val.txt").touch(),
    "the categories": lambda root: (root / "categories_places365.txt").touch(),
    "names of val": lambda root: pictures(root, "val/canyon/Places365_val_00000435.jpg"),
    "names of a flat val": lambda root: pictures(root, "val/Places365_val_00000435.jpg"),
    "a category": lambda root: pictures(root, "train/airfield/00000009.jpg"),
}


@pytest.mark.parametrize("below", ["", "places365_standard"])
@pytest.mark.parametrize("mark", MARKS)
def test_places_as_train_and_val(tmp_path, mark, below):
    root = tmp_path / below
    pictures(root, "train/canyon/00000001.jpg", "val/canyon/00000002.jpg")
    assert recognise(tmp_path) is None  # as anybody's pictures are
    MARKS[mark](root)
    found = recognise(tmp_path)
    assert found.layout == "places2-folders"
    assert "train/canyon/00000001.jpg" in found.pictures("train").names
    assert "val/canyon/00000002.jpg" in found.pictures("val").names
    assert not any(name.startswith("val") for name in found.pictures("train").names)


@pytest.mark.parametrize(
    ("base", "train", "val"),
    [
        ("", "train", "val"),
        ("", "ILSVRC2012_img_train", "ILSVRC2012_img_val"),
        ("Data/CLS-LOC", "train", "val"),
        ("ILSVRC/Data/CLS-LOC", "train", "val"),  # of Kaggle
    ],
)
def test_imagenet(tmp_path, base, train, val):
    imagenet(tmp_path / base, train, val)
    found = recognise(tmp_path)
    assert (found.layout, found.root) == ("imagenet", tmp_path / base)
    part = found.pictures("train")
    assert part.names == [
        f"{train}/n01440764/n01440764_18.JPEG",
        f"{train}/n01440764/n01440764_36.JPEG",
        f"{train}/n01443537/n01443537_2.JPEG",
    ]
    assert (part.expected, part.by, part.notes) == (1_281_167, train, ())
    assert found.pictures("val").names == [f"{val}/ILSVRC2012_val_00000001.JPEG"]
    assert list(report(found, "val"))[1] == "  missing: 49,999; the archives come with no list of them"


def test_imagenet_s_val_by_class_and_alone(tmp_path):
    pictures(tmp_path, "val/n01440764/ILSVRC2012_val_00000293.JPEG")
    assert recognise(tmp_path).pictures("val").names == ["val/n01440764/ILSVRC2012_val_00000293.JPEG"]


def test_archives_of_imagenet_s_classes_are_noticed(tmp_path):
    imagenet(tmp_path)
    for number in (1, 2):
        (tmp_path / f"train/n0144000{number}.tar").touch()
    assert recognise(tmp_path).pictures("train").notes == ("2 archives of train are still to be unpacked",)
    pictures(tmp_path / "other", "val/ILSVRC2012_val_00000001.JPEG")
    (tmp_path / "other/train").mkdir()
    (tmp_path / "other/train/n01440001.tar").touch()
    with pytest.raises(
        ValueError, match="no pictures of the split train; 1 archives of train are still to be"
    ):
        recognise(tmp_path / "other").pictures("train")
