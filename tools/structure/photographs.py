"""The photographs that the structure network is trained on, as photographs.tsv lists them.

All are in packages of Debian 12, under licences that let anyone use and change them. Authors, licences and
sources are those that the packages name: of gcompris-qt-data the README beside the pictures in each resource
file, for its copyright file still tells of older pictures of the same names; of the others the copyright file
and what it points to. None is in the packages that judge (tools/docs/inpainting/photographs.py), and none is
in lxqt-themes, scikit-image or scikit-learn, whose photographs tell how far training is.
"""

from __future__ import annotations

import csv
import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from ..photographs import Photograph

TABLE = Path(__file__).with_name("photographs.tsv")
# What may be trained on, and where it can be read.
LICENCES = {
    "public-domain": "",
    "CC0-1.0": "https://creativecommons.org/publicdomain/zero/1.0/",
    "CC-BY-2.0": "https://creativecommons.org/licenses/by/2.0/",
    "CC-BY-4.0": "https://creativecommons.org/licenses/by/4.0/",
    "CC-BY-SA-3.0": "https://creativecommons.org/licenses/by-sa/3.0/",
    "CC-BY-SA-4.0": "https://creativecommons.org/licenses/by-sa/4.0/",
}


@dataclass(frozen=True)
class TrainingPhotograph(Photograph):
    """A photograph with what must be said of it.

    `source` is the address it comes from, empty where the package names none. `earlier` is "tuned" or
    "confirmed" if defaults of `exemplar` were tuned or confirmed on it before it was trained on. `sha256` is
    of the file: other versions of a package have other pictures under the same names.
    """

    author: str = ""
    licence: str = ""
    source: str = ""
    earlier: str = ""
    sha256: str = ""

    @property
    def activity(self) -> str:
        """The part of the package that it belongs to: its resource file, or else its folder."""
        path = Path(self.file)
        return path.stem if self.inside else path.parent.name

    @property
    def title(self) -> str:
        """What its author calls it, where the source tells, or else its name."""
        found = re.search(r"/File:(.+)\.\w+$", unquote(self.source))
        return found[1].replace("_", " ") if found else self.name

    def contents(self, folder: Path | None) -> bytes:
        """The file of the picture as it is.

        Raises:
            FileNotFoundError: It is not in the folder, or needs one.
            ValueError: This is another picture, of another version of the package.
        """
        data = super().contents(folder)
        if hashlib.sha256(data).hexdigest() != self.sha256:
            raise ValueError(
                f"{self.name}: expected the picture that was listed, got another one of the same name in "
                f"{self.package}; take the package of Debian 12"
            )
        return data


def training_photographs(table: Path = TABLE) -> list[TrainingPhotograph]:
    """Those of the table, in its order."""
    with open(table, encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        return [TrainingPhotograph(**row) for row in rows]
