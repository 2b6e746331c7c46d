"""The configuration of a training run: every number with where it comes from, and the presets.

"Paper" is Yu et al. 2018, arXiv:1801.07892; "published code" the authors' TensorFlow code, v1.0.0 of
github.com/JiahuiYu/generative_inpainting (inpaint.yml, inpaint_model.py); "ours" a choice of this project.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal, get_args

from ..data.mask_kinds import MaskKind
from ..data.recognising import LAYOUTS
from ..network.critics import LOCAL, WHOLE
from ..network.generator_config import GeneratorConfig

Precision = Literal["32-true", "bf16-mixed"]


@dataclass(frozen=True)
class DataConfig:
    """What is trained on.

    Args:
        path: A folder, a glob pattern, a list file, "hf:owner/name", "procedural" or "procedural:SEED", as
            `sources.open_source` takes it.
        size: Side of the crops, in pixels, at least 16. Paper: 256.
        least_crop: Least side of a crop, in shares of the largest square. Paper: images are "resized and
            randomly cropped" without numbers; published code: random crops of the image as it is. 0.5: ours.
        flip: Mirror half of the crops. Ours.
        pictures: Of the procedural set. Ours.
        workers: Processes that decode, at most 1024. Ours; no effect on the samples.
        cache: Bytes of decoded pictures that each of them may keep. Ours.
        split: Of a published data set in the folder: "train", "val", "test" or "all", as
            `sources.open_source` takes it. Paper: training pictures.
        layout: Of that data set, one of `recognising.LAYOUTS`. Ours: "auto".
    """

    path: str = "procedural"
    size: int = 256
    least_crop: float = 0.5
    flip: bool = True
    pictures: int = 10_000
    workers: int = 4
    cache: int = 256 * 2**20
    split: str = "train"
    layout: str = "auto"

    def __post_init__(self) -> None:
        # The window of SSIM has 11 pixels, the grid of the generator 8.
        _check("data.size", self.size, self.size >= 16, "at least 16")
        _check("data.least_crop", self.least_crop, 0 < self.least_crop <= 1, "more than 0, at most 1")
        for name, least in (("pictures", 1), ("workers", 0), ("cache", 0)):
            number = getattr(self, name)
            _check(f"data.{name}", number, number >= least, f"at least {least}")
        _check("data.workers", self.workers, self.workers <= 1024, "at most 1024")
        _check("data.layout", self.layout, self.layout in LAYOUTS, f"one of {LAYOUTS}")


@dataclass(frozen=True)
class MaskConfig:
    """What is missing; see data/mask_kinds.py.

    Args:
        kind: "box" (paper), "boxes" (several), "free-form", "box-and-strokes" (Yu et al. 2019), "folder",
            "centre" or "region" (Pathak et al. 2016); or as other published code draws them, whatever the
            next settings say: "yu2019", "mmagic-irregular", "mmagic-box", "otenim-box".
        box: Side of a box in pixels, and of what the local critic sees. Paper, published code: 128.
        shrink: By how much a hole may be smaller than its box, kinds "box", "boxes" and "box-and-strokes".
            Paper: 0; published code: 32.
        number: Most boxes in an image, kind "boxes". Ours.
        folder: Of mask pictures, kind "folder".
    """

    kind: MaskKind = "box"
    box: int = 128
    shrink: int = 0
    number: int = 4
    folder: str = ""

    def __post_init__(self) -> None:
        _check("masks.kind", self.kind, self.kind in get_args(MaskKind), f"one of {get_args(MaskKind)}")
        _check("masks.box", self.box, self.box >= 2, "at least 2")
        _check("masks.shrink", self.shrink, 0 <= self.shrink < self.box, "at least 0, less than masks.box")
        _check("masks.number", self.number, self.number >= 1, "at least 1")
        _check("masks.folder", self.folder, self.kind != "folder" or self.folder, "a folder of masks")


@dataclass(frozen=True)
class LossConfig:
    """Weights of the terms; see `updates.generator_terms` and `updates.Critics`.

    Args:
        gamma: Base of the spatial discount of the l1 in the hole. Paper, section 3.3: 0.99; published
            code: 0.9.
        l1: Of the discounted l1 in the hole. Published code: 1.2 (the paper gives none).
        known: Of the l1 of known pixels. Published code: 1.2.
        coarse: Of the coarse network's l1 terms, times the above. Published code: 1.2.
        adversarial: Of the critics' scores in the generator's loss. Published code: 0.001.
        penalty: Of the gradient penalty. Paper, section 3.2: 10.
        penalty_masked: Whether the penalty looks at the gradients in the hole alone. Paper, section 3.2: yes.
        clip: Where it is not 0, critics' weights are clipped to [-clip, clip], in place of the penalty
            (Arjovsky et al. 2017: 0.01). Paper: 0.
    """

    gamma: float = 0.99
    l1: float = 1.2
    known: float = 1.2
    coarse: float = 1.2
    adversarial: float = 0.001
    penalty: float = 10.0
    penalty_masked: bool = True
    clip: float = 0.0

    def __post_init__(self) -> None:
        _check("loss.gamma", self.gamma, 0 < self.gamma <= 1, "more than 0, at most 1")
        for name in ("l1", "known", "coarse", "adversarial", "penalty", "clip"):
            weight = getattr(self, name)
            _check(f"loss.{name}", weight, weight >= 0, "at least 0")
        for_generator = (self.l1, self.known, self.adversarial)
        _check("loss.l1, loss.known, loss.adversarial", for_generator, any(for_generator), "one above 0")


@dataclass(frozen=True)
class CriticConfig:
    """Channels of the convolutions of each critic; four in the paper, figure 2, and in the published code.

    Args:
        local: Of the critic that sees the region of the hole. Paper and published code: `critics.LOCAL`.
        whole: Of the global critic, which has another name since ``global`` is a keyword of Python.
            Published code: `critics.WHOLE`.
    """

    local: tuple[int, ...] = LOCAL
    whole: tuple[int, ...] = WHOLE

    def __post_init__(self) -> None:
        for name in ("local", "whole"):
            channels = getattr(self, name)
            expected = "at least one number, each at least 1"
            _check(f"critics.{name}", channels, channels and min(channels) >= 1, expected)


@dataclass(frozen=True)
class OptimiserConfig:
    """Adam, one for the generator and one for both critics.

    Args:
        learning_rate: Published code: 1e-4 (the paper gives none).
        beta1, beta2: Published code: 0.5, 0.9.
        batch: Samples of an update, over all processes. Published code: 16.
        accumulate: Parts in which each process takes its share of a batch, to save memory. Ours: 1.
        critic_updates: Before each update of the generator, on fresh samples. Paper, algorithm 1: 5.
        average: Decay of the moving average of the generator's weights. Ours: 0.999.
    """

    learning_rate: float = 1e-4
    beta1: float = 0.5
    beta2: float = 0.9
    batch: int = 16
    accumulate: int = 1
    critic_updates: int = 5
    average: float = 0.999

    def __post_init__(self) -> None:
        _check("optimiser.learning_rate", self.learning_rate, self.learning_rate > 0, "more than 0")
        for name in ("beta1", "beta2", "average"):
            share = getattr(self, name)
            _check(f"optimiser.{name}", share, 0 <= share < 1, "at least 0, less than 1")
        for name in ("batch", "accumulate", "critic_updates"):
            number = getattr(self, name)
            _check(f"optimiser.{name}", number, number >= 1, "at least 1")


@dataclass(frozen=True)
class TrainConfig:
    """A training run.

    Args:
        data, masks, generator, critics, loss, optimiser: See their classes.
        steps: Updates of the generator. Paper: until convergence; published code: 1,000,000.
        seed: Of weights and samples.
        precision: "32-true", or "bf16-mixed": bfloat16 where autocast allows it, float32 weights.
        save_every: Steps between checkpoints; ours, like the next two.
        keep: Checkpoints that are kept, the newest.
        show_every: Steps between sample grids.
    """

    data: DataConfig = field(default_factory=DataConfig)
    masks: MaskConfig = field(default_factory=MaskConfig)
    generator: GeneratorConfig = field(default_factory=GeneratorConfig)
    critics: CriticConfig = field(default_factory=CriticConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    optimiser: OptimiserConfig = field(default_factory=OptimiserConfig)
    steps: int = 1_000_000
    seed: int = 0
    precision: Precision = "32-true"
    save_every: int = 1000
    keep: int = 3
    show_every: int = 1000

    def __post_init__(self) -> None:
        for name in ("steps", "save_every", "keep", "show_every"):
            number = getattr(self, name)
            _check(name, number, number >= 1, "at least 1")
        _check("seed", self.seed, self.seed >= 0, "at least 0")
        precisions = get_args(Precision)
        _check("precision", self.precision, self.precision in precisions, f"one of {precisions}")
        # Known pixels must remain, of which the hole's are measured.
        box, at_most = self.masks.box, self.data.size - 1
        _check("masks.box", box, box <= at_most, f"at most {at_most}, less than data.size")


def _check(name: str, value: object, holds: object, expected: str) -> None:
    if not holds:
        raise ValueError(f"{name}: expected {expected}, got {value!r}")


PRESETS: Mapping[str, TrainConfig] = MappingProxyType(
    {
        "paper": TrainConfig(),
        "published": TrainConfig(
            generator=GeneratorConfig(padding="same", attention="yu2018"),
            masks=MaskConfig(shrink=32),
            loss=LossConfig(gamma=0.9),
        ),
        # Ours: learns within minutes on a CPU, where a step must be cheap and go far: small batches, a large
        # rate, moments that are long enough for both. Holes vary by a quarter, as in the published code.
        "small": TrainConfig(
            data=DataConfig(size=64, pictures=300, workers=0),
            masks=MaskConfig(box=32, shrink=8),
            generator=GeneratorConfig(cnum=8),
            critics=CriticConfig(local=(8, 16, 32, 64), whole=(8, 16, 32, 32)),
            optimiser=OptimiserConfig(learning_rate=1e-3, beta1=0.9, beta2=0.99, batch=4, average=0.99),
            steps=2000,
            save_every=100,
            show_every=100,
        ),
    }
)
