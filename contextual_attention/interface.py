"""What the Python half of the package and the compiled one must agree on, and in which state each of them is.

setup.py runs this file by itself, where there may be no torch: it imports the standard library alone.

Shape legend: B samples; C feature channels; K = (rate * m)**2 * Cv value channels of a cell; h, w the
downscaled foreground; hb, wb the downscaled background.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from torch import Tensor

SymInt = int  # one that may be a symbol where a graph is compiled


# Options as the schemas carry them: csrc/common/problem.h has the same enumerations. (A schema may have
# strings; they would be copied and compared at every call.)
class Propagation(IntEnum):
    """Where and how scores are summed along diagonals."""

    NONE = 0
    BEFORE_ZERO = 1
    BEFORE_WRAP = 2
    AFTER_ZERO = 3


class Masking(IntEnum):
    """What an invalid background patch does to the softmax."""

    EXCLUDE = 0
    MULTIPLY = 1


# The operators' arguments, in groups that Python hands on in one piece, and C++ reads in one piece from the
# dispatcher: structs of the same fields (csrc/common/call.h, csrc/cuda/map_features.cpp).


class Operands(NamedTuple):
    """What is compared and pasted."""

    foreground: Tensor  # (B, h, w, C)
    background: Tensor  # (B, hb, wb, C)
    # At most the reciprocal norms of the patches, float32; with both, similarities are cosines, which kernels
    # take as bounded.
    alpha: Tensor | None  # (B, h, w); None: 1
    beta: Tensor  # (B, hb, wb)
    valid: Tensor  # (B or 1, hb, wb) bool
    selected: Tensor | None  # (B or 1, h, w) bool; None: all
    value: Tensor  # (B, hb + 1, wb + 1, K)


class Scoring(NamedTuple):
    """The options that scores depend on."""

    softmax_scale: float
    ksize: int
    stride: int
    fuse_k: int
    propagation: int  # a Propagation's value
    masking: int  # a Masking's value


class Run(NamedTuple):
    """How a forward is to be run."""

    return_offsets: bool
    workspace: SymInt  # the bound on the score scratch in bytes, 0 for the backend's own choice


class Pasting(NamedTuple):
    """How summed cells become a map: the other arguments of cells.paste."""

    weight: Tensor  # (B or 1, h + 1, w + 1) float32
    kept: Tensor  # (B, Cv, height, width)
    keep: bool
    cell: int
    height: SymInt
    width: SymInt


class Gradient(NamedTuple):
    """What is differentiated."""

    grad_cells: Tensor  # that of the cells, float32 or in the dtype of value
    statistics: Tensor  # (B, 3, h, w) float32, of the forward
    needs: int  # bit i asks for the gradient of the i-th of foreground, background, alpha, beta, value
    workspace: SymInt


class Flagging(NamedTuple):
    """What a mask is to say of the positions of a map (features.py)."""

    mask: Tensor  # (B or 1, 1, j * height, j * width) bool or floating
    height: SymInt  # of the map
    width: SymInt
    rate: int
    aligned: bool
    sampled: bool
    ksize: int
    stride: int
    taps: int  # of a propagation before the softmax
    wrap: bool
    excludes: bool
    mean: bool


class Maps(NamedTuple):
    """What features are taken of (features.py)."""

    foreground: Tensor  # (B, C, H, W)
    background: Tensor | None  # (B, C, Hb, Wb); None: the foreground
    asked: Tensor | None  # (B or 1, h, w) bool; None: every position
    read: Tensor | None  # (B or 1, hb, wb) bool; None: every position


class Taking(NamedTuple):
    """How the pixels of a map are picked, and their norms made."""

    rate: int
    aligned: bool
    ksize: int
    eps: float
    adds_eps: bool


class Wanted(NamedTuple):
    """What features are wanted for."""

    both: bool  # norms of the foreground's patches too
    mean: bool


class Taken(NamedTuple):
    """What was taken, and of which positions."""

    queries: Tensor
    keys: Tensor
    alpha: Tensor
    beta: Tensor
    asked: Tensor | None
    read: Tensor | None


class TakenGradients(NamedTuple):
    """The gradients of what was taken."""

    grad_queries: Tensor | None
    grad_keys: Tensor | None
    grad_alpha: Tensor | None
    grad_beta: Tensor | None


class MapSizes(NamedTuple):
    """Of the maps that features were taken of."""

    height: SymInt
    width: SymInt
    background_height: SymInt
    background_width: SymInt
    one_map: bool  # the background is the foreground
    needs: int  # bit i asks for the gradient of the i-th map


class Operator(NamedTuple):
    """The arguments of an operator, in groups, and how many tensors it returns."""

    groups: tuple[type, ...]
    results: int

    @property
    def schema(self) -> str:
        """Without the operator's name."""
        fields = [field for group in self.groups for field in group.__annotations__.items()]
        arguments = ", ".join(
            f"{kind.__forward_arg__.replace(' | None', '?')} {name}" for name, kind in fields
        )
        return f"({arguments}) -> ({', '.join(['Tensor'] * self.results)})"

    def unpack(self, arguments: Sequence[Any]) -> Iterator[Any]:
        """The groups of all arguments, which come in the order of the schema."""
        first = 0
        for group in self.groups:
            last = first + len(group._fields)
            yield group(*arguments[first:last])
            first = last

    def places(self, *names: str) -> tuple[int, ...]:
        """Where arguments of these names stand."""
        all_names = [name for group in self.groups for name in group._fields]
        return tuple(map(all_names.index, names))


# -> cells (B, h+1, w+1, K) float32; offsets (B, 2, h, w) int64, or (0,); statistics (B, 3, h, w) float32
ATTEND = Operator((Operands, Scoring, Run), results=3)
# -> gradients of foreground, background, alpha, beta, value; one that `needs` does not ask for is (0,)
ATTEND_BACKWARD = Operator((Operands, Scoring, Gradient), results=5)
# -> map (B, Cv, height, width) in the dtype of kept, the cells weighted and joined; offsets; statistics
ATTEND_MAP = Operator((Operands, Pasting, Scoring, Run), results=3)
# All results have as many samples as the mask.
# -> chosen (B or 1, h, w) bool: the missing ones or, if it `excludes`, those without one in their window;
# read (B or 1, h, w) bool: what chosen patches are made of; cells (B or 1, h+1, w+1): which they paste, bool,
# if it excludes, else what each counts for there, float32
FLAG_POSITIONS = Operator((Flagging,), results=3)
# -> queries; keys; alpha; beta; valid (1, hb, wb) bool and weight (1, h+1, w+1) float32, for all positions.
# (0,) where not wanted: keys and alpha that are the same as queries and beta, or alpha not `both`; valid and
# weight where flags are given
TAKE_FEATURES = Operator((Maps, Taking, Wanted), results=6)
# -> gradients of foreground and background; one that `needs` does not ask for is (0,)
TAKE_FEATURES_BACKWARD = Operator((Taken, TakenGradients, Taking, MapSizes), results=2)


@dataclass(frozen=True)
class State:
    """What a compiled module was built from, as it is written into its file (csrc/common/state.cpp)."""

    operators: str  # a digest of the schemas and of the numbers of options
    sources: str  # a digest of the C++ files
    has_cuda: bool  # whether those of csrc/cuda are among them

    _FORM = "contextual_attention: operators {} sources {} cuda {:d}"

    def __str__(self) -> str:
        return self._FORM.format(self.operators, self.sources, self.has_cuda)

    @staticmethod
    def of(csrc: Path, has_cuda: bool) -> State:
        """That of a module that is built now, from this folder."""
        return State(operators_state(), sources_state(csrc, has_cuda), has_cuda)

    @staticmethod
    def written_in(module: bytes) -> State | None:
        """Looked for in the bytes of a file; None: there is none."""
        pattern = State._FORM.replace("{:d}", "{}").format(r"(\w+)", r"(\w+)", "([01])")
        found = re.search(pattern.encode(), module)
        return State(found[1].decode(), found[2].decode(), found[3] == b"1") if found else None


def operators_state() -> str:
    """Another one where a schema has changed, or the number of an option."""
    numbers = [(kind.__name__, each.name, each.value) for kind in (Propagation, Masking) for each in kind]
    of_features = (FLAG_POSITIONS, TAKE_FEATURES, TAKE_FEATURES_BACKWARD)
    schemas = [each.schema for each in (ATTEND, ATTEND_BACKWARD, ATTEND_MAP, *of_features)]
    return _digest(repr((*schemas, numbers)).encode())


def sources_state(csrc: Path, has_cuda: bool) -> str:
    """Another one where a file has changed that a build with or without CUDA is made of."""
    files = (file.relative_to(csrc) for file in csrc.rglob("*") if file.suffix in (".cpp", ".cu", ".h"))
    used = sorted(file.as_posix() for file in files if has_cuda or file.parts[0] != "cuda")
    return _digest(
        b"".join(name.encode() + b"\0" + _digest((csrc / name).read_bytes()).encode() for name in used)
    )


def _digest(data: bytes) -> str:
    return sha256(data).hexdigest()[:16]
