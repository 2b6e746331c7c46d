"""That sources and compiled module are of one state, and what is said where they are not."""

from __future__ import annotations

import shutil
import subprocess
import sys
from enum import IntEnum
from pathlib import Path

import pytest

from contextual_attention import backends, extension, interface

ROOT = Path(__file__).resolve().parent.parent
MODULE = Path(backends.extension.__file__)


@pytest.fixture
def csrc(tmp_path, monkeypatch):
    """A copy of the C++ sources, in the place of those beside the package."""
    copy = tmp_path / "csrc"
    shutil.copytree(ROOT / "csrc", copy)
    monkeypatch.setattr(extension, "CSRC", copy)
    return copy


def append(file, text="// Another state.\n"):
    with file.open("a") as end:
        end.write(text)


def test_what_was_built_fits(csrc):
    assert extension.differs_from(MODULE) is None


@pytest.mark.parametrize("name", ["module.cpp", "cpu/plan.h"])
def test_a_source_that_has_changed(csrc, name):
    append(csrc / name)
    assert extension.differs_from(MODULE) == csrc


def test_a_source_more_or_less(csrc):
    (csrc / "more.cpp").touch()
    assert extension.differs_from(MODULE) == csrc
    (csrc / "more.cpp").unlink()
    (csrc / "cpu/transpose.h").rename(csrc / "cpu/transposed.h")
    assert extension.differs_from(MODULE) == csrc


def test_what_is_no_source_does_not_count(csrc):
    (csrc / "cpu/plan.h~").write_text("an editor's")
    (csrc / "cpu/plan.o").write_bytes(b"a compiler's")
    assert extension.differs_from(MODULE) is None


@pytest.mark.parametrize("has_cuda", [False, True])
def test_sources_for_cuda_count_where_they_are_built(csrc, has_cuda):
    before = interface.sources_state(csrc, has_cuda)
    append(csrc / "cuda/plan.h")
    assert (interface.sources_state(csrc, has_cuda) != before) is has_cuda


def test_an_installed_package_has_no_sources_beside_it(csrc):
    shutil.rmtree(csrc)
    assert extension.differs_from(MODULE) is None
    assert extension._way_out() == "install contextual_attention again"


def test_sources_of_another_package_do_not_count(csrc):
    shutil.rmtree(csrc)
    csrc.mkdir()
    (csrc / "module.cpp").touch()
    assert extension.differs_from(MODULE) is None


OPERATORS = [name for name, each in vars(interface).items() if isinstance(each, interface.Operator)]


@pytest.mark.parametrize("operator", OPERATORS)
def test_a_schema_that_has_changed(csrc, monkeypatch, operator):
    shutil.rmtree(csrc)
    more = getattr(interface, operator)
    monkeypatch.setattr(interface, operator, more._replace(groups=(*more.groups, interface.Run)))
    assert extension.differs_from(MODULE) == Path(interface.__file__)


@pytest.mark.parametrize("kind", [interface.Propagation, interface.Masking])
def test_numbers_that_have_changed(csrc, monkeypatch, kind):
    shutil.rmtree(csrc)
    names = [member.name for member in kind]
    monkeypatch.setattr(interface, kind.__name__, IntEnum(kind.__name__, names[::-1], start=0))
    assert extension.differs_from(MODULE) == Path(interface.__file__)


def test_a_module_that_says_nothing_of_itself(csrc, tmp_path):
    (tmp_path / "other.so").write_bytes(b"\x7fELF")
    assert extension.differs_from(tmp_path / "other.so") == Path(interface.__file__)


def test_a_state_is_read_as_it_is_written():
    for has_cuda in (False, True):
        state = interface.State.of(ROOT / "csrc", has_cuda)
        assert interface.State.written_in(b"\0before\0" + str(state).encode() + b"\0after") == state


def test_a_checkout_with_a_module_of_another_state(tmp_path):
    """Refused in words that name both, and before its kernels are registered; the reference still works."""
    for folder in ("contextual_attention", "csrc"):
        shutil.copytree(
            ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("*.so", "__pycache__")
        )
    append(tmp_path / "contextual_attention/operators.py", "# A comment more.\n")
    append(tmp_path / "csrc/cpu/operator.cpp")
    code = f"""
import sys
sys.path.append({str(MODULE.parent)!r})
import torch, contextual_attention
print(contextual_attention.available_backends()["cpu"])
print("contextual_attention_C" in sys.modules)
print(torch._C._dispatch_has_kernel_for_dispatch_key("contextual_attention::attend", "CPU"))
x = torch.ones(1, 1, 2, 2)
contextual_attention.contextual_attention(x, x)
"""
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    reason, *others = run.stdout.splitlines()
    assert others == ["False", "False"]
    assert reason == (
        f"the compiled extension did not load: {MODULE} was built from another state of the sources than"
        f" {tmp_path}/csrc; run `pip install .` in {tmp_path}"
    )


def test_the_way_out_is_one():
    """A module within the checkout hides the one that `pip install .` would bring."""
    within = extension.ROOT / f"{extension.NAME}.so"
    assert extension._way_out(within).startswith(
        f"run `make build` in {ROOT} or, where it is not installed ed"
    )
    assert extension._way_out() == f"run `pip install .` in {ROOT}"
