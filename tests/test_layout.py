"""Which folder imports which, and that each is installed and says what it holds: read from the sources."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from importlib.util import resolve_name
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
LAYER = "contextual_attention"
MODELS = f"{LAYER}.models"

# As the docstring of models/__init__.py says it.
MAY_IMPORT = {
    "patches": set(),
    "network": {"patches"},
    "network.layouts": {"network"},
    "data": set(),
    "data.scenes": set(),
    "training": {"data", "network"},
    "training.recipes": {"data", "filling", "network"},
    "filling": {"network", "patches"},
    "evaluation": {"data", "filling", "network", "patches"},
}


def packages() -> dict[str, Path]:
    """Every Python package of the checkout: its name where it is installed, and its folder."""
    folders = {ROOT / LAYER: LAYER, ROOT / "models": MODELS}
    return {
        ".".join([name, *file.parent.relative_to(folder).parts]): file.parent
        for folder, name in folders.items()
        for file in folder.rglob("__init__.py")
    }


def imports(source: str, package: str) -> Iterator[str]:
    """The full names of all that a module of a package imports, those inside its functions too."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            origin = resolve_name("." * node.level + (node.module or ""), package)
            yield from (f"{origin}.{alias.name}" for alias in node.names)


def imported_models(source: str, package: str) -> set[str]:
    """What a module imports of the models: the names of folders, or of what stands in models/__init__.py."""
    names = (name.split(".") for name in imports(source, package))
    return {".".join(name[2:3]) for name in names if name[:2] == MODELS.split(".")}


def forbidden_imports(package: str, allowed: set[str]) -> dict[str, set[str]]:
    """What the modules of a package import of the models beyond what is allowed, by module."""
    found = {
        file.name: imported_models(file.read_text(encoding="utf-8"), package) - allowed
        for file in packages()[package].glob("*.py")
    }
    return {name: folders for name, folders in found.items() if folders}


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import contextual_attention.models.data.masks", {"data"}),
        ("import contextual_attention.models", {""}),
        ("from contextual_attention import models", {""}),
        ("from contextual_attention.models import inpaint", {"inpaint"}),
        ("from .. import training", {"training"}),
        ("from ..network.generator import InpaintGenerator", {"network"}),
        ("def load():\n    from ..network import pretrained", {"network"}),
        ("from .thin import fill_thin", {"filling"}),
        ("from ...photos import to_uint8\nimport contextual_attention.modules", set()),
    ],
)
def test_every_kind_of_import_is_seen(source, found):
    assert imported_models(source, f"{MODELS}.filling") == found


def test_what_is_not_allowed_is_found():
    found = forbidden_imports(f"{MODELS}.training", {"training", "data"})
    assert set(found) >= {"checkpoint.py", "presets.py"}
    assert set().union(*found.values()) == {"network"}


def test_every_folder_of_the_models_has_a_rule():
    assert {name for name in packages() if name.startswith(f"{MODELS}.")} == {
        f"{MODELS}.{folder}" for folder in MAY_IMPORT
    }


def test_the_rules_run_one_way():
    try:
        TopologicalSorter(MAY_IMPORT).prepare()
    except CycleError as error:
        pytest.fail(f"a circle: {error.args[1]}")


@pytest.mark.parametrize("folder", MAY_IMPORT)
def test_folders_import_what_they_may(folder):
    own = folder.partition(".")[0]
    assert forbidden_imports(f"{MODELS}.{folder}", {own, *MAY_IMPORT[folder]}) == {}


@pytest.mark.parametrize(
    "package",
    [name for name in packages() if not name.startswith((MODELS, f"{LAYER}.commands"))],
)
def test_the_layer_imports_no_models(package):
    assert forbidden_imports(package, set()) == {}


def test_every_package_is_installed():
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    listed = re.search(r"(?ms)^packages = \[(.*?)^\]", text)[1]
    assert sorted(re.findall('"(.+)"', listed)) == sorted(packages())


@pytest.mark.parametrize("folder", MAY_IMPORT)
def test_every_folder_says_what_it_holds(folder):
    files = {file.name: file for file in (ROOT / "models" / folder.replace(".", "/")).glob("*.py")}
    contents = ast.get_docstring(ast.parse(files.pop("__init__.py").read_text(encoding="utf-8")))
    assert sorted(re.findall(r"^(\w+\.py) ", contents, re.MULTILINE)) == sorted(files)
