# All that the types of the package's callers depend on. Of the real torch mypy reads for half a minute.
from typing import Any

from . import nn as nn

class Tensor: ...

def __getattr__(name: str) -> Any: ...
