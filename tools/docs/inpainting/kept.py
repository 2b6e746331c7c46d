"""Results in a folder: a race that was broken off goes on, and a change of one method runs that one again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection
from pathlib import Path

import numpy as np
from PIL import Image

from .cases import Case


class Kept:
    """What methods made of cases.

    Args:
        folder: Where that is; it is made. None: nothing is kept.
        again: Methods whose results are not looked up, for they are to run anew.
    """

    def __init__(self, folder: Path | None, again: Collection[str] = ()) -> None:
        self._folder, self._again = folder, again

    def load(self, method: str, case: Case) -> tuple[np.ndarray, dict[str, float]] | None:
        """The picture and its measures, None if they are not there or of another case by that name."""
        path = self._path(method, case)
        if path is None or method in self._again or not path.exists():
            return None
        with Image.open(path.with_suffix(".png")) as picture:
            return np.array(picture), json.loads(path.read_text(encoding="utf-8"))

    def store(self, method: str, case: Case, picture: np.ndarray, measures: dict[str, float]) -> None:
        path = self._path(method, case)
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture).save(path.with_suffix(".png"))
            path.write_text(json.dumps(measures), encoding="utf-8")  # last: it says that the picture is there

    def _path(self, method: str, case: Case) -> Path | None:
        if self._folder is None:
            return None
        state = hashlib.sha256(case.truth.tobytes() + case.hole.tobytes()).hexdigest()[:12]
        return self._folder / method / f"{case.name} {state}.json"
