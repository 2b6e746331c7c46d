"""Small folders in the layouts of published data sets: a few of the pictures, the names of the archives."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

PLACES_LISTS = {
    "places365_train_standard.txt": "/a/airfield/00000001.jpg 0\n/a/airfield/00000002.jpg 0\n"
    "/b/bus_station/indoor/00000001.jpg 71\n/c/canyon/00000003.jpg 84\n",
    "places365_val.txt": "Places365_val_00000001.jpg 165\nPlaces365_val_00000002.jpg 358\n",
}
CELEBA_LIST = "000001.jpg 0\n000002.jpg 0\n000003.jpg 0\n000004.jpg 1\n000005.jpg 2\n000006.jpg 2\n"


def pictures(root: Path, *names: str) -> None:
    """Small pictures in the formats of their names, each of a colour of its own."""
    for number, name in enumerate(names):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.full((24, 24, 3), (40 * number + 20) % 256, np.uint8)
        Image.fromarray(pixels).save(path, "PNG" if name.lower().endswith(".png") else "JPEG")


def lists(root: Path, texts: dict[str, str]) -> None:
    """Files of text."""
    for name, text in texts.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


def places(root: Path, size: str = "large", suffix: str = "") -> None:
    """Three training pictures and one for validation of Places2, and both lists, which have one more each."""
    train = f"data_{size}{suffix}"
    pictures(root, f"{train}/a/airfield/00000001.jpg", f"{train}/a/airfield/00000002.jpg")
    pictures(root, f"{train}/b/bus_station/indoor/00000001.jpg", f"val_{size}/Places365_val_00000002.jpg")
    lists(root, PLACES_LISTS)


def celeba(root: Path, folder: str = "img_align_celeba") -> None:
    """Five pictures of CelebA, and its list, which has six."""
    pictures(root, *(f"{folder}/{number:06}.jpg" for number in (1, 2, 4, 5, 6)))
    lists(root, {"list_eval_partition.txt": CELEBA_LIST})


def celeba_hq(root: Path, folder: str, numbers: Sequence[str]) -> None:
    """Pictures of CelebA-HQ by number."""
    pictures(root, *(f"{folder}/{number}.jpg" for number in numbers))


def dtd(root: Path) -> None:
    """Four pictures of DTD, and the labels of two divisions, which name one more."""
    names = ("banded/banded_0002.jpg", "banded/banded_0004.jpg", "zigzagged/zigzagged_0001.jpg")
    pictures(root, *(f"images/{name}" for name in (*names, "zigzagged/zigzagged_0005.jpg")))
    labels = {
        "train1": names[:2], "val1": ("dotted/dotted_0001.jpg", names[2]), "test1": (),
        "train2": names[2:], "val2": names[:1], "test2": names[1:2],
    }  # fmt: skip
    lists(root, {f"labels/{name}.txt": "".join(f"{line}\n" for line in own) for name, own in labels.items()})


def imagenet(root: Path, train: str = "train", val: str = "val") -> None:
    """Three training pictures and a validation picture of ImageNet."""
    pictures(root, f"{train}/n01440764/n01440764_18.JPEG", f"{train}/n01440764/n01440764_36.JPEG")
    pictures(root, f"{train}/n01443537/n01443537_2.JPEG", f"{val}/ILSVRC2012_val_00000001.JPEG")
