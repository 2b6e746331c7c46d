"""CelebA, CelebA-HQ and DTD, in small folders of the layouts that they are unpacked to."""

import pytest
from helpers.layouts import CELEBA_LIST, celeba, celeba_hq, dtd, lists, pictures

from contextual_attention.models.data.data_sets import report
from contextual_attention.models.data.recognising import recognise


def numbers(part):
    return [int("".join(filter(str.isdigit, name.rpartition("/")[2]))) for name in part.names]


@pytest.mark.parametrize(
    ("below", "folder"),
    [
        ("", "img_align_celeba"),
        ("", "img_align_celeba/img_align_celeba"),  # of Kaggle
        ("celeba", "img_align_celeba"),  # of torchvision
        ("", "Img/img_align_celeba"),
    ],
)
def test_celeba_by_its_list(tmp_path, below, folder):
    celeba(tmp_path / below, folder)
    found = recognise(tmp_path)
    assert found.layout == "celeba"
    train = found.pictures("train")
    assert train.names == [f"{folder}/000001.jpg", f"{folder}/000002.jpg"]
    assert (train.expected, train.by, train.notes) == (162_770, "list_eval_partition.txt", ())
    assert numbers(found.pictures("val")) == [4]
    assert numbers(found.pictures("test")) == [5, 6]
    assert numbers(found.pictures("all")) == [1, 2, 4, 5, 6]
    assert found.pictures("all").expected == 202_599
    assert list(report(found, "train")) == [
        "CelebA, split train: 2 of 162,770 pictures, by list_eval_partition.txt",
        f"  missing: 1: {folder}/000003.jpg",
    ]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("Eval/list_eval_partition.txt", CELEBA_LIST),
        ("list_eval_partition.csv", "image_id,partition\n" + CELEBA_LIST.replace(" ", ",")),
    ],
)
def test_the_other_places_of_celeba_s_list(tmp_path, name, text):
    celeba(tmp_path)
    (tmp_path / "list_eval_partition.txt").unlink()
    lists(tmp_path, {name: text})
    found = recognise(tmp_path)
    assert found.pictures("val").by == name
    assert numbers(found.pictures("val")) == [4]


def test_celeba_without_its_list_by_number(tmp_path):
    """The published list has the first 162,770 for training, and the next 19,867 for validation."""
    ends = (1, 162_770, 162_771, 182_637, 182_638, 202_599)
    pictures(tmp_path, *(f"img_align_celeba/{number:06}.jpg" for number in ends))
    found = recognise(tmp_path)
    assert [numbers(found.pictures(split)) for split in ("train", "val", "test")] == [
        [1, 162_770], [162_771, 182_637], [182_638, 202_599]
    ]  # fmt: skip
    assert found.pictures("val").by == "number, since list_eval_partition.txt is missing"
    assert list(report(found, "test"))[1] == (
        "  missing: 19,960: img_align_celeba/182639.jpg, img_align_celeba/182640.jpg, "
        "img_align_celeba/182641.jpg, ..."
    )


def test_pictures_that_celeba_s_list_does_not_have(tmp_path):
    celeba(tmp_path)
    pictures(tmp_path, "img_align_celeba/me.jpg", "img_align_celeba/000007.jpg")
    part = recognise(tmp_path).pictures("train")
    assert numbers(part) == [1, 2]
    assert part.notes == ("2 pictures belong to no split and are left out",)
    lists(tmp_path, {"list_eval_partition.txt": "garbled\n000001.jpg 0 1\n000002.jpg 3\n"})
    with pytest.raises(ValueError, match=r"no pictures of the split train; 7 pictures belong to no split"):
        recognise(tmp_path).pictures("train")


@pytest.mark.parametrize("folder", ["CelebA-HQ-img", "celeba_hq_256", "CelebAMask-HQ/CelebA-HQ-img"])
def test_celeba_hq_from_number_0(tmp_path, folder):
    celeba_hq(tmp_path, folder, ["0", "27999", "28000", "29999"])
    found = recognise(tmp_path)
    assert found.layout == "celeba-hq"
    assert numbers(found.pictures("train")) == [0, 27_999]
    assert numbers(found.pictures("val")) == [28_000, 29_999]
    assert (found.pictures("train").expected, found.pictures("val").expected) == (28_000, 2_000)
    assert found.pictures("val").by == f"number (28000 to 29999) of {folder.rpartition('/')[2]}"
    with pytest.raises(ValueError, match="CelebA-HQ has the splits train, val, all; got 'test'"):
        found.pictures("test")


@pytest.mark.parametrize(
    ("folder", "names"),
    [
        ("data1024x1024", ["00001", "28000", "28001"]),  # by its folder, since the last may be missing
        ("CelebA-HQ-img", ["00028000", "00028001", "img00030000"]),  # by its last number
    ],
)
def test_celeba_hq_from_number_1(tmp_path, folder, names):
    celeba_hq(tmp_path, folder, names)
    found = recognise(tmp_path)
    assert numbers(found.pictures("train"))[-1] == 28_000
    assert numbers(found.pictures("val"))[0] == 28_001
    assert list(report(found, "val"))[1].startswith("  missing: 1,99")


def test_a_folder_of_celeba_hq_from_0_whatever_its_name(tmp_path):
    celeba_hq(tmp_path, "data256x256", ["0", "27999", "28000"])
    found = recognise(tmp_path)
    assert numbers(found.pictures("val")) == [28_000]
    assert list(report(found, "val"))[1] == "  missing: 1,999: number 28001, number 28002, number 28003, ..."


def test_pictures_of_celeba_hq_without_a_number_are_left_out(tmp_path):
    celeba_hq(tmp_path, "CelebA-HQ-img", ["0", "me", "1_copy", "28000"])
    found = recognise(tmp_path)
    assert numbers(found.pictures("train")) == [0]


@pytest.mark.parametrize("below", ["", "dtd", "dtd/dtd"])
def test_dtd_by_its_labels(tmp_path, below):
    dtd(tmp_path / below)
    found = recognise(tmp_path)
    assert found.layout == "dtd"
    train = found.pictures("train")
    assert train.names == ["images/banded/banded_0002.jpg", "images/banded/banded_0004.jpg"]
    assert (train.expected, train.by) == (1_880, "labels/train1.txt")
    assert found.pictures("train1") == train
    assert found.pictures("train2").names == ["images/zigzagged/zigzagged_0001.jpg"]
    assert found.pictures("train2").by == "labels/train2.txt"
    assert found.pictures("val2").names == ["images/banded/banded_0002.jpg"]
    assert len(found.pictures("all").names) == 4
    assert found.pictures("all").expected == 5_640
    assert list(report(found, "val")) == [
        "DTD, split val: 1 of 1,880 pictures, by labels/val1.txt",
        "  missing: 1: images/dotted/dotted_0001.jpg",
    ]


@pytest.mark.parametrize("split", ["train0", "train11", "dev", "all1"])
def test_a_division_that_dtd_does_not_have(tmp_path, split):
    dtd(tmp_path)
    with pytest.raises(ValueError, match=f"got '{split}'; a number, such as train2, says which of ten"):
        recognise(tmp_path).pictures(split)


def test_dtd_without_a_list(tmp_path):
    dtd(tmp_path)
    found = recognise(tmp_path)
    with pytest.raises(
        ValueError, match=r"labels/train3\.txt is missing, which lists the split train3 of DTD"
    ):
        found.pictures("train3")
    for path in (tmp_path / "labels").iterdir():
        path.unlink()
    assert recognise(tmp_path).layout == "dtd"  # by its first and its last class
    assert len(recognise(tmp_path).pictures("all").names) == 4
    assert next(report(recognise(tmp_path), "test")).startswith(
        f"data: {tmp_path}/labels/test1.txt is missing"
    )


def test_dtd_without_its_pictures(tmp_path):
    dtd(tmp_path)
    for path in sorted((tmp_path / "images").rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    (tmp_path / "images").rmdir()
    for split in ("train", "all"):
        with pytest.raises(ValueError, match=f"DTD in .* has no pictures of the split {split}"):
            recognise(tmp_path).pictures(split)
