"""The problems that are measured: sizes, holes and options, their inputs and their count of arithmetic.

Feature maps are those of the paper's network: a quarter of the image in height and width. The features are
independent random numbers, for which every background patch gets a weight: nothing can be skipped.

Shape legend: B samples; C channels; (H, W) features; h = ceil(H / rate), w likewise; N = h * w foreground
patches, M as many background positions; cell = rate, the side of a pasted cell in pixels.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from contextual_attention import reference, testing
from contextual_attention.options import Options

# By name, in words.
PASSES = {"forward": "forward", "backward": "backward", "both": "forward + backward"}
_IMAGE_OVER_FEATURES = 4


@dataclass(frozen=True)
class Case:
    """A problem up to channels, dtype, preset and device.

    Args:
        name: As `--shape` takes it.
        batch: B.
        size: (H, W) of the features.
        image: (height, width) of the image that they belong to; None: not of an image.
        hole: (rows, columns) of a hole in the middle of the features, missing from the background.
        inside: Attend in the hole only (`foreground_mask`).
        overrides: Options that differ from the preset's, as (name, value).
        passes: Those that are measured.
        channels: C, as measured unless `--channels` says otherwise.
    """

    name: str
    batch: int
    size: tuple[int, int]
    image: tuple[int, int] | None = None
    hole: tuple[int, int] | None = None
    inside: bool = False
    overrides: tuple[tuple[str, Any], ...] = ()
    passes: tuple[str, ...] = tuple(PASSES)
    channels: tuple[int, ...] = (128, 96)

    @classmethod
    def of_image(cls, height: int, width: int, batch: int = 1, **fields: Any) -> Case:
        size = tuple(math.ceil(side / _IMAGE_OVER_FEATURES) for side in (height, width))
        fields.setdefault("name", f"{batch}x{height}x{width}")
        return cls(batch=batch, size=size, image=(height, width), **fields)

    def with_hole(self, percent: int) -> Case:
        """Attending in a hole of this share of the area, of whole pixels at rate 2."""
        height, width = self.size
        rows = 2 * max(1, round(height * math.sqrt(percent / 100) / 2))
        columns = 2 * max(1, round(height * width * percent / 100 / rows / 2))
        name = f"{self.name}-hole{percent}"
        return replace(self, name=name, hole=(rows, columns), inside=True, channels=(128,))


@dataclass(frozen=True)
class Problem:
    """A case with everything that makes it computable, and a pass; can be sent to another process."""

    case: Case
    channels: int
    dtype: torch.dtype
    preset: str
    device: str
    direction: str = "forward"  # one of PASSES

    @property
    def learns(self) -> bool:
        return self.direction != "forward"

    @property
    def options(self) -> Options:
        """Raises ValueError where the preset does not go with the case."""
        return Options.from_preset(self.preset, **dict(self.case.overrides))

    def whole(self) -> Problem:
        """The same with every foreground patch attending."""
        return replace(self, case=replace(self.case, inside=False))

    def inputs(self, requires_grad: bool = False, computed_in: torch.dtype | None = None) -> dict[str, Any]:
        """The keyword arguments of `contextual_attention.contextual_attention`, the same in every process.

        Args:
            requires_grad: Whether foreground and background are leaves that require gradients.
            computed_in: Converts the numbers, which are rounded to `dtype` all the same.
        """
        case = testing.Case(
            self.case.name,
            (self.case.batch, self.channels, *self.case.size),
            mask=None,
            # Patches of about norm 1: where a preset leaves a norm in, its logits are of the paper's size.
            magnitude=1 / math.sqrt(self.options.ksize**2 * self.channels),
            options=self.options,
        )
        inputs = testing.make_inputs(case, self.dtype, self.device)
        for name in ("foreground", "background"):
            inputs[name] = inputs[name].to(computed_in or self.dtype).requires_grad_(requires_grad)
        mask = self.mask()
        return inputs | {"mask": mask, "foreground_mask": mask if self.case.inside else None}

    def upstream(self, computed_in: torch.dtype | None = None) -> Tensor:
        """The gradient of the output, (B, C, H, W), the same for every variant and in every process."""
        generator = torch.Generator().manual_seed(1)
        gradient = torch.randn((self.case.batch, self.channels, *self.case.size), generator=generator)
        return gradient.to(self.device, self.dtype).to(computed_in or self.dtype)

    def mask(self) -> Tensor | None:
        """(1, 1, H, W) bool, true in the hole."""
        if self.case.hole is None:
            return None
        (height, width), (rows, columns) = self.case.size, self.case.hole
        # Evenly placed: a hole that starts between two positions of the downscaled map would be larger there.
        top, left = (height - rows) // 4 * 2, (width - columns) // 4 * 2
        mask = torch.zeros(1, 1, height, width, dtype=torch.bool, device=self.device)
        mask[..., top : top + rows, left : left + columns] = True
        return mask

    def pairs(self) -> int:
        """Scores that are asked for, of all samples: patches that attend times valid background positions."""
        mask, size = self.mask(), self.case.size
        everywhere = replace(self.options, stride=1)
        positions = math.prod(math.ceil(side / self.options.rate) for side in size)
        selected = reference.select(mask, size, everywhere) if self.case.inside else None
        attending = positions if selected is None else int(selected.sum())
        valid = reference.validity(mask, size, everywhere, torch.device(self.device))
        return self.case.batch * attending * int(valid.sum())

    def flop(self) -> int:
        """Floating point operations of the factored form.

        Forward, the products <f_p, b_q> over C and the cells over cell**2 * C; backward, the first again, the
        gradients of weights and of value over cell**2 * C each, those of foreground and background over C.
        With a stride this form still goes over all positions: up to stride 2 that is less than patches cost.
        """
        pasted = self.options.rate**2 * self.channels
        forward = 2 * self.pairs() * (self.channels + pasted)
        backward = 2 * self.pairs() * (3 * self.channels + 2 * pasted)
        return self._in_pass(forward, backward)

    def textbook_flop(self) -> int:
        """The same of the form with explicit patches, which knows neither holes nor invalid patches."""
        options = self.options
        positions = math.prod(math.ceil(side / options.rate) for side in self.case.size)
        candidates = math.prod(math.ceil(side / (options.rate * options.stride)) for side in self.case.size)
        entries = (options.ksize**2 + (2 * options.rate) ** 2) * self.channels
        forward = 2 * self.case.batch * positions * candidates * entries
        return self._in_pass(forward, 2 * forward)

    def _in_pass(self, forward: int, backward: int) -> int:
        return {"forward": forward, "backward": backward, "both": forward + backward}[self.direction]


def _cases() -> Iterator[Case]:
    yield Case.of_image(64, 64)
    for batch in (1, 4, 16):
        yield Case.of_image(256, 256, batch)
    photograph, square = Case.of_image(512, 680), Case.of_image(1024, 1024)
    yield from (photograph, square)
    yield Case.of_image(2048, 2048, passes=("forward",))
    stride = (("stride", 2),)
    yield replace(photograph, name="1x512x680-stride2", overrides=stride, channels=(128,))
    # The paper's own: 128 x 128 features, not downscaled, with a hole of 64 x 64.
    yield Case("paper", 1, (128, 128), None, (64, 64), True, (("rate", 1),), channels=(128,))
    for percent in (1, 5, 25):
        yield photograph.with_hole(percent)
    yield square.with_hole(1)


CASES = {case.name: case for case in _cases()}
# What `--quick` looks at: every kind of variant, in seconds.
QUICK = ("1x64x64", "1x256x256-hole25")


def find_case(name: str) -> Case:
    """The case of this name, or, for "HxW" or "BxHxW", that of images of this size.

    Raises:
        ValueError: Neither.
    """
    if name in CASES:
        return CASES[name]
    sizes = re.fullmatch(r"(?:(\d+)x)?(\d+)x(\d+)(?:-hole(\d+))?", name)
    if sizes is None or "0" in sizes.groups():
        raise ValueError(
            f"--shape: expected the height and width of images, as in 512x680 or 4x256x256, with a hole of "
            f"some percent as in 512x680-hole5, or one of {', '.join(CASES)}; got {name!r}"
        )
    batch, height, width, percent = (int(x or 0) for x in sizes.groups())
    case = Case.of_image(height, width, batch or 1)
    return case.with_hole(percent) if percent else CASES.get(case.name, case)
