"""The notebook runs, and what is stored in it is what it shows.

Its outputs are kept so that it can be read where it is not run: on the site, and on a page of the repository.
"""

import base64
import io
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOK = ROOT / "examples/contextual_attention.ipynb"
# Grey values by which a picture may differ on the mean. Between SIMD levels it is 0.02, by patches that are
# nearly as good as others; the rocket left where it is would be 5.
TOLERANCE = 1


def shown(notebook):
    """What the code cells put out, in order: texts, and pictures as grey values."""
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            assert output.output_type == "execute_result", output
            if "image/jpeg" in output.data:
                picture = Image.open(io.BytesIO(base64.b64decode(output.data["image/jpeg"])))
                yield np.asarray(picture.convert("L"), np.float32)
            else:
                yield output.data["text/plain"]


def test_it_runs_and_shows_what_is_stored(tmp_path, monkeypatch):
    nbclient = pytest.importorskip("nbclient", reason="nbclient, which runs notebooks, is not installed")
    import nbformat

    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    stored = list(shown(notebook))
    nbclient.execute(notebook, cwd=str(NOTEBOOK.parent), timeout=300)

    assert sum(isinstance(each, np.ndarray) for each in stored) == 3
    for before, now in zip(stored, shown(notebook), strict=True):
        if isinstance(before, str):
            assert now == before
        else:
            assert now.shape == before.shape
            assert np.abs(now - before).mean() < TOLERANCE


def test_it_is_small():
    """Its pictures are JPEG: a hundred kilobytes in all, which every change adds to the repository anew."""
    assert NOTEBOOK.stat().st_size < 150_000
