"""Three lists of photographs, by package and file: those that judge, on which nothing is ever tuned or
trained; those for validation, by which `structure` is chosen and tuned without being trained on them; and
some that it is trained on.

Some come with scikit-image and scikit-learn. The others are in packages of Debian 12, each unpacked into a
folder of its name: `apt-get download PACKAGE; dpkg -x PACKAGE_*.deb DIR/PACKAGE`.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from contextual_attention.models.data.bundled import bundled_photographs

from .resources import read_resource

LONGEST_SIDE = 700
BUNDLED = "scikit-image or scikit-learn"


@dataclass(frozen=True)
class Photograph:
    """A file of a package, or a file inside such a Qt resource file; a bundled one has its name alone."""

    name: str
    package: str = BUNDLED
    file: str = ""
    inside: str = ""

    def open(self, folder: Path | None) -> Image.Image:
        """The photograph at its own size, in RGB.

        Raises:
            FileNotFoundError: It is not in the folder, or needs one.
        """
        source: Path | io.BytesIO
        if self.package == BUNDLED:
            source = bundled_photographs()[self.name]
        elif folder is None:
            raise FileNotFoundError(
                f"{self.name}: give --photographs, for it is in the package {self.package}"
            )
        else:
            source = folder / self.package / self.file
            if self.inside:
                source = io.BytesIO(read_resource(source, self.inside))
        with Image.open(source) as image:
            return image.convert("RGB")

    def read(self, folder: Path | None, longest: int = LONGEST_SIDE) -> np.ndarray:
        """(H, W, 3) uint8, made smaller where its longest side is longer than that."""
        image = self.open(folder)
        image.thumbnail((longest, longest), Image.Resampling.LANCZOS, reducing_gap=None)
        return np.array(image)


def _files(package: str, file: str, names: str) -> list[Photograph]:
    """Photographs of a package by the part of the file's path that differs, which stands for {}."""
    return [Photograph(Path(name).stem, package, file.format(name)) for name in names.split()]


def _activity(activity: str, folder: str, names: str) -> list[Photograph]:
    """Photographs of an activity of GCompris, likewise by where they are in its resources."""
    file = f"usr/share/gcompris-qt/rcc/{activity}.rcc"
    inside = f"gcompris/src/activities/{activity}/resource/{folder}.webp"
    return [
        Photograph(Path(name).name, "gcompris-qt-data", file, inside.format(name)) for name in names.split()
    ]


# Defaults of `exemplar` were tuned on most of these, too, ...
VALIDATION = [
    *_files(BUNDLED, "{}", "astronaut brick cat china coffee flower grass gravel motorcycle rocket"),
    *_files("lxqt-themes", "usr/share/lxqt/wallpapers/{}.jpg", "after-the-rain fog this-is-not-windows"),
    *_files("lxqt-themes", "usr/share/lxqt/wallpapers/{}.jpg", "Butterfly-Kenneth-Wimer"),
    *_files("lxqt-themes", "usr/share/lxqt/wallpapers/{}.png", "Valendas appleflower beam butterfly cloud"),
    *_files("lxqt-themes", "usr/share/lxqt/wallpapers/{}.png", "drop flowers"),
]
# ... on the first six of these, and confirmed on the others.
TRAINED = [
    *_activity("details", "image/{}_background", "EgeskovSlotSpejling EilanDonanCastle FanoeWindmill"),
    *_activity("details", "image/{}_background", "GizahPyramids Nagoya TowerBridgeLondon"),
    *_activity("explore_monuments", "france/{}", "arlesAmphitheater chateaudeChambord chateaudeChenonceau"),
    *_activity("explore_monuments", "france/{}", "eiffelTower montStMichel pontduGard rocamadour"),
    *_activity("explore_monuments", "germany/{}", "aulaPalatina brandenburgGate"),
    *_activity("explore_monuments", "india/{}", "hawaMahal konarkSunTemple mysorePalace"),
    *_activity("explore_monuments", "usa/{}", "canyondeChelly fortSumter lincolnMemorial mountRushmore"),
    *_activity("explore_monuments", "wonders/{}", "chichenItza colosseum petra"),
    *_activity("explore_monuments", "egypt/{}", "greatPyramidOfGiza"),
    *_activity("explore_farm_animals", "animals/{}", "chicken sheep"),
    *_activity("explore_world_animals", "animals/{}", "dragon"),
]
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
        except FileNotFoundError as error:
            left_out.append(str(error))
    return read, left_out
