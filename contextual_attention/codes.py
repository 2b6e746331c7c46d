"""Options as the operator's schemas carry them: numbers, for the stable C++ ABI has no strings."""

from __future__ import annotations

from enum import IntEnum


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
