"""What tests of commands look at: the pictures that they write, and what they say when they refuse."""

import numpy as np
from PIL import Image


def pixels(path):
    with Image.open(path) as image:
        return np.asarray(image)


def refused(capsys):
    """The one line that a refused command leaves on stderr."""
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1, lines
    return lines[0]
