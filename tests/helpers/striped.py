"""A small photograph that can be restored exactly, and the command inpaint on it."""

import numpy as np
from PIL import Image

from contextual_attention.cli import main

HEIGHT, WIDTH = 40, 48
MISSING = np.zeros((HEIGHT, WIDTH), bool)
MISSING[12:20, 15:25] = True


def stripes(channels=3, dtype=np.uint8):
    """Columns that repeat every 6 pixels, (H, W, channels)."""
    white = np.iinfo(dtype).max
    columns = np.linspace(0, white, 6)[np.arange(WIDTH) % 6].astype(dtype)
    return np.broadcast_to(columns[None, :, None], (HEIGHT, WIDTH, channels)).copy()


def with_hole(channels=3, dtype=np.uint8):
    picture = stripes(channels, dtype)
    picture[MISSING] = 7
    return picture


def write_photo_and_mask():
    """photo.png, whose hole mask.png marks, in the working folder."""
    Image.fromarray(with_hole()).save("photo.png")
    Image.fromarray(MISSING).save("mask.png")


def run_inpaint(*arguments, image="photo.png", mask="mask.png", output="out.png"):
    """By copies of what is known, which restore stripes exactly, unless another method is asked for."""
    method = [] if "--method" in arguments else ["--method", "exemplar"]
    return main(["inpaint", image, *([mask] if mask else []), "-o", output, *method, *arguments])


def assert_restored(result, truth, tolerance=1):
    """Known pixels exactly, the others up to rounding."""
    assert result.shape == truth.shape
    assert result.dtype == truth.dtype
    assert np.array_equal(result[~MISSING], truth[~MISSING])
    assert np.abs(result[MISSING].astype(float) - truth[MISSING]).max() <= tolerance
