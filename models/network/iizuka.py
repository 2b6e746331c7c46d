"""The completion network of Iizuka, Simo-Serra and Ishikawa 2017: one network, dilated in its middle.

"Globally and locally consistent image completion", SIGGRAPH 2017, doi:10.1145/3072959.3073659, section 3.2;
what the paper leaves open is as in the authors' published model,
github.com/satoshiiizuka/siggraph2017_inpainting.

Shape legend: B samples; (H, W) the image; (H4, W4) the same rounded up to multiples of 4.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, TypedDict

import torch
from torch import Tensor, nn

from .checks import check_choice, check_flag, checked_count
from .faces import Inpainted, check_image, missing_of, pad_to_multiple
from .folders import FolderOfWeights
from .normalised import ORDERS, Normalised, Order, normalised_stack

if TYPE_CHECKING:
    from typing_extensions import Unpack

Squash = Literal["sigmoid", "clip"]
MeanRole = Literal["subtracted", "fills-hole"]

# Two strides of 2.
GRID = 4
# Of the pictures of Places2, as the authors' file for them has it: red, green, blue in 0 to 1.
PLACES2_MEAN = (0.45603489875793, 0.44721376895905, 0.41546452045441)
_MOST_CHANNELS = 1024  # a thousand million parameters and more


@dataclass(frozen=True)
class IizukaConfig:
    """All that decides what a `CompletionNetwork` computes, up to its weights; travels with them.

    Args:
        cnum: Channels of the first layer, even, 2 to 1024; every other layer's are a multiple of its half.
            Default 64, the paper's: 6,072,131 parameters, 6,069,155 without ``bias``.
        order: Of the batch normalisation and the ReLU after each convolution: ``"norm-first"`` (default: the
            authors, mmagic) or ``"relu-first"`` (otenim).
        bias: Whether the convolutions that are normalised have biases. Default True; mmagic: False.
        squash: What bounds the output: ``"sigmoid"``, 2 / (1 + exp(-y)) - 1 (default), or ``"clip"`` to
            [-1, 1] (mmagic).
        mean: Red, green and blue in 0 to 1 of the pictures that the network is trained on; the network then
            sees them in 0 to 1 too. Default: of Places2, the authors'. None (mmagic): it sees pictures in
            [-1, 1], with holes of 0.
        mean_role: What becomes of the mean: ``"subtracted"`` from the picture, holes are 0 (default: the
            authors), or ``"fills-hole"``, nothing is subtracted (otenim). Without a mean it is not read.

    Raises:
        TypeError, ValueError: A field of the wrong type or out of its range.
    """

    cnum: int = 64
    order: Order = "norm-first"
    bias: bool = True
    squash: Squash = "sigmoid"
    mean: tuple[float, float, float] | None = PLACES2_MEAN
    mean_role: MeanRole = "subtracted"

    def __post_init__(self) -> None:
        object.__setattr__(self, "cnum", checked_count("cnum", self.cnum, 2, _MOST_CHANNELS, even=True))
        check_choice("order", self.order, ORDERS)
        check_flag("bias", self.bias)
        check_choice("squash", self.squash, ("sigmoid", "clip"))
        object.__setattr__(self, "mean", None if self.mean is None else _checked_mean(self.mean))
        check_choice("mean_role", self.mean_role, ("subtracted", "fills-hole"))


class IizukaKeywords(TypedDict, total=False):
    """The fields of `IizukaConfig` as keywords of which any may be left out, for annotations."""

    cnum: int
    order: Order
    bias: bool
    squash: Squash
    mean: tuple[float, float, float] | None
    mean_role: MeanRole


def _checked_mean(mean: Any) -> tuple[float, ...]:
    """JSON and NumPy have other sequences and numbers; NaN is out of every range."""
    expected = "mean: expected red, green and blue, three numbers from 0 to 1, or None"
    is_sequence = isinstance(mean, Sequence) or hasattr(mean, "__array__")
    if not is_sequence or not all(isinstance(each, numbers.Real) for each in mean):
        raise TypeError(f"{expected}; got {mean!r}")
    colour = tuple(float(each) for each in mean)
    if len(colour) != 3 or not all(0 <= each <= 1 and math.isfinite(each) for each in colour):
        raise ValueError(f"{expected}; got {mean!r}")
    return colour


class CompletionNetwork(
    nn.Module,
    FolderOfWeights,
    library_name="contextual_attention",
    paper_url="https://doi.org/10.1145/3072959.3073659",
    pipeline_tag="image-to-image",
    tags=["inpainting"],
):
    """The completion network of Iizuka et al. 2017 (doi:10.1145/3072959.3073659, section 3.2).

        x         = (image + 1) / 2 - mean where known, 0 in the holes
        refined   = 2 sigmoid(C(x, m)) - 1, m = 1 in the holes
        completed = the image, with `refined` in the holes

    C has 17 convolutions of zero padding, down to a quarter of the size and back, four of them dilated;
    all but the last are normalised over the batch. Published implementations differ in the order of norm and
    ReLU, in what the network sees in a hole and in what bounds its output; each of them is an `IizukaConfig`.
    Weights start as torch starts them.

    Args:
        base: The configuration to start from. Default: the authors'.
        **options: Fields of `IizukaConfig`, in place of the base's.

    Attributes:
        config: The `IizukaConfig`, immutable.

    Raises:
        TypeError, ValueError: An unknown option, or one that `IizukaConfig` refuses.

    In training mode the norms use the statistics of the batch, in evaluation mode those that training has
    gathered: one sample's result then does not depend on the others. `save_pretrained`, `from_pretrained` and
    `push_to_hub` are those of huggingface_hub, as `FolderOfWeights` changes them.

    Examples:
        >>> network = CompletionNetwork(cnum=8).eval()
        >>> image = torch.rand(2, 3, 50, 70) * 2 - 1
        >>> mask = torch.zeros(2, 1, 50, 70)
        >>> mask[0, :, 10:30, 20:40] = 1  # every sample has its own
        >>> result = network(image, mask)
        >>> result.completed.shape, torch.equal(result.completed[1], image[1])
        (torch.Size([2, 3, 50, 70]), True)
    """

    Config = IizukaConfig
    system = "iizuka"

    def __init__(self, base: IizukaConfig | None = None, /, **options: Unpack[IizukaKeywords]) -> None:
        super().__init__()
        self.config = replace(IizukaConfig() if base is None else base, **options)
        c = self.config.cnum
        self.layers = normalised_stack(4, _layers(c), self.config.bias, self.config.order)
        self.last = nn.Conv2d(c // 2, 3, 3, padding=1)
        mean = None if self.config.mean is None else torch.tensor(self.config.mean)[:, None, None]
        self.register_buffer("mean", mean, persistent=False)  # the configuration has it

    def forward(self, image: Tensor, mask: Tensor) -> Inpainted:
        """Fill the holes of images.

        Args:
            image: (B, 3, H, W), H, W >= 4, floating, RGB in [-1, 1]; what it holds in the holes is not read.
            mask: (B or 1, 1, H, W), bool or floating, non-zero = missing. Any number of holes of any shape.

        Returns:
            `Inpainted` without ``coarse``, in the dtype of the image, under autocast too.

        Raises:
            TypeError, ValueError: An argument of the wrong type, shape or device.

        Cost: 0.99 MFLOP a pixel at cnum 64. Sizes that are not multiples of 4 are reflected up to the next
        one.
        """
        check_image(image, GRID)
        missing = missing_of(mask, image)
        seen = torch.cat((self._seen(image, missing), missing.to(image.dtype)), 1)
        height, width = image.shape[-2:]
        output = self.last(self.layers(pad_to_multiple(seen, GRID)))[..., :height, :width]
        output = output.clamp(-1, 1) if self.config.squash == "clip" else 2 * output.sigmoid() - 1
        refined = output.to(image.dtype)
        return Inpainted(None, refined, torch.where(missing, refined, image))

    if TYPE_CHECKING:  # what nn.Module declares says nothing of arguments and result
        __call__ = forward

    def _seen(self, image: Tensor, missing: Tensor) -> Tensor:
        """What the network sees of the image: (B, 3, H, W)."""
        if self.mean is None:
            return image.masked_fill(missing, 0)
        mean, image = self.mean.to(image.dtype), (image + 1) / 2
        if self.config.mean_role == "fills-hole":
            return torch.where(missing, mean, image)
        return (image - mean).masked_fill(missing, 0)


def _layers(c: int) -> tuple[Normalised, ...]:
    """All but the last: section 3.2 of the paper, its table 1."""
    return (
        Normalised(c, kernel=5, padding=2),
        Normalised(2 * c, stride=2),
        Normalised(2 * c),
        Normalised(4 * c, stride=2),
        Normalised(4 * c),
        Normalised(4 * c),
        *(Normalised(4 * c, dilation=reach, padding=reach) for reach in (2, 4, 8, 16)),
        Normalised(4 * c),
        Normalised(4 * c),
        Normalised(2 * c, kernel=4, stride=2, transposed=True),
        Normalised(2 * c),
        Normalised(c, kernel=4, stride=2, transposed=True),
        Normalised(c // 2),
    )
