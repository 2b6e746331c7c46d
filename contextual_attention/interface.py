"""What the Python half of the package and the compiled one must agree on, and in which state each of them is.

setup.py runs this file by itself, where there may be no torch: it imports the standard library alone.

Shape legend: B samples; C feature channels; K = (rate * m)**2 * Cv value channels of a cell; h, w the
downscaled foreground; hb, wb the downscaled background.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import IntEnum
from hashlib import sha256
from pathlib import Path


# Options as the schemas carry them: numbers, for the stable C++ ABI has no strings.
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


_OPERANDS = (
    "Tensor foreground, Tensor background, Tensor? alpha, Tensor beta, Tensor valid, Tensor? selected, "
    "Tensor value"
)
_OPTIONS = "float softmax_scale, int ksize, int stride, int fuse_k, int propagation, int masking"

# workspace: the bound on the score scratch in bytes, 0 for the backend's own choice;
# foreground (B, h, w, C); background (B, hb, wb, C); alpha (B, h, w) and beta (B, hb, wb) float32, at most
# the reciprocal norms of the patches (with both, similarities are cosines, which kernels take as bounded);
# valid (B or 1, hb, wb) bool; selected (B or 1, h, w) bool; value (B, hb+1, wb+1, K)
# -> cells (B, h+1, w+1, K) float32; offsets (B, 2, h, w) int64, or (0,); statistics (B, 3, h, w) float32
ATTEND = f"({_OPERANDS}, {_OPTIONS}, bool return_offsets, SymInt workspace) -> (Tensor, Tensor, Tensor)"
# grad_cells: that of the cells, float32 or in the dtype of value
# -> gradients of foreground, background, alpha, beta, value; one that `needs` does not ask for is (0,)
ATTEND_BACKWARD = (
    f"(Tensor grad_cells, {_OPERANDS}, Tensor statistics, {_OPTIONS}, int needs,"
    " SymInt workspace) -> (Tensor, Tensor, Tensor, Tensor, Tensor)"
)
# The cells weighted and joined, as cells.paste does: it has the other arguments.
# -> map (B, Cv, height, width) in the dtype of kept; offsets; statistics
ATTEND_MAP = (
    f"({_OPERANDS}, Tensor weight, Tensor kept, {_OPTIONS}, bool return_offsets, SymInt workspace,"
    " bool keep, int cell, SymInt height, SymInt width) -> (Tensor, Tensor, Tensor)"
)

# What a mask says of positions (features.py); height, width: of the map that it is for; taps: of a
# propagation before the softmax.
#
# mask (B or 1, 1, j * height, j * width) bool or floating; all results have as many samples
# -> chosen (B or 1, h, w) bool: the missing ones or, if it `excludes`, those without one in their window;
# read (B or 1, h, w) bool: what chosen patches are made of; cells (B or 1, h+1, w+1): which they paste, bool,
# if it excludes, else what each counts for there, float32
FLAG_POSITIONS = (
    "(Tensor mask, SymInt height, SymInt width, int rate, bool aligned, bool sampled, int ksize, int stride,"
    " int taps, bool wrap, bool excludes, bool mean) -> (Tensor, Tensor, Tensor)"
)
# What features.py takes of both maps, and the gradients of both by those of the first four results.
#
# foreground (B, C, H, W); background (B, C, Hb, Wb), None: the foreground; asked (B or 1, h, w) and read
# (B or 1, hb, wb) bool, None: every position
# -> queries; keys; alpha; beta; valid (1, hb, wb) bool and weight (1, h+1, w+1) float32, for all positions.
# (0,) where not wanted: keys and alpha that are the same as queries and beta, or alpha not `both`; valid and
# weight where flags are given
_TAKING = "int rate, bool aligned, int ksize, float eps, bool adds_eps"
TAKE_FEATURES = (
    f"(Tensor foreground, Tensor? background, Tensor? asked, Tensor? read, {_TAKING}, bool both, bool mean)"
    " -> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)"
)
# height to background_width: of the maps; one_map: the background is the foreground
# -> gradients of foreground and background; one that `needs` does not ask for is (0,)
TAKE_FEATURES_BACKWARD = (
    "(Tensor queries, Tensor keys, Tensor alpha, Tensor beta, Tensor? asked, Tensor? read,"
    " Tensor? grad_queries, Tensor? grad_keys, Tensor? grad_alpha, Tensor? grad_beta,"
    f" {_TAKING}, SymInt height, SymInt width, SymInt background_height, SymInt background_width,"
    " bool one_map, int needs) -> (Tensor, Tensor)"
)


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
    schemas = (ATTEND, ATTEND_BACKWARD, ATTEND_MAP, *of_features)
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
