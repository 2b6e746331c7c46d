"""Three lists of photographs: those that judge, on which nothing is ever tuned or trained; those for
validation, by which `structure` is chosen and tuned without being trained on them; and some that it is
trained on.

Some come with scikit-image and scikit-learn. The others are in packages of Debian 12, each unpacked into a
folder of its name (tools/photographs.py).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ...photographs import BUNDLED, Photograph
from ...structure.photographs import training_photographs


def _files(package: str, file: str, names: str) -> list[Photograph]:
    """Photographs of a package by the part of the file's path that differs, which stands for {}."""
    return [Photograph(Path(name).stem, package, file.format(name)) for name in names.split()]


# Defaults of `exemplar` were tuned on most of these, too, ...
VALIDATION = [
    *_files(BUNDLED, "{}", "astronaut brick cat china coffee flower grass gravel motorcycle rocket"),
    *_files("lxqt-themes", "usr/share/lxqt/wallpapers/{}.jpg", "after-the-rain fog this-is-not-windows"),
    *_files("lxqt-themes", "usr/share/lxqt/wallpapers/{}.jpg", "Butterfly-Kenneth-Wimer"),
    *_files("lxqt-themes", "usr/share/lxqt/wallpapers/{}.png", "Valendas appleflower beam butterfly cloud"),
    *_files("lxqt-themes", "usr/share/lxqt/wallpapers/{}.png", "drop flowers"),
]
# ... and on some of these, of gcompris-qt-data; on the others they were confirmed.
TRAINED: list[Photograph] = [photograph for photograph in training_photographs() if photograph.earlier]
_WALLPAPER = "usr/share/wallpapers/{}/contents/images/2560x1600.jpg"
JUDGED = [
    *_files("plasma-workspace-wallpapers", _WALLPAPER, "BytheWater ColdRipple ColorfulCups EveningGlow Grey"),
    *_files("plasma-workspace-wallpapers", _WALLPAPER, "Kite OneStandsOut Path summer_1am"),
    *_files("palapeli-data", "usr/share/palapeli/collection/{}.jpg", "castle-maintenon cincinnati-bridge"),
    *_files("palapeli-data", "usr/share/palapeli/collection/{}.jpg", "citrus-fruits european-honey-bee"),
    *_files("palapeli-data", "usr/share/palapeli/collection/{}.jpg", "panther-chameleon-female"),
    *_files("mate-backgrounds", "usr/share/backgrounds/mate/nature/{}.jpg", "Dune RainDrops Storm Wood"),
    *_files("lomiri-wallpapers-16.04", "usr/share/backgrounds/{}.jpg", "Bridge_by_Sander_Klootwijk"),
    *_files("lomiri-wallpapers-16.04", "usr/share/backgrounds/{}.jpg", "Dragonfly_by_Bolly"),
    *_files(
        "lomiri-wallpapers-16.04",
        "usr/share/backgrounds/{}_by_Aitzol_Berasategi.jpg",
        "aitzgorri friends life picosdeeuropa",
    ),
]
# What the race of sizes is run on.
LARGE = next(photograph for photograph in JUDGED if photograph.name == "EveningGlow")
# In the order in which they are reported.
LISTS: dict[str, list[Photograph]] = {"judged": JUDGED, "validation": VALIDATION, "trained": TRAINED}


def read_list(name: str, folder: Path | None) -> tuple[dict[str, np.ndarray], list[str]]:
    """The photographs of a list that are there, by name, and why each of the others is not."""
    read, left_out = {}, []
    for photograph in LISTS[name]:
        try:
            read[photograph.name] = photograph.read(folder)
        except (FileNotFoundError, ValueError) as error:  # ValueError: it is another picture
            left_out.append(str(error))
    return read, left_out
