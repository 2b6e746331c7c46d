"""Sample grids: what the network makes of a few pictures, and where its attention looked."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from ...photos import to_uint8
from ...visualize import offsets_to_image
from ..data.samples import Place, Samples, collate
from ..network.faces import Inpainted
from ..network.folders import FolderOfWeights

_GAP = 2  # pixels of white between pictures
_WHITE = 0.5  # an expected error of images in [-1, 1] that is white


class Gallery:
    """A few fixed samples, shown again and again as training goes on.

    Args:
        samples: Taken from its first pictures.
        complete: What a network makes of a batch, `Recipe.complete`.
        count: Rows of the grid.
    """

    def __init__(self, samples: Samples, complete: Callable[..., Inpainted], count: int = 4) -> None:
        self.complete = complete
        self.sample = collate([samples[Place(0, index % len(samples))] for index in range(count)])

    @torch.no_grad()
    def draw(self, network: FolderOfWeights, device: torch.device) -> Tensor:
        """The grid: a row a sample, of input, coarse, completed, the error that the network expects in the
        hole, original, and attention, as far as there is.

        Returns:
            (3, rows, columns) uint8, red, green, blue, on the CPU. An expected error of a quarter of the
            range, or more, is white. In the attention picture, that of figure 4 of the paper, a colour is the
            direction in which a patch looked and white is its own position.
        """
        shown = ("image", "mask", "drafts")
        sample = self.sample._replace(**{name: getattr(self.sample, name).to(device) for name in shown})
        image, mask = sample.image, sample.mask
        asked = {"return_offsets": True} if network.has_offsets else {}
        result = self.complete(network, sample, **asked)
        expected = None if result.error is None else _grey(result.error * mask / _WHITE)
        photos = [image.masked_fill(mask, 1), result.coarse, result.completed, expected, image]
        columns = [to_uint8(photo) for photo in photos if photo is not None]
        if asked:
            columns.append(offsets_to_image(result.offsets, tuple(image.shape[2:])))
        return _grid(columns).cpu()


def _grey(shares: Tensor) -> Tensor:
    """Of (B, 1, H, W) a picture (B, 3, H, W) in [-1, 1]: 0 is black, 1 and more white."""
    return (2 * shares.clamp(max=1) - 1).expand(-1, 3, -1, -1)


def _grid(columns: list[Tensor]) -> Tensor:
    """Pictures (B, 3, H, W) side by side, samples below each other, with gaps."""
    padded = [F.pad(column, (0, _GAP, 0, _GAP), value=255) for column in columns]
    rows = torch.cat(padded, dim=3)  # (B, 3, H + gap, columns * (W + gap))
    return torch.cat(list(rows), dim=1)
