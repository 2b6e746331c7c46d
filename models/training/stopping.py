"""Being asked to stop: SIGTERM, as schedulers send it, and Ctrl-C; and a time that is over."""

from __future__ import annotations

import signal
import time
from types import FrameType
from typing import Any

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class StopRequest:
    """Within its context SIGTERM and a first Ctrl-C are only noted; a second Ctrl-C does what it always did.

    A second SIGTERM is no more than the first: torchrun and the program timeout send it twice, to the process
    and to its group.

    Args:
        ends: When the time is over, of `time.monotonic`; None: never.

    Attributes:
        is_set: Whether one came.
    """

    def __init__(self, ends: float | None = None) -> None:
        self.ends, self.is_set = ends, False
        self._before: dict[int, Any] = {}

    @property
    def is_late(self) -> bool:
        """Whether the time is over."""
        return self.ends is not None and time.monotonic() >= self.ends

    def __enter__(self) -> StopRequest:
        self._before = {number: signal.signal(number, self._note) for number in _SIGNALS}
        return self

    def __exit__(self, *_exception: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, _frame: FrameType | None) -> None:
        self.is_set = True
        if number == signal.SIGINT:
            signal.signal(number, self._before[number])
