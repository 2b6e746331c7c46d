"""Removing things from photographs: one function over every method and every kind of picture.

Shape legend: B pictures; C channels; H, W their size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from numbers import Integral
from typing import Any, TypeVar

import torch
from torch import Tensor

from ..patches.completion import Progress
from ..patches.pyramid import dilate
from .exemplar import ExemplarOptions, Filled, check_picture, fill_exemplar
from .patchmatch import PatchMatchOptions, fill_patchmatch
from .pictures import marked_of, planes_of
from .poisson import join_filling
from .structure import fill_structure

Picture = TypeVar("Picture")
# The first is the default.
METHODS = ("structure", "exemplar", "patchmatch", "model")


def inpaint(
    image: Picture,
    mask: Any,
    method: str = METHODS[0],
    *,
    model: Any = None,
    sketch: Any = None,
    feather: int = 0,
    poisson: bool = False,
    seed: int = 0,
    device: torch.device | str | None = None,
    workspace: int | None = None,
    progress: Progress | None = None,
    return_offsets: bool = False,
) -> Picture | tuple[Picture, Tensor]:
    """Fill the missing part of a picture, and return the same kind of picture.

    Args:
        image: One of
            a Pillow image, of mode L, LA, RGB, RGBA or I;16;
            a NumPy array, (H, W) or (H, W, C) with C from 1 to 4, uint8, uint16, or floating in [0, 1];
            a tensor, (C, H, W) or (B, C, H, W) with C 1 or 3, uint8, or floating in [-1, 1].
            A second or fourth channel of the first two is opacity. It is filled as the colours are, and they
            count as far as they are seen: what is fully transparent has none.
        mask: What is missing: a Pillow image of the same size, read as `contextual_attention.marks` says; an
            array (H, W) or (H, W, 1), or a tensor (H, W), (1, H, W) or (B or 1, 1, H, W), non-zero = missing.
        method: ``"structure"`` (default): patches of the picture itself, corrected by a network, see
            `fill_structure`; ``"exemplar"``: contextual attention to the picture itself, see `fill_exemplar`;
            ``"patchmatch"``: see `fill_patchmatch`; ``"model"``: a trained network alone.
        model: For ``"model"``: a network, of this package or any that is called alike, with an image and a
            mask, and returns an object with ``completed``; or where one is, as `load_model` takes it: a
            folder, a training run, a repository. For ``"structure"``: a `StructureNetwork`, or where one is.
            Default there: the network that comes with the package, see `shipped_structure`.
        sketch: Of ``"model"``, for a network that is guided (`GeneratorConfig.sketch`): the lines that the
            filling shall have, of the kinds of ``mask``, non-zero on a line. Default: none are drawn.
        feather: Width, in pixels, of a border around the hole over which the filling fades into the picture:
            that border is no longer as it came in. Default 0: every known pixel is.
        poisson: Of ``"model"``: whether what the network fills in keeps only its steps from pixel to pixel,
            and takes its levels from the picture around it, see `join_filling`. Default False.
        seed: Of the random numbers of the search; a model uses none. Default 0.
        device: Where to compute. Default: where a tensor is, else the CPU. Patches are searched for on the
            CPU, networks run on the device.
        workspace: Bound on the score scratch of the attention in ``"exemplar"`` and ``"structure"``, in
            bytes; as in `contextual_attention`.
        progress: Called now and then with the share of the work that is done, in (0, 1].
        return_offsets: Whether to return the offsets too. Default False.

    Returns:
        The picture, of the type, size and dtype of ``image``, known pixels bit-identical without ``feather``;
        with ``return_offsets`` also (B, 2, h, w) int64, from each pixel (of a model: from each patch of 8 x 8
        pixels) to where it was copied from, for `offsets_to_image`; 0 where it was not copied.

    Raises:
        TypeError: A kind of picture, mask or dtype that is not listed here.
        ValueError: Sizes that differ, a mask that marks nothing or leaves nothing known, or an option out of
            its range. Of several pictures, some may have nothing missing. Weights that are damaged, or not of
            the network that the method takes.
        ImportError: Packages that networks need are not there: `pip install "contextual_attention[models]"`.
            ``"exemplar"`` and ``"patchmatch"`` need none.

    Cost: that of the method, one picture after the other.

    Examples:
        >>> import numpy as np
        >>> picture = np.tile(np.arange(32, dtype=np.uint8) * 8, (32, 1))
        >>> mask = np.zeros((32, 32), bool)
        >>> mask[10:16, 10:16] = True
        >>> inpaint(picture, mask).shape
        (32, 32)
    """
    if isinstance(feather, bool) or not isinstance(feather, Integral) or feather < 0:
        raise ValueError(f"feather: expected a number of pixels, at least 0, got {feather!r}")
    feather = int(feather)  # one of NumPy's may be too narrow to count with
    planes = planes_of(image)
    hole = marked_of("mask", mask, planes)
    lines = None if sketch is None else marked_of("sketch", sketch, planes)
    fill = _filler(method, model, poisson, seed, workspace)
    if lines is not None and method != "model":
        raise ValueError(f'sketch: is for method "model" with a network that is guided; got "{method}"')
    if not bool(hole.any()):
        raise ValueError("mask: marks nothing, there is nothing to fill; non-zero is missing")
    if bool(hole.flatten(1).all(1).any()):
        raise ValueError("mask: every pixel is missing, there is nothing to fill it with")
    home = planes.seen.device
    hole = hole.to(home)
    seen = planes.around(hole).masked_fill(hole, 0)  # what is missing may be no number
    put_back = planes.put_back
    del planes  # makes room
    if device is not None:
        seen, hole = seen.to(device), hole.to(device)
    lines = None if lines is None else lines.to(seen.device)
    count = len(seen)
    filled, offsets = [], []
    for i in range(count):
        one = _part(progress, i, count)
        guided = fill if lines is None else partial(fill, lines=lines[i : i + 1])
        result = _feathered(seen[i : i + 1], hole[i : i + 1], guided, feather, one)
        filled.append(result.image)
        offsets.append(result.offsets)
    changed = dilate(hole, feather) if feather else hole
    picture = put_back(_joined(filled).to(home), changed.to(home))
    return (picture, _joined(offsets)) if return_offsets else picture


def _joined(parts: list[Tensor]) -> Tensor:
    """Of a batch; large pictures come alone, and are not copied."""
    return parts[0] if len(parts) == 1 else torch.cat(parts)


# A model's takes ``lines`` too.
Filler = Callable[[Tensor, Tensor, Progress | None], Filled]


def _filler(method: str, model: Any, poisson: bool, seed: int, workspace: int | None) -> Filler:
    if poisson and method in METHODS and method != "model":
        raise ValueError(f'poisson: is for method "model"; "{method}" joins its copies as they need it')
    if method == "structure":
        options = ExemplarOptions(seed=seed, workspace=workspace)
        network_on = _structure_network(model)
        return lambda image, hole, progress: fill_structure(
            image, hole, network_on(image.device), options, progress
        )
    if method == "exemplar":
        options = ExemplarOptions(seed=seed, workspace=workspace)
        return lambda image, hole, progress: fill_exemplar(image, hole, options, progress)
    if method == "patchmatch":
        search = PatchMatchOptions(seed=seed)
        return lambda image, hole, progress: fill_patchmatch(image, hole, search, progress)
    if method == "model":
        if model is None:
            raise ValueError('model: method "model" needs one: a network, or the folder or repository of one')
        return _model_filler(model, poisson)
    raise ValueError(f"method: expected one of {', '.join(map(repr, METHODS))}; got {method!r}")


@contextmanager
def _extra_models(method: str) -> Iterator[None]:
    """Around imports of what needs the extra models: an error that says how to get it, or do without."""
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith(__package__.partition(".")[0]):
            raise
        raise ImportError(
            f'method "{method}" needs the package {error.name}: pip install "contextual_attention[models]", '
            'or take method="exemplar", which needs no network',
            name=error.name,
        ) from error


def _structure_network(model: Any) -> Callable[[torch.device], torch.nn.Module]:
    """From a device to the network there: the one that comes with the package, or one in its place."""
    with _extra_models("structure"):
        from ..network.pretrained import load_model
        from ..network.shipped import shipped_structure
        from ..network.structure import StructureNetwork
    if model is None:
        return shipped_structure
    network = model if isinstance(model, torch.nn.Module) else load_model(model)
    if not isinstance(network, StructureNetwork):
        raise ValueError(
            f'model: method "structure" takes a StructureNetwork, got a {type(network).__name__}; method '
            '"model" takes every network'
        )
    return network.eval().to


def _model_filler(model: Any, poisson: bool) -> Filler:
    """A trained network as a method; grey pictures and opacity are shown to it as RGB."""
    if isinstance(model, torch.nn.Module):
        network = model.eval()
    else:
        with _extra_models("model"):
            from ..network.pretrained import load_model

        network = load_model(model)

    is_guided = getattr(getattr(network, "config", None), "sketch", False)
    asked: dict[str, Any] = {"return_offsets": True} if getattr(network, "has_offsets", False) else {}

    def complete(colours: Tensor, hole: Tensor, guide: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        result = network(colours.expand(-1, 3, -1, -1), hole, **asked, **guide)
        completed = result.completed if colours.shape[1] == 3 else result.completed.mean(1, keepdim=True)
        offsets = result.offsets if asked else hole.new_zeros((1, 2, 1, 1), dtype=torch.int64)
        return completed, offsets

    @torch.no_grad()
    def fill(image: Tensor, hole: Tensor, progress: Progress | None, lines: Tensor | None = None) -> Filled:
        check_picture(image, hole)
        if lines is None and is_guided:
            lines = torch.zeros_like(hole)
        guide = {} if lines is None else {"sketch": lines}
        network.to(image.device)
        # Opacity, behind an odd number of colours, is a grey picture of its own: networks know three colours.
        parts = image.split(image.shape[1] - (image.shape[1] % 2 == 0), 1)
        found = [complete(part, hole, guide) for part in parts]
        if progress is not None:
            progress(1.0)
        completed = torch.cat([part for part, _ in found], 1)
        filled = join_filling(image, hole, completed) if poisson else torch.where(hole, completed, image)
        return Filled(filled, found[0][1])

    return fill


def _feathered(image: Tensor, hole: Tensor, fill: Filler, width: int, progress: Progress | None) -> Filled:
    """Fill the hole and ``width`` pixels around it, and fade from the filling to the picture over those."""
    if width == 0:
        return fill(image, hole, progress)
    grown = dilate(hole, width)
    if bool(grown.all()) and not bool(hole.all()):
        raise ValueError(f"feather: {width} pixels around the mask leave nothing known; give less")
    filled = fill(image, grown, progress)
    rings = [dilate(hole, distance).to(image.dtype) for distance in range(1, width + 1)]
    share = (hole.to(image.dtype) + sum(rings)) / (width + 1)
    return Filled(torch.lerp(image, filled.image, share), filled.offsets)


def _part(progress: Progress | None, i: int, count: int) -> Progress | None:
    """Progress of the i-th of ``count`` pictures as progress of all."""
    if progress is None:
        return None
    return lambda done: progress((i + done) / count)
