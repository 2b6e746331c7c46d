"""The photographs that come with scikit-image and scikit-learn: what needs pictures needs no download."""

from __future__ import annotations

import importlib.util
from pathlib import Path

# The folder of each package that has them, and the name that each photograph has here.
_PHOTOGRAPHS = {
    ("skimage", "data"): {
        "astronaut": "astronaut.png",
        "brick": "brick.png",
        "cat": "chelsea.png",
        "coffee": "coffee.png",
        "grass": "grass.png",
        "gravel": "gravel.png",
        "motorcycle": "motorcycle_left.png",
        "rocket": "rocket.jpg",
    },
    ("sklearn", "datasets/images"): {"china": "china.jpg", "flower": "flower.jpg"},
}


def bundled_photographs() -> dict[str, Path]:
    """The file of each bundled photograph by its name, those of both packages or of the one that is there.

    Raises:
        FileNotFoundError: Neither package is installed.
    """
    found = {}
    for (package, folder), names in _PHOTOGRAPHS.items():
        # Found, not imported: importing scikit-learn takes a second.
        package_found = importlib.util.find_spec(package)
        if package_found is not None:
            where = Path(package_found.submodule_search_locations[0], folder)
            found |= {name: where / file for name, file in names.items()}
    if not found:
        raise FileNotFoundError(
            "there are no photographs to start from: they come with scikit-image and scikit-learn; "
            "pip install scikit-image"
        )
    return found
