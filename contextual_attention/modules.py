"""The layer as a torch module."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, overload

from torch import Tensor, nn

from .functional import attend
from .options import (
    Boundary,
    Downscale,
    EpsMode,
    MaskDownscale,
    Masking,
    Normalize,
    OptionKeywords,
    Options,
    Overlap,
    PropagationOrder,
)

if TYPE_CHECKING:
    from typing_extensions import Unpack


class ContextualAttention(nn.Module):
    """`contextual_attention` with its options held: a layer without parameters.

    The equations, shapes, dtypes and costs are those of `contextual_attention` (Yu et al. 2018,
    arXiv:1801.07892); the defaults are the paper's.

    Args:
        ksize to overlap: As in `contextual_attention`; `Options` describes each.
        backend: One of ``available_backends()``. Default: the fastest that can run the problem.
        workspace: Bound, in bytes, on what a fused backend holds of the scores. Default: 32 MiB on a CPU; on
            a GPU a 64th of its memory, at least 256 MiB (an H100: 1,216 MiB).

    Attributes:
        options: The `Options`, immutable.
        backend: As given; may be set.
        workspace: As given; may be set.

    Raises:
        TypeError: An unknown option, or one of the wrong type.
        ValueError: An option out of its range, or a pair that contradict each other.

    Examples:
        >>> layer = ContextualAttention.from_preset("mmagic", softmax_scale=5.0)
        >>> features = torch.randn(2, 16, 32, 32)
        >>> layer(features, features, torch.zeros(2, 1, 128, 128)).shape
        torch.Size([2, 16, 32, 32])
    """

    def __init__(
        self,
        *,
        ksize: int = 3,
        stride: int = 1,
        rate: int = 2,
        fuse: bool = True,
        fuse_k: int = 3,
        softmax_scale: float = 10.0,
        normalize: Normalize = "both",
        eps: float = 1e-4,
        eps_mode: EpsMode = "max",
        downscale: Downscale = "strided",
        mask_downscale: MaskDownscale = "any",
        propagation: PropagationOrder = "after",
        boundary: Boundary = "zero",
        masking: Masking = "exclude",
        overlap: Overlap = "mean",
        backend: str | None = None,
        workspace: int | None = None,
    ) -> None:
        super().__init__()
        self.options = Options(
            ksize=ksize,
            stride=stride,
            rate=rate,
            fuse=fuse,
            fuse_k=fuse_k,
            softmax_scale=softmax_scale,
            normalize=normalize,
            eps=eps,
            eps_mode=eps_mode,
            downscale=downscale,
            mask_downscale=mask_downscale,
            propagation=propagation,
            boundary=boundary,
            masking=masking,
            overlap=overlap,
        )
        self.backend = backend
        self.workspace = workspace

    @classmethod
    def from_preset(
        cls,
        name: str,
        *,
        backend: str | None = None,
        workspace: int | None = None,
        **overrides: Unpack[OptionKeywords],
    ) -> ContextualAttention:
        """The layer of the paper, or of a published implementation, with some options replaced.

        Args:
            name: ``"paper"``, ``"yu2018"``, ``"daa233"``, ``"nipponjo"`` or ``"mmagic"``.
            backend, workspace: As for the class.
            **overrides: Any options, in place of the preset's: the keywords of the class.

        Raises:
            TypeError, ValueError: As `Options.from_preset`.

        Examples:
            >>> ContextualAttention.from_preset("paper", rate=4)
            ContextualAttention(rate=4)
        """
        options = Options.from_preset(name, **overrides)
        return cls(backend=backend, workspace=workspace, **options.changed())

    @overload
    def forward(
        self,
        foreground: Tensor,
        background: Tensor,
        mask: Tensor | None = None,
        *,
        value: Tensor | None = None,
        foreground_mask: Tensor | None = None,
        return_offsets: Literal[False] = False,
    ) -> Tensor: ...

    @overload
    def forward(
        self,
        foreground: Tensor,
        background: Tensor,
        mask: Tensor | None = None,
        *,
        value: Tensor | None = None,
        foreground_mask: Tensor | None = None,
        return_offsets: Literal[True],
    ) -> tuple[Tensor, Tensor]: ...

    @overload
    def forward(
        self,
        foreground: Tensor,
        background: Tensor,
        mask: Tensor | None = None,
        *,
        value: Tensor | None = None,
        foreground_mask: Tensor | None = None,
        return_offsets: bool,
    ) -> Tensor | tuple[Tensor, Tensor]: ...

    def forward(
        self,
        foreground: Tensor,
        background: Tensor,
        mask: Tensor | None = None,
        *,
        value: Tensor | None = None,
        foreground_mask: Tensor | None = None,
        return_offsets: bool = False,
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Rebuild ``foreground``; arguments, result and errors as in `contextual_attention`."""
        output, offsets = attend(
            foreground,
            background,
            mask=mask,
            value=value,
            foreground_mask=foreground_mask,
            options=self.options,
            backend=self.backend,
            workspace=self.workspace,
            return_offsets=return_offsets,
        )
        return (output, offsets) if return_offsets else output

    if TYPE_CHECKING:  # what nn.Module declares says nothing of arguments and result
        __call__ = forward

    def extra_repr(self) -> str:
        """What differs from the defaults: the arguments that make this layer again."""
        given = {"backend": self.backend, "workspace": self.workspace}
        arguments = self.options.changed() | {name: x for name, x in given.items() if x is not None}
        return ", ".join(f"{name}={x!r}" for name, x in arguments.items())
