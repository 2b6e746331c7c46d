from collections.abc import Callable
from typing import Any

class Module:
    __call__: Callable[..., Any]
    def __init__(self) -> None: ...
