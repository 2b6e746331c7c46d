"""What the README says is so: its example runs, its tables are the code's, its links lead somewhere."""

import re
import shlex
from dataclasses import asdict
from pathlib import Path

import pytest

from contextual_attention import cli
from contextual_attention.commands import transfer
from contextual_attention.options import PRESETS, Options

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def table(header):
    """The rows of the table that starts with this header, each a list of cells without their backquotes."""
    _, found, after = README.partition(f"\n{header}\n")
    assert found, header
    lines = after.splitlines()[1:]  # without the rule under the header
    rows = lines[: next(i for i, line in enumerate(lines) if not line.startswith("|"))]
    return [[cell.strip().strip("`") for cell in row.strip("|").split(" | ")] for row in rows]


@pytest.mark.parametrize("example", re.findall(r"^```python\n(.*?)^```", README, re.MULTILINE | re.DOTALL))
def test_examples_run(example):
    exec(compile(example, "README.md", "exec"), {})


def test_options_and_their_defaults():
    rows = table("| option | default | meaning |")
    assert {name: default for name, default, *_ in rows} == {
        name: f'"{default}"' if isinstance(default, str) else str(default)
        for name, default in asdict(Options()).items()
    }


def test_presets():
    header = "| option | " + " | ".join(f"`{name}`" for name in PRESETS) + " |"
    differing = {row[0]: [value.strip('"') for value in row[1:]] for row in table(header)}
    for name, default in asdict(Options()).items():
        values = [getattr(preset, name) for preset in PRESETS.values()]
        assert values == differing.get(name, [default] * len(values)), name


@pytest.mark.parametrize("page", ["README.md", "docs/training.md", "docs/experiments/README.md"])
def test_links_within_the_repository(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)]+)\)", text) if "://" not in link]
    assert links
    headings = {line.lstrip("# ").lower() for line in text.splitlines() if line.startswith("#")}
    for link in links:
        assert link[1:] in headings if link.startswith("#") else (ROOT / page).parent.joinpath(link).is_file()


def test_main_command_is_one_that_exists():
    (command,) = re.findall(r"python -m contextual_attention (transfer --.*)$", README, re.MULTILINE)
    assert cli.parser().parse_args(shlex.split(command)).command == "transfer"


def test_softmax_scale_of_transfer():
    assert f"Its softmax scale is {transfer.TRANSFER_OPTIONS.softmax_scale:g} " in README
