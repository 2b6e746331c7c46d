"""The ways to fill holes that are compared: ours, and those of packages that may be installed.

A method takes a picture (H, W, 3) uint8, black in the hole, and the hole (H, W) bool, and returns the picture
filled. Each is imported only by the process that runs it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

Fill = Callable[[np.ndarray, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Method:
    """How a method is made ready, which imports it; and what pip installs it by, if it is not ours."""

    make: Callable[[], Fill]
    package: str = ""


def _ours(method: str) -> Method:
    def make() -> Fill:
        from contextual_attention.models import inpaint

        return lambda image, hole: inpaint(image, hole, method)

    return Method(make)


def _pypatchmatch(radius: int) -> Method:
    def make() -> Fill:
        from patchmatch import patch_match

        def fill(image: np.ndarray, hole: np.ndarray) -> np.ndarray:
            patch_match.set_random_seed(0)  # each time: what it makes of a picture hinges on no other
            return patch_match.inpaint(image, _mask(hole), patch_size=radius)

        return fill

    return Method(make, "pypatchmatch")


def _patchmatch_cython() -> Fill:
    from patchmatch_cython import inpaint_pyramid

    return lambda image, hole: inpaint_pyramid(image, hole, seed=0)


def _gmic(command: str) -> Method:
    def make() -> Fill:
        import gmic

        def fill(image: np.ndarray, hole: np.ndarray) -> np.ndarray:
            planes = image.astype(np.float32), _mask(hole).astype(np.float32)[..., None]
            images = gmic.ImageList([gmic.Image.from_yxc(plane) for plane in planes])
            gmic.run(f"{command} keep[0]", images)
            filled = np.asarray(images[0].to_numpy())[:, :, 0].transpose(1, 0, 2)  # x, y, z, colour
            return filled.clip(0, 255).round().astype(np.uint8)

        return fill

    return Method(make, "gmic")


def _opencv(flag: str) -> Method:
    def make() -> Fill:
        import cv2

        return lambda image, hole: cv2.inpaint(image, _mask(hole), 3, getattr(cv2, flag))

    return Method(make, "opencv-python-headless")


def _opencv_contrib(flag: str, space: str = "") -> Method:
    """Of the module xphoto, whose masks are 0 where something is missing; in the colour space it asks for."""

    def make() -> Fill:
        import cv2

        if not hasattr(cv2, "xphoto"):
            raise ModuleNotFoundError("No module named 'cv2.xphoto'")

        def fill(image: np.ndarray, hole: np.ndarray) -> np.ndarray:
            seen = cv2.cvtColor(image, getattr(cv2, f"COLOR_RGB2{space}")) if space else image
            filled = np.zeros_like(seen)
            cv2.xphoto.inpaint(seen, _mask(~hole), filled, getattr(cv2.xphoto, flag))
            return cv2.cvtColor(filled, getattr(cv2, f"COLOR_{space}2RGB")) if space else filled

        return fill

    return Method(make, "opencv-contrib-python-headless")


def _biharmonic() -> Fill:
    from skimage.restoration import inpaint_biharmonic

    def fill(image: np.ndarray, hole: np.ndarray) -> np.ndarray:
        # Of scikit-image 0.26 the whole at once ends with an index out of bounds for some holes.
        filled = inpaint_biharmonic(image / 255, hole, channel_axis=2, split_into_regions=True)
        return (255 * filled).clip(0, 255).round().astype(np.uint8)

    return fill


def _mask(hole: np.ndarray) -> np.ndarray:
    return np.where(hole, 255, 0).astype(np.uint8)


# Those of `inpaint` that need no model, named here: the processes of the others need no PyTorch in memory.
OURS = ("structure", "exemplar", "patchmatch")
RIVAL = "PyPatchMatch 7"  # the best of the others by eye: the goals of exemplar are set by it
# In pictures, and on photographs that do not judge.
FEW = (*OURS, RIVAL, "biharmonic", "Telea")
METHODS: dict[str, Method] = {
    **{method: _ours(method) for method in OURS},
    RIVAL: _pypatchmatch(7),
    "PyPatchMatch 3": _pypatchmatch(3),
    "patchmatch-cython": Method(_patchmatch_cython, "patchmatch-cython"),
    "G'MIC matchpatch": _gmic("inpaint_matchpatch[0] [1]"),
    "OpenCV shift map": _opencv_contrib("INPAINT_SHIFTMAP", "Lab"),
    "OpenCV FSR": _opencv_contrib("INPAINT_FSR_FAST"),
    "biharmonic": Method(_biharmonic, "scikit-image"),
    "Telea": _opencv("INPAINT_TELEA"),
    "Navier-Stokes": _opencv("INPAINT_NS"),
}
