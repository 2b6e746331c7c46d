"""A photograph by where it is: with scikit-image or scikit-learn, or in a package of Debian.

A package of Debian is unpacked into a folder of its name: `apt-get download PACKAGE; dpkg -x PACKAGE_*.deb
DIR/PACKAGE`.
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

    def contents(self, folder: Path | None) -> bytes:
        """The file of the picture as it is.

        Raises:
            FileNotFoundError: It is not in the folder, or needs one.
        """
        if self.package == BUNDLED:
            return bundled_photographs()[self.name].read_bytes()
        if folder is None:
            raise FileNotFoundError(
                f"{self.name}: give --photographs, for it is in the package {self.package}"
            )
        path = folder / self.package / self.file
        return read_resource(path, self.inside) if self.inside else path.read_bytes()

    def open(self, folder: Path | None) -> Image.Image:
        """The photograph at its own size, in RGB.

        Raises:
            FileNotFoundError: It is not in the folder, or needs one.
        """
        with Image.open(io.BytesIO(self.contents(folder))) as image:
            return image.convert("RGB")

    def read(self, folder: Path | None, longest: int = LONGEST_SIDE) -> np.ndarray:
        """(H, W, 3) uint8, made smaller where its longest side is longer than that."""
        image = self.open(folder)
        image.thumbnail((longest, longest), Image.Resampling.LANCZOS, reducing_gap=None)
        return np.array(image)
