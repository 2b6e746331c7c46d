"""``contextual_attention.models`` in a checkout, where it lies in the folder models/ beside this package.

No wheel has this file: there, models/ itself is in its place (package-dir in pyproject.toml).
"""

import sys
from importlib.machinery import SourceFileLoader
from pathlib import Path

_folder = Path(__file__).resolve().parents[2] / "models"

# This module becomes models/__init__.py, as if it had been found there in the first place.
__file__ = str(_folder / "__init__.py")
__path__ = [str(_folder)]
__spec__.loader = __loader__ = SourceFileLoader(__name__, __file__)
__spec__.origin = __file__
__spec__.submodule_search_locations = __path__
__loader__.exec_module(sys.modules[__name__])
