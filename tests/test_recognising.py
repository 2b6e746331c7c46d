"""Which data set a folder holds, and that plain folders hold none."""

import pytest
from helpers.layouts import celeba, celeba_hq, dtd, imagenet, pictures, places

from contextual_attention.models.data.recognising import LAYOUTS, recognise

MADE = {
    "places2": places,
    "places2-256": lambda root: places(root, "256"),
    "places2-folders": lambda root: pictures(root, "train/airfield/1.jpg", "val/airfield/2.jpg"),
    "celeba": celeba,
    "celeba-hq": lambda root: celeba_hq(root, "CelebA-HQ-img", ["0", "28000"]),
    "dtd": dtd,
    "imagenet": imagenet,
}


def test_every_layout_is_tried():
    assert list(LAYOUTS) == ["auto", "plain", *MADE]


@pytest.mark.parametrize("layout", MADE)
def test_each_is_itself_and_nothing_else(tmp_path, layout):
    MADE[layout](tmp_path)
    assert recognise(tmp_path).layout == layout
    assert recognise(tmp_path, layout).layout == layout
    assert recognise(tmp_path, "plain") is None


@pytest.mark.parametrize("layout", MADE)
def test_a_plain_folder_is_nothing_of_each(tmp_path, layout):
    """Whatever its own name, and those of folders of no data set."""
    root = tmp_path / "celeba_hq_256"
    pictures(root, "0.jpg", "train/cats/1.jpg", "val/cats/2.jpg", "images/3.jpg", "labels/4.jpg")
    assert recognise(root) is None
    assert recognise(root / "0.jpg") is None
    assert recognise(root / "nowhere") is None
    if layout in ("places2", "places2-256", "dtd"):
        with pytest.raises(ValueError, match=f"nothing of the layout {layout} in"):
            recognise(root, layout)
    with pytest.raises(ValueError, match=f"nothing of the layout {layout} in"):
        recognise(root / "nowhere", layout)


def test_the_folder_of_the_pictures_will_do_where_the_layout_is_named(tmp_path):
    celeba_hq(tmp_path, "celeba_hq_256", ["00000", "28000"])
    assert recognise(tmp_path / "celeba_hq_256") is None
    part = recognise(tmp_path / "celeba_hq_256", "celeba-hq").pictures("val")
    assert part.names == ["28000.jpg"]
    celeba(tmp_path / "other")
    faces = recognise(tmp_path / "other/img_align_celeba", "celeba")
    assert faces.pictures("train").names[0] == "000001.jpg"
    assert next(iter(faces.listed("val"))) == "162771.jpg"


@pytest.mark.parametrize("second", [layout for layout in MADE if layout != "places2"])
def test_two_data_sets_in_a_folder_are_asked_about(tmp_path, second):
    places(tmp_path)
    MADE[second](tmp_path)
    says = f"more than one data set: places2 .*{second} .*; expected one of these layouts by name"
    with pytest.raises(ValueError, match=says):
        recognise(tmp_path)
    assert recognise(tmp_path, "places2").layout == "places2"
    assert recognise(tmp_path, second).layout == second
    assert recognise(tmp_path, "plain") is None


def test_two_sizes_of_celeba_hq_are_asked_about(tmp_path):
    for folder in ("data256x256", "data1024x1024"):
        celeba_hq(tmp_path, folder, ["00001", "28001"])
    with pytest.raises(
        ValueError, match=r"celeba-hq \(data256x256\); celeba-hq \(data1024x1024\); .* the layout"
    ):
        recognise(tmp_path, "celeba-hq")
    assert recognise(tmp_path / "data256x256", "celeba-hq").pictures("train").names == ["00001.jpg"]


def test_an_unknown_layout_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"layout: expected one of auto, plain, places2, .*, got 'places'"):
        recognise(tmp_path, "places")
