"""What an editor, help() and mypy see of the public names."""

from __future__ import annotations

import dataclasses
import inspect
import os
import subprocess
import sys
from importlib.resources import files
from pathlib import Path
from typing import get_type_hints

import pytest

import contextual_attention
from contextual_attention import ContextualAttention, Options, attention_weights
from contextual_attention.options import OptionKeywords

HERE = Path(__file__).parent
OPTIONS = {field.name: field for field in dataclasses.fields(Options)}


@pytest.mark.parametrize(
    "function", [contextual_attention.contextual_attention, attention_weights, ContextualAttention]
)
def test_options_are_named_with_their_types_and_defaults(function):
    parameters = inspect.signature(function).parameters
    shown = [p for p in parameters.values() if p.name in OPTIONS]
    assert [p.name for p in shown] == list(OPTIONS)
    assert all(p.kind is inspect.Parameter.KEYWORD_ONLY for p in shown)
    assert {p.name: p.default for p in shown} == {name: x.default for name, x in OPTIONS.items()}
    assert {p.name: p.annotation for p in shown} == {name: x.type for name, x in OPTIONS.items()}
    assert not any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values())


def test_overrides_are_the_options():
    hints = get_type_hints(Options)
    assert get_type_hints(OptionKeywords) == {name: hints[name] for name in OPTIONS}
    assert OptionKeywords.__required_keys__ == frozenset()


def test_generator_overrides_are_its_configuration():
    pytest.importorskip("huggingface_hub")
    from contextual_attention.models.network.generator_config import GeneratorConfig, GeneratorKeywords

    names = [field.name for field in dataclasses.fields(GeneratorConfig)]
    hints = get_type_hints(GeneratorConfig)
    assert get_type_hints(GeneratorKeywords) == {name: hints[name] for name in names}


def test_the_package_says_that_it_is_typed():
    assert files("contextual_attention").joinpath("py.typed").is_file()
    project = HERE.parent.joinpath("pyproject.toml").read_text(encoding="utf-8")
    assert 'contextual_attention = ["py.typed"]' in project


def test_a_typed_caller_is_understood(tmp_path):
    """typed_use.py asserts types, and that wrong calls are errors: an `ignore` without one is an error."""
    pytest.importorskip("mypy")
    path = os.pathsep.join([str(HERE / "stubs"), str(HERE.parent)])
    command = [sys.executable, "-m", "mypy", "--strict", "--follow-imports=silent", "--python-version=3.10"]
    run = subprocess.run(
        [*command, "--no-site-packages", "--cache-dir", str(tmp_path), str(HERE / "helpers/typed_use.py")],
        cwd=tmp_path,
        env=os.environ | {"MYPYPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr


def python(code: str) -> str:
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return run.stdout.strip()


def test_the_models_load_what_is_asked_for():
    loaded = python(
        "import sys, contextual_attention.models as models\n"
        "print(*(name in sys.modules for name in ('huggingface_hub', models.__name__ + '.filling')))\n"
        "models.inpaint; print('huggingface_hub' in sys.modules, 'InpaintGenerator' in dir(models))"
    )
    assert loaded.split() == ["False", "False", "False", "True"]


def test_the_version_is_the_project_s():
    """Of a bare checkout too, which is not installed."""
    declared = HERE.parent.joinpath("pyproject.toml").read_text(encoding="utf-8").split('\nversion = "')[1]
    assert contextual_attention.__version__ == declared.partition('"')[0]
