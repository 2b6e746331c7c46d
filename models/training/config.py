"""The configuration of a training run: every number with where it comes from.

What a recipe has of its own is in its file (recipes/). "Paper" is here Yu et al. 2018, arXiv:1801.07892;
"published code" the authors' TensorFlow code, v1.0.0 of github.com/JiahuiYu/generative_inpainting
(inpaint.yml, inpaint_model.py); "ours" a choice of this project. Where another publication has another
number, its preset says so (presets.py).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from ..data.mask_kinds import MaskKind
from ..data.recognising import LAYOUTS
from .checks import check
from .recipes import RECIPES, make_recipe

Precision = Literal["32-true", "bf16-mixed"]


@dataclass(frozen=True)
class DataConfig:
    """What is trained on.

    Args:
        path: A folder, a glob pattern, a list file, "hf:owner/name", "procedural" or "scenes", each also
            with ":SEED", as `sources.open_source` takes it.
        size: Side of the crops, in pixels, at least 16. Paper: 256.
        least_crop: Least side of a crop, in shares of the largest square. Paper: images are "resized and
            randomly cropped" without numbers; published code: random crops of the image as it is. 0.5: ours.
        flip: Mirror half of the crops. Ours.
        rotate: Turn crops by up to so many degrees either way, at most 180; a turned crop lies within the
            picture and is smaller for it. Ours: 0.
        most_enlarged: How many times a crop may be enlarged: of small pictures larger parts are taken, at
            most all of it; 0: any number. Ours.
        colour: How much light and colours are changed, 0 to 1, as `augment.recolour` says. Ours: 0.
        echo: How often each batch is used, turned and mirrored anew each time (data/echo.py), 1 to 64: where
            decoding takes longer than learning. Ours: 1.
        pictures: Of a procedural set. Ours.
        scenes: Procedural scenes that are mixed in among the pictures of ``path``. Ours.
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
    rotate: float = 0.0
    most_enlarged: float = 0.0
    colour: float = 0.0
    echo: int = 1
    pictures: int = 10_000
    scenes: int = 0
    workers: int = 4
    cache: int = 256 * 2**20
    split: str = "train"
    layout: str = "auto"

    def __post_init__(self) -> None:
        # The window of SSIM has 11 pixels, the grid of the generator 8.
        check("data.size", self.size, self.size >= 16, "at least 16")
        check("data.least_crop", self.least_crop, 0 < self.least_crop <= 1, "more than 0, at most 1")
        check("data.rotate", self.rotate, 0 <= self.rotate <= 180, "0 to 180 degrees")
        check("data.most_enlarged", self.most_enlarged, self.most_enlarged >= 0, "at least 0")
        check("data.colour", self.colour, 0 <= self.colour <= 1, "0 to 1")
        check("data.echo", self.echo, 1 <= self.echo <= 64, "1 to 64")
        for name, least in (("pictures", 1), ("scenes", 0), ("workers", 0), ("cache", 0)):
            number = getattr(self, name)
            check(f"data.{name}", number, number >= least, f"at least {least}")
        check("data.workers", self.workers, self.workers <= 1024, "at most 1024")
        check("data.layout", self.layout, self.layout in LAYOUTS, f"one of {LAYOUTS}")


@dataclass(frozen=True)
class MaskConfig:
    """What is missing; see data/mask_kinds.py.

    Args:
        kind: "box" (paper), "boxes" (several), "free-form", "box-and-strokes" (Yu et al. 2019), "folder",
            "centre" or "region" (Pathak et al. 2016), "varied" (ours); or as other published code draws them,
            whatever the next settings say: "yu2019", "mmagic-irregular", "mmagic-box", "otenim-box".
        box: Side of a box in pixels, and of what the local critic sees; for "varied" the largest side of a
            box or extent of an object. Paper, published code: 128.
        shrink: By how much a hole may be smaller than its box, kinds "box", "boxes", "box-and-strokes" and
            "varied". Paper: 0; published code: 32.
        number: Most boxes in an image, kind "boxes". Ours.
        folder: Of mask pictures, kind "folder".
    """

    kind: MaskKind = "box"
    box: int = 128
    shrink: int = 0
    number: int = 4
    folder: str = ""

    def __post_init__(self) -> None:
        check("masks.kind", self.kind, self.kind in get_args(MaskKind), f"one of {get_args(MaskKind)}")
        check("masks.box", self.box, self.box >= 2, "at least 2")
        check("masks.shrink", self.shrink, 0 <= self.shrink < self.box, "at least 0, less than masks.box")
        check("masks.number", self.number, self.number >= 1, "at least 1")
        check("masks.folder", self.folder, self.kind != "folder" or self.folder, "a folder of masks")


@dataclass(frozen=True)
class ValidationConfig:
    """Pictures that are never trained on, measured while training goes on; see validation.py. All ours.

    Args:
        path: Where they are, as `DataConfig.path`; "": nowhere, and nothing is measured.
        samples: Crops that are measured, each with a hole. Where there are fewer pictures, several are of
            one; where there are more, the first are taken.
        every: Steps between measurements.
        split: Of a published data set in the folder. "": "val" of such a set, else all pictures.
        layout: Of that data set, one of `recognising.LAYOUTS`.
    """

    path: str = ""
    samples: int = 64
    every: int = 1000
    split: str = ""
    layout: str = "auto"

    def __post_init__(self) -> None:
        for name in ("samples", "every"):
            number = getattr(self, name)
            check(f"validation.{name}", number, number >= 1, "at least 1")
        check("validation.layout", self.layout, self.layout in LAYOUTS, f"one of {LAYOUTS}")


@dataclass(frozen=True)
class TrainConfig:
    """A training run.

    Args:
        data, masks, validation: See their classes.
        recipe: What is trained by which algorithm, one of `RECIPES`.
        generator, critics, loss, optimiser: Of the kinds that the recipe names (`Recipe.groups`). Default:
            theirs.
        steps: Of the recipe's schedule; in most of them each is one update of the generator. Paper: until
            convergence; published code: 1,000,000.
        seed: Of weights and samples.
        precision: "32-true", or "bf16-mixed": bfloat16 where autocast allows it, float32 weights.
        save_every: Steps between checkpoints; ours, like the next two.
        keep: Checkpoints that are kept, the newest.
        show_every: Steps between sample grids.
        start: Weights that the generator begins with, a folder or repository as `load_model` takes it; of the
            same configuration. "": as the recipe makes them.
    """

    data: DataConfig = field(default_factory=DataConfig)
    masks: MaskConfig = field(default_factory=MaskConfig)
    validation: ValidationConfig = field(default_factory=ValidationConfig)
    recipe: str = "wasserstein"
    generator: Any = None
    critics: Any = None
    loss: Any = None
    optimiser: Any = None
    steps: int = 1_000_000
    seed: int = 0
    precision: Precision = "32-true"
    save_every: int = 1000
    keep: int = 3
    show_every: int = 1000
    start: str = ""

    def __post_init__(self) -> None:
        for name in ("steps", "save_every", "keep", "show_every"):
            number = getattr(self, name)
            check(name, number, number >= 1, "at least 1")
        check("seed", self.seed, self.seed >= 0, "at least 0")
        precisions = get_args(Precision)
        check("precision", self.precision, self.precision in precisions, f"one of {precisions}")
        # Known pixels must remain, of which the hole's are measured.
        box, at_most = self.masks.box, self.data.size - 1
        check("masks.box", box, box <= at_most, f"at most {at_most}, less than data.size")
        self._take_groups()
        decay = self.optimiser
        if decay.decay_steps:
            end = decay.decay_start + decay.decay_steps
            check(
                "steps",
                self.steps,
                self.steps <= end,
                f"at most {end}, where learning rates have fallen to 0",
            )
            last = self.steps - 1
            check("optimiser.decay_start", decay.decay_start, decay.decay_start <= last, f"at most {last}")
        make_recipe(self)  # which refuses groups that do not go together

    def _take_groups(self) -> None:
        """The recipe's groups, where none was given; others are refused."""
        check("recipe", self.recipe, self.recipe in RECIPES, f"one of {', '.join(RECIPES)}")
        for name, kind in RECIPES[self.recipe].groups().items():
            group = getattr(self, name)
            if group is None:
                object.__setattr__(self, name, kind())
            elif not isinstance(group, kind):
                raise TypeError(f"{name}: expected the {kind.__name__} of {self.recipe}, got {group!r}")
