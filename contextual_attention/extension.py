"""Finds, checks and loads the compiled half of the package, the module ``contextual_attention_C``.

Its name is not within the package: so the sources of a checkout, which there stand before the installed
package, find the module that was installed. It can then be of another state than they are, and that must be
found out before it is loaded: loading registers its kernels under the schemas of interface.py, and a kernel
that is given other arguments than it was compiled for reads memory that is not its own.
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

from . import interface

NAME = "contextual_attention_C"

# In a checkout the C++ sources lie beside the package.
ROOT = Path(__file__).resolve().parents[1]
CSRC = ROOT / "csrc"


def load() -> ModuleType:
    """The module, whose kernels are registered by this.

    Raises:
        ImportError: There is none, it does not fit these sources, or it cannot be loaded; says what to do.
    """
    spec = find_spec(NAME)
    if spec is None or spec.origin is None:
        raise ImportError(f"there is no module {NAME} for this Python; {_way_out()}", name=NAME)
    module = Path(spec.origin)
    other = differs_from(module)
    if other is not None:
        state = f"{module} was built from another state of the sources than {other}"
        raise ImportError(f"{state}; {_way_out(module)}", name=NAME)
    return import_module(NAME)


def differs_from(module: Path) -> Path | None:
    """Those of the sources here that a module was not built from; None: it fits."""
    built = interface.State.written_in(module.read_bytes())
    if built is None or built.operators != interface.operators_state():
        return Path(interface.__file__)
    if _is_checkout() and built.sources != interface.sources_state(CSRC, built.has_cuda):
        return CSRC
    return None


def _is_checkout() -> bool:
    """Whether these are the sources: some packages leave a csrc of theirs where an installed one lies."""
    return (CSRC / "common/state.cpp").is_file()


def _way_out(module: Path | None = None) -> str:
    """What helps where there is none, or where this one does not fit."""
    if not _is_checkout():
        return "install contextual_attention again"
    if module is not None and module.parent == ROOT:
        return f"run `make build` in {ROOT} or, where it is not installed editable, remove that file"
    return f"run `pip install .` in {ROOT}"
