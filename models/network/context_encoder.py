"""The context encoder of Pathak et al. 2016: a picture goes through a bottleneck, its middle is predicted.

Pathak, Krähenbühl, Donahue, Darrell, Efros, "Context encoders: feature learning by inpainting", CVPR 2016,
arXiv:1604.07379; layers and channels are those of the authors' code, github.com/pathak22/context-encoder.

Shape legend: B samples; (H, W) the image.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from .context_encoder_config import (
    VIEW,
    ContextEncoderConfig,
    ContextEncoderKeywords,
    Output,
)
from .faces import Inpainted, check_image, missing_of
from .folders import FolderOfWeights
from .normalised import Normalised, normalised_stack
from .windows import Window, look, place, resize, shrink, windows_around_holes

if TYPE_CHECKING:
    from typing_extensions import Unpack

_ALL = Window(0, 0, VIEW)
# Sides of the map before the bottleneck, and of the smallest image.
_MAP = 4
_LEAST = 4
# The grey values of the authors' training data, in the order in which their code gives them to red, green and
# blue: that of neither red, green, blue nor blue, green, red.
_FILL = tuple(2 * grey / 255 - 1 for grey in (117, 104, 123))


class ContextEncoder(
    nn.Module,
    FolderOfWeights,
    library_name="contextual_attention",
    paper_url="https://arxiv.org/abs/1604.07379",
    pipeline_tag="image-to-image",
    tags=["inpainting"],
):
    """The context encoder of Pathak et al. 2016 (arXiv:1604.07379, section 3).

        refined   = F(x), x = a view of 128 x 128 pixels in which all that is missing has one colour
        completed = the image, with `refined` in the holes

    F is an encoder to 4 x 4 pixels, a bottleneck and a decoder: `predict`. It takes no mask and no other
    size, so what it sees of an image is a view, made for each sample:

    - ``output="centre"``: a square around the bounding box of all that is missing, so large that the box lies
      in the view's middle 56 x 56 pixels, and of at least 128 x 128; brought to 128 x 128, and the prediction
      of its middle 64 x 64 brought back. An image of 128 x 128 with the middle 56 x 56 missing is its own
      view. Where the square reaches beyond the image it shows the image's reflection, which is as natural as
      the image; a repeated edge would be streaks, and of a hole at the edge a missing stripe to the end of
      the view.
    - ``output="whole"``: the image, brought to 128 x 128, and the prediction brought back.

    Its limits follow. A hole larger than 56 pixels is filled at the resolution of the view and looks soft;
    the centre model sees one hole, as large as the bounding box of all of them, and nothing further away than
    128/56 of that; the whole model sees an image that is not square distorted. The centre model's ``refined``
    is the prediction in the middle of the view; elsewhere nothing is predicted and it is the image, as it is
    for a sample with nothing missing.

    Weights start as the authors' do: N(0, 0.02), of the norms N(1, 0.02), biases 0.

    Args:
        base: The configuration to start from. Default: the authors' centre model.
        **options: Fields of `ContextEncoderConfig`, in place of the base's.

    Attributes:
        config: The `ContextEncoderConfig`, immutable.

    Raises:
        TypeError, ValueError: An unknown option, or one that `ContextEncoderConfig` refuses.

    In training mode the norms use the statistics of the batch, in evaluation mode those that training has
    gathered: one sample's result then does not depend on the others. `save_pretrained`, `from_pretrained` and
    `push_to_hub` are those of huggingface_hub, as `FolderOfWeights` changes them.

    Examples:
        >>> network = ContextEncoder(cnum=4, bottleneck=20).eval()
        >>> image = torch.rand(2, 3, 150, 170) * 2 - 1
        >>> mask = torch.zeros(2, 1, 150, 170)
        >>> mask[0, :, 10:80, 20:60] = 1  # every sample has its own
        >>> result = network(image, mask)
        >>> result.completed.shape, torch.equal(result.completed[1], image[1])
        (torch.Size([2, 3, 150, 170]), True)
    """

    Config = ContextEncoderConfig
    system = "context-encoder"

    def __init__(
        self, base: ContextEncoderConfig | None = None, /, **options: Unpack[ContextEncoderKeywords]
    ) -> None:
        super().__init__()
        self.config = replace(ContextEncoderConfig() if base is None else base, **options)
        c, bias = self.config.cnum, self.config.bias
        self.encoder = normalised_stack(3, _encoder(c), bias)
        self.bottleneck = _bottleneck(self.config)
        self.decoder = normalised_stack(8 * c, _decoder(c, self.config.output), bias)
        self.last = nn.ConvTranspose2d(c, 3, 4, stride=2, padding=1, bias=bias)
        self.apply(_start)
        middle = torch.zeros(1, VIEW, VIEW, dtype=torch.bool)
        if self.config.output == "centre":
            margin = (VIEW - self.config.hole) // 2
            middle[:, margin:-margin, margin:-margin] = True
        self.register_buffer("_always_missing", middle, persistent=False)
        self.register_buffer("_fill", torch.tensor(_FILL)[:, None, None], persistent=False)

    def forward(self, image: Tensor, mask: Tensor, are_views: bool = False) -> Inpainted:
        """Fill the holes of images.

        Args:
            image: (B, 3, H, W), H, W >= 4, floating, RGB in [-1, 1]; what it holds in the holes is not read.
            mask: (B or 1, 1, H, W), bool or floating, non-zero = missing. Any number of holes of any shape.
            are_views: Whether the images are their own views, 128 x 128, as in training. Then no look is
                taken at where the holes are: it can be traced, and no GPU is waited for; in the centre model
                what is missing outside of the middle 64 x 64 pixels is 0. Default False.

        Returns:
            `Inpainted` without ``coarse``, in the dtype of the image, under autocast too.

        Raises:
            TypeError, ValueError: An argument of the wrong type, shape or device.

        Cost: 0.7 GFLOP a sample at the authors' widths, whatever its size. The centre model's views depend on
        where the holes are, which a GPU is waited for.
        """
        check_image(image, _LEAST)
        missing = missing_of(mask, image)
        known = image.masked_fill(missing, 0)
        if are_views:
            refined = self._refine_view(known, missing)
        else:
            refine = self._refine_whole if self.config.output == "whole" else self._refine_centre
            refined = refine(known, missing)
        return Inpainted(None, refined, torch.where(missing, refined, image))

    if TYPE_CHECKING:  # what nn.Module declares says nothing of arguments and result
        __call__ = forward

    def predict(self, view: Tensor) -> Tensor:
        """The network itself: F.

        Args:
            view: (B, 3, 128, 128), RGB in [-1, 1], with the fill colour where it is missing, in the centre
                model in all of its middle.

        Returns:
            (B, 3, 64, 64) in [-1, 1], the middle of the view, or (B, 3, 128, 128) of the whole model.
        """
        return self.last(self.decoder(self.bottleneck(self.encoder(view)))).tanh()

    def _refine_view(self, known: Tensor, missing: Tensor) -> Tensor:
        predicted = self._predict(known, missing)
        return predicted if self.config.output == "whole" else place(predicted, _ALL, known)

    def _predict(self, known: Tensor, missing: Tensor) -> Tensor:
        """(B, 3, 128, 128), (B, 1, 128, 128) bool -> what `predict` returns, in the dtype of the view."""
        fill = self._fill.to(known.dtype)
        return self.predict(torch.where(missing | self._always_missing, fill, known)).to(known.dtype)

    def _refine_whole(self, known: Tensor, missing: Tensor) -> Tensor:
        size = known.shape[-2:]
        if size == (VIEW, VIEW):
            return self._refine_view(known, missing)
        return resize(self._predict(*shrink(known, missing, (VIEW, VIEW))), size)

    def _refine_centre(self, known: Tensor, missing: Tensor) -> Tensor:
        windows = windows_around_holes(missing, VIEW, self.config.hole)
        # As in training: then a batch is looked at at once.
        if known.shape[-2:] == (VIEW, VIEW) and all(window == _ALL for window in windows):
            return self._refine_view(known, missing)
        seen = [each for each, window in enumerate(windows) if window is not None]
        if not seen:
            return known
        views = (look(known[each], missing[each], windows[each], VIEW) for each in seen)
        predicted = self._predict(*(torch.stack(x) for x in zip(*views, strict=True)))
        refined = list(known)
        for each, middle in zip(seen, predicted, strict=True):
            refined[each] = place(middle, windows[each], known[each])
        return torch.stack(refined)


class ChannelwiseLayer(nn.Module):
    """A fully connected layer within each channel, and nothing across them: arXiv:1604.07379, section 3.1.

    Args:
        channels: m.
        side: n, of the map; it has m * n**4 weights.
        bias: Whether each place of each channel has one too.
    """

    def __init__(self, channels: int, side: int, bias: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(channels, side**2, side**2))
        self.bias = nn.Parameter(torch.empty(channels, side**2)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        """(B, m, n, n) -> the same."""
        product = torch.einsum("bci,coi->bco", x.flatten(2), self.weight)
        return (product if self.bias is None else product + self.bias).view_as(x)


@torch.no_grad()
def _start(module: nn.Module) -> None:
    """The first weights: those of the authors' code, train.lua."""
    if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d, ChannelwiseLayer)):
        module.weight.normal_(0, 0.02)
    elif isinstance(module, nn.BatchNorm2d):
        module.weight.normal_(1, 0.02)
    else:
        return
    if module.bias is not None:
        module.bias.zero_()


# The tables of the network, of the authors' train.lua and train_random.lua


def _encoder(c: int) -> tuple[Normalised, ...]:
    first = Normalised(c, kernel=4, stride=2, norm=False, activation="leaky")
    return (first, *(Normalised(n, kernel=4, stride=2, activation="leaky") for n in (c, 2 * c, 4 * c, 8 * c)))


def _bottleneck(config: ContextEncoderConfig) -> nn.Sequential:
    c, bias = 8 * config.cnum, config.bias
    if config.bottleneck_kind == "channelwise":
        across = Normalised(c, kernel=1, padding=0)
        return nn.Sequential(ChannelwiseLayer(c, _MAP, bias), *normalised_stack(c, (across,), bias))
    squeeze = Normalised(config.bottleneck, kernel=_MAP, padding=0, activation="leaky")
    spread = Normalised(c, kernel=_MAP, padding=0, transposed=True)
    return normalised_stack(c, (squeeze, spread), bias)


def _decoder(c: int, output: Output) -> tuple[Normalised, ...]:
    widths = (4 * c, 2 * c, c, c) if output == "whole" else (4 * c, 2 * c, c)
    return tuple(Normalised(n, kernel=4, stride=2, transposed=True) for n in widths)
