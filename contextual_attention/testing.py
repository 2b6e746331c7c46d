"""Problems that tests and benchmarks share: CASES, and the inputs of a case.

Shape legend: B samples; C, Cv feature and value channels; (H, W), (Hb, Wb) foreground and background sizes;
m the resolution of `value`, j that of a mask, over the map that it is for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

import torch
from torch import Tensor

from .call import Call
from .options import PRESETS, Options


@dataclass(frozen=True)
class Case:
    """A problem up to its random numbers.

    Args:
        name: What it is about; unique in CASES.
        foreground: (B, C, H, W).
        background: (Hb, Wb); None: (H, W).
        value: (Cv, m); None: the background is pasted.
        mask: A key of MASKS, what is missing from the background; None: no mask is passed.
        foreground_mask: A key of MASKS, what is rebuilt of the foreground; None: no mask is passed.
        mask_scale: j, of both masks.
        mask_dtype: Of both masks.
        magnitude: Standard deviation of all features.
        layout: A key of LAYOUTS, how the features lie in memory.
        options: Of the layer.
    """

    name: str
    foreground: tuple[int, int, int, int] = (2, 6, 20, 18)
    background: tuple[int, int] | None = None
    value: tuple[int, int] | None = None
    mask: str | None = "hole"
    foreground_mask: str | None = None
    mask_scale: int = 1
    mask_dtype: torch.dtype = torch.float32
    magnitude: float = 1.0
    layout: str = "contiguous"
    options: Options = field(default_factory=Options)


def make_inputs(
    case: Case,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
    seed: int = 0,
    requires_grad: bool = False,
) -> dict[str, Any]:
    """The keyword arguments of `contextual_attention.contextual_attention` for a case.

    The numbers depend on the case and the seed alone: drawn in float32 on the CPU and then converted.

    Args:
        case: One of CASES, or another.
        dtype: Of foreground, background and value.
        device: Of every tensor.
        seed: Of the random numbers.
        requires_grad: Whether foreground, background and value are leaves that require gradients.

    Returns:
        foreground, background, value (or None), mask (or None), foreground_mask (or None) and every option.
    """
    generator = torch.Generator().manual_seed(seed)
    batch, channels, height, width = case.foreground
    size = case.background or (height, width)

    def features(*shape: int) -> Tensor:
        x = case.magnitude * torch.randn(shape, generator=generator)
        return LAYOUTS[case.layout](x.to(device, dtype)).requires_grad_(requires_grad)

    def missing(kind: str | None, height: int, width: int) -> Tensor | None:
        if kind is None:
            return None
        j = case.mask_scale
        return MASKS[kind](batch, j * height, j * width).to(device, case.mask_dtype)

    value = None
    foreground, background = features(*case.foreground), features(batch, channels, *size)
    if case.value is not None:
        value_channels, m = case.value
        value = features(batch, value_channels, m * size[0], m * size[1])
    return {
        "foreground": foreground,
        "background": background,
        "mask": missing(case.mask, *size),
        "value": value,
        "foreground_mask": missing(case.foreground_mask, height, width),
        **asdict(case.options),
    }


def call_of(inputs: Mapping[str, Any]) -> Call:
    """The keyword arguments of the layer in one piece, as a backend takes them; unchecked."""
    value = inputs["background"] if inputs["value"] is None else inputs["value"]
    maps = (inputs[name] for name in ("foreground", "background", "mask"))
    return Call(*maps, value, inputs["foreground_mask"], options_of(inputs))


def options_of(inputs: Mapping[str, Any]) -> Options:
    """Those among the keyword arguments of the layer."""
    return Options(**{each.name: inputs[each.name] for each in fields(Options)})


# What is missing: (B or 1, 1, height, width) bool, from B, height, width.


def _boxes(samples: int, height: int, width: int, *boxes: tuple[float, float, float, float]) -> Tensor:
    """Boxes (top, bottom, left, right) in shares of the size, at least a pixel each, in every sample."""
    missing = torch.zeros(samples, 1, height, width, dtype=torch.bool)
    for top, bottom, left, right in boxes:
        rows = slice(int(top * height), max(int(bottom * height), int(top * height) + 1))
        columns = slice(int(left * width), max(int(right * width), int(left * width) + 1))
        missing[:, :, rows, columns] = True
    return missing


def _different(batch: int, height: int, width: int) -> Tensor:
    """A hole in the first sample, everything in the second, nothing in the third, and so on."""
    kinds = (_hole, _everything, _nothing, _holes)
    return torch.cat([kinds[i % len(kinds)](1, height, width) for i in range(batch)])


def _hole(batch: int, height: int, width: int) -> Tensor:
    """One hole, in another place in every sample."""
    shifts = [0.15 * (i % 4) for i in range(batch)]
    return torch.cat([_boxes(1, height, width, (0.2 + s, 0.4 + s, 0.3 + s, 0.5 + s)) for s in shifts])


def _shared_hole(batch: int, height: int, width: int) -> Tensor:
    """One mask for all samples."""
    return _boxes(1, height, width, (0.35, 0.6, 0.4, 0.7))


def _holes(batch: int, height: int, width: int) -> Tensor:
    """Separate holes, one of them in a corner."""
    return _boxes(batch, height, width, (0, 0.15, 0.8, 1), (0.4, 0.5, 0.1, 0.3), (0.8, 0.9, 0.6, 0.7))


def _bands(batch: int, height: int, width: int) -> Tensor:
    """Full rows missing at the top and twice in the middle: background rows without a valid patch."""
    return _boxes(batch, height, width, (0, 0.1, 0, 1), (0.3, 0.45, 0, 1), (0.7, 0.75, 0, 1))


def _pixel(batch: int, height: int, width: int) -> Tensor:
    return _boxes(batch, height, width, (0.5, 0, 0.6, 0))


def _nothing(batch: int, height: int, width: int) -> Tensor:
    return torch.zeros(batch, 1, height, width, dtype=torch.bool)


def _everything(batch: int, height: int, width: int) -> Tensor:
    return torch.ones(batch, 1, height, width, dtype=torch.bool)


MASKS: dict[str, Callable[[int, int, int], Tensor]] = {
    "hole": _hole,
    "shared hole": _shared_hole,
    "holes": _holes,
    "bands": _bands,
    "pixel": _pixel,
    "nothing": _nothing,
    "everything": _everything,
    "different": _different,
}


# How features lie in memory: the same numbers, other strides.


def _every_other(x: Tensor) -> Tensor:
    """Every other row and column of a larger map, height and width swapped in memory."""
    apart = x.new_zeros(*x.shape[:2], 2 * x.shape[3], 2 * x.shape[2])
    view = apart.transpose(2, 3)[:, :, ::2, ::2]
    view.copy_(x)
    return view.detach()


LAYOUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "contiguous": torch.Tensor.contiguous,
    "channels_last": lambda x: x.contiguous(memory_format=torch.channels_last),
    "every_other": _every_other,
}


def _option_cases() -> list[Case]:
    """Every preset, and every value of every option where it takes part in the result."""
    before = {"propagation": "before"}
    wrap = {"propagation": "before", "boundary": "wrap"}
    changes: list[dict[str, Any]] = [
        *({"ksize": k} for k in (1, 5)),
        *({"stride": s} for s in (2, 3)),
        *({"stride": s, **before} for s in (2, 3)),
        {"stride": 2, "fuse": False},
        *({"rate": r} for r in (1, 3, 4)),
        {"fuse": False},
        {"fuse": False, "masking": "multiply"},
        *({"fuse_k": k} for k in (1, 5, 7)),
        *({"fuse_k": k, **before} for k in (1, 5, 7)),
        *({"fuse_k": k, **wrap} for k in (1, 3, 5, 7)),
        {"fuse_k": 1, "masking": "multiply"},
        *({"softmax_scale": s} for s in (0.0, 1.0, 20.0)),
        {"normalize": "background"},
        {"normalize": "background", **before},
        {"eps": 12.0},
        {"eps": 12.0, "normalize": "background", **before},
        {"eps": 1.0, "eps_mode": "sum"},
        {"downscale": "aligned"},
        {"downscale": "aligned", "mask_downscale": "sampled"},
        {"mask_downscale": "sampled"},
        before,
        {**before, "masking": "multiply"},
        {**wrap, "masking": "multiply"},
        {"masking": "multiply"},
        {"overlap": "fixed"},
    ]
    presets = [Case(f"preset {name}", mask_scale=2, options=options) for name, options in PRESETS.items()]
    return presets + [Case(_named(change), options=Options(**change)) for change in changes]


def _named(change: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in change.items())


def _size_cases() -> list[Case]:
    """Odd, one-pixel, narrow, wide and unequal sizes, values at a multiple of the resolution."""
    wrap = Options(rate=1, propagation="before", boundary="wrap")
    before = Options(rate=1, propagation="before")
    return [
        Case("odd sizes", (2, 5, 13, 17)),
        Case("not a multiple of rate", (2, 3, 11, 16), value=(2, 1), options=Options(rate=3)),
        Case("not a multiple of rate 4", (1, 3, 9, 15), mask_scale=4, options=Options(rate=4)),
        Case("one channel", (2, 1, 14, 12)),
        Case("one pixel", (2, 3, 1, 1), mask=None),
        Case("one missing pixel", (2, 3, 1, 1), mask="everything"),
        Case("one pixel at rate 1", (1, 3, 1, 1), mask=None, options=Options(rate=1)),
        Case("one pixel, wrap", (1, 3, 1, 1), mask=None, options=wrap),
        Case("one pixel of foreground", (1, 3, 1, 1), (9, 7)),
        Case("one pixel of background", (1, 3, 9, 7), (1, 1), mask=None),
        Case("one row", (2, 4, 1, 23), options=Options(rate=1)),
        Case("one column", (2, 4, 23, 1), options=Options(rate=1)),
        Case("one row, wrap", (2, 4, 1, 13), options=wrap),
        Case("one column, wrap", (2, 4, 13, 1), options=wrap),
        Case("one row against one column, wrap", (1, 4, 1, 9), (7, 1), options=wrap),
        Case("one column against one row, wrap", (1, 4, 8, 1), (1, 11), options=wrap),
        Case("tiny maps, long wrap", (1, 4, 2, 3), (3, 2), mask=None, options=_with(wrap, fuse_k=7, ksize=1)),
        Case("two columns, long wrap", (2, 4, 9, 2), options=_with(wrap, fuse_k=7)),
        Case("taps beyond the map", (2, 4, 3, 2), mask=None, options=Options(rate=1, fuse_k=7, ksize=5)),
        Case("taps beyond the map, before", (2, 4, 3, 2), mask=None, options=_with(before, fuse_k=7)),
        Case("stride beyond the map", (2, 4, 2, 3), mask=None, options=Options(rate=1, stride=5)),
        Case("wide", (1, 5, 12, 90)),
        Case("wide, wrap", (1, 5, 8, 90), options=Options(propagation="before", boundary="wrap")),
        Case("tall", (1, 5, 90, 12)),
        Case("many channels", (1, 70, 12, 14)),
        Case("smaller background", (2, 5, 18, 16), (9, 13)),
        Case("larger background", (2, 5, 9, 13), (18, 16), mask="different"),
        Case("other background, before", (2, 5, 9, 13), (12, 8), options=Options(propagation="before")),
        Case("other background, wrap", (2, 5, 9, 13), (12, 8), options=_with(wrap, rate=2)),
        Case("other background, stride 3", (1, 5, 9, 13), (16, 11), options=Options(rate=1, stride=3)),
        Case("other value", value=(3, 1)),
        Case("value at 2x", (2, 5, 13, 12), value=(3, 2)),
        Case("value at 3x", (1, 5, 12, 9), value=(5, 3), options=Options(rate=1)),
        Case("value at 3x, rate 3", (1, 5, 14, 9), value=(2, 3), options=Options(rate=3, overlap="fixed")),
        Case("value at 2x, other background", (1, 5, 8, 9), (11, 6), value=(5, 2)),
    ]


def _mask_cases() -> list[Case]:
    """Masks of the background and of the foreground."""
    before, multiply = Options(propagation="before"), Options(masking="multiply")
    multiply_before = _with(multiply, propagation="before")
    wrap = PRESETS["mmagic"]
    fixed = Options(fuse=False, overlap="fixed")
    kinds = ("hole", "holes", "pixel", "nothing", "everything", "bands", "different")
    return [
        Case("no mask", mask=None),
        *(Case(f"mask: {kind}", (4, 4, 16, 14), mask=kind) for kind in MASKS if kind != "hole"),
        *(Case(f"multiply: {kind}", (4, 4, 16, 14), mask=kind, options=multiply) for kind in kinds[1:]),
        *(
            Case(f"before, multiply: {kind}", (4, 4, 16, 14), mask=kind, options=multiply_before)
            for kind in ("everything", "different")
        ),
        # With ksize 1 nothing reaches over background rows without a valid patch.
        Case("bands, ksize 1", (1, 4, 30, 12), mask="bands", options=Options(ksize=1, fuse=False)),
        Case("stride 3, ksize 1", mask=None, options=Options(rate=1, stride=3, ksize=1, fuse=False)),
        Case("bands, before", (1, 4, 30, 12), mask="bands", options=before),
        Case("bands, wrap", (1, 4, 30, 12), mask="bands", options=wrap),
        Case("bands, stride 2", (1, 4, 40, 12), mask="bands", options=Options(rate=1, stride=2)),
        Case("mask at 2x", mask_scale=2),
        Case("mask at 4x, bool", mask_scale=4, mask_dtype=torch.bool),
        Case("mask at 4x, sampled", mask_scale=4, options=Options(mask_downscale="sampled")),
        Case(
            "mask at 4x, aligned, sampled",
            mask="holes",
            mask_scale=4,
            options=Options(downscale="aligned", mask_downscale="sampled"),
        ),
        *(Case(f"rebuild {kind}", (3, 4, 24, 22), foreground_mask=kind) for kind in (*kinds, "shared hole")),
        *(Case(f"rebuild {k}, before", (3, 4, 24, 22), foreground_mask=k, options=before) for k in kinds),
        *(Case(f"rebuild {k}, wrap", (3, 4, 16, 14), foreground_mask=k, options=wrap) for k in kinds),
        Case("rebuild holes from bands", (1, 4, 40, 16), mask="bands", foreground_mask="holes"),
        Case("rebuild holes, long taps", (1, 4, 30, 30), foreground_mask="holes", options=Options(fuse_k=7)),
        Case("rebuild holes, stride 2", foreground_mask="holes", options=Options(rate=1, stride=2)),
        Case("rebuild holes, no fuse, fixed", foreground_mask="holes", options=fixed),
        Case("rebuild holes, multiply", foreground_mask="holes", options=multiply),
        Case("rebuild holes of another value", value=(3, 1), foreground_mask="holes"),
        Case("rebuild holes of a value at 2x", value=(6, 2), foreground_mask="holes"),
        Case("rebuild a hole given at 4x", foreground_mask="pixel", mask_scale=4, mask_dtype=torch.bool),
        Case("rebuild a hole, sampled", foreground_mask="hole", options=Options(mask_downscale="sampled")),
    ]


def _number_cases() -> list[Case]:
    """Layouts in memory, and magnitudes at which a careless formula overflows or loses its digits."""
    return [
        *(Case(f"layout {layout}, value at 2x", value=(3, 2), layout=layout) for layout in LAYOUTS),
        *(Case(f"layout {layout}, value is background", layout=layout) for layout in LAYOUTS),
        Case("huge", magnitude=1e12),
        Case("huge, before", magnitude=1e12, options=Options(propagation="before", eps_mode="sum")),
        # Logits far beyond the range of exp: the softmax picks one patch.
        Case("huge logits", magnitude=1e6, options=Options(normalize="background", propagation="before")),
        Case("huge logits, wrap", magnitude=1e6, options=PRESETS["mmagic"]),
        Case("tiny", magnitude=1e-10, options=Options(eps=1e-12)),
        Case("below eps", magnitude=1e-6),
        Case("below eps, sum", magnitude=1e-6, options=Options(eps_mode="sum")),
        Case("zeros", magnitude=0.0),
    ]


def _with(options: Options, **changes: Any) -> Options:
    return Options(**{**asdict(options), **changes})


CASES: list[Case] = [*_option_cases(), *_size_cases(), *_mask_cases(), *_number_cases()]
