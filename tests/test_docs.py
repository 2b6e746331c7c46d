"""What README.md and docs/ say is so: examples run, commands and tables are real, links lead somewhere."""

import json
import re
import shlex
from dataclasses import asdict
from pathlib import Path

import pytest

from contextual_attention import cli, options
from contextual_attention.commands import transfer
from contextual_attention.options import PRESETS, Options

ROOT = Path(__file__).parents[1]
PAGES = ["README.md", "CONTRIBUTING.md", *(str(path.relative_to(ROOT)) for path in ROOT.glob("docs/**/*.md"))]
TEXTS = {page: (ROOT / page).read_text(encoding="utf-8") for page in sorted(PAGES)}


def blocks(language):
    """The blocks of code of all pages in a language, each with its page."""
    pattern = re.compile(rf"^```{language}\n(.*?)^```", re.MULTILINE | re.DOTALL)
    return [(page, block) for page, text in TEXTS.items() for block in pattern.findall(text)]


def table(page, header):
    """The rows of the table that starts with this header, each a list of cells without their backquotes."""
    _, found, after = TEXTS[page].partition(f"\n{header}\n")
    assert found, header
    lines = after.splitlines()[1:]  # without the rule under the header
    rows = lines[: next(i for i, line in enumerate(lines) if not line.startswith("|"))]
    return [[cell.strip().strip("`") for cell in row.strip("|").split(" | ")] for row in rows]


def test_the_readme_is_short():
    assert len(TEXTS["README.md"].splitlines()) <= 120


@pytest.mark.parametrize(("page", "example"), blocks("python"))
def test_examples_run(page, example):
    exec(compile(example, page, "exec"), {})


def commands():
    """The package's commands in all pages, in blocks and between backquotes, each with its page."""
    found = [
        (page, line.split("#")[0]) for page, block in blocks("bash") for line in re.split("\n|&&", block)
    ]
    found += [(page, code) for page, text in TEXTS.items() for code in re.findall(r"`([^`\n]+)`", text)]
    start = "python -m contextual_attention "
    return sorted({(page, line.strip()) for page, line in found if line.strip().startswith(start)})


@pytest.mark.parametrize(("page", "command"), commands())
def test_commands_exist(page, command):
    words = shlex.split(command.removeprefix("python -m contextual_attention "))
    parser = cli.parser()
    if len(words) == 1 or words[1].isupper():  # named, not called
        (subcommands,) = (action for action in parser._actions if action.dest == "command")
        assert words[0] in subcommands.choices
    else:
        assert parser.parse_args(words).command == words[0]


def test_options_and_their_defaults():
    rows = table("docs/layer.md", "| option | default | meaning |")
    assert {name: default for name, default, *_ in rows} == {
        name: f'"{default}"' if isinstance(default, str) else str(default)
        for name, default in asdict(Options()).items()
    }


def test_bounds_of_the_options():
    count, reach = options._MOST_COUNT, options._MOST_REACH
    least, most = options._LEAST_EPS, options._MOST_REAL
    said = (
        f"`ksize` up to {count - 1}, `rate` and `stride` up to {count}, "
        f"(`fuse_k` − 1) · `stride` up to {reach}, "
        f"`softmax_scale` up to {most:g}, `eps` from {least:g} to {most:g}."
    )
    assert said.replace("e+", "e") in " ".join(TEXTS["docs/layer.md"].split())


def test_presets():
    header = "| option | " + " | ".join(f"`{name}`" for name in PRESETS) + " |"
    differing = {row[0]: [value.strip('"') for value in row[1:]] for row in table("docs/layer.md", header)}
    for name, default in asdict(Options()).items():
        values = [getattr(preset, name) for preset in PRESETS.values()]
        assert values == differing.get(name, [default] * len(values)), name


def slug(heading):
    """What a link to a heading calls it."""
    return re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-")


@pytest.mark.parametrize("page", TEXTS)
def test_links_within_the_repository(page):
    links = [link for link in re.findall(r"\]\(([^)]+)\)", TEXTS[page]) if "://" not in link]
    for link in links:
        target, _, heading = link.partition("#")
        path = (ROOT / page).parent.joinpath(target) if target else ROOT / page
        assert path.exists(), link
        if heading:
            text = path.read_text(encoding="utf-8")
            assert heading in {slug(line.lstrip("# ")) for line in text.splitlines() if line[:1] == "#"}


def test_files_that_the_architecture_names_exist():
    """Between backquotes, from the root, or within the layer's package."""
    named = re.findall(r"`([\w./]+/[\w.]*|[\w/]+\.(?:py|h|cpp|cu|md))`", TEXTS["docs/architecture.md"])
    places = (ROOT, ROOT / "contextual_attention", ROOT / "csrc/cuda")
    assert len(named) > 40
    assert [name for name in named if not any((place / name).exists() for place in places)] == []


def test_the_number_on_the_first_screen_is_the_measured_one():
    rows = json.loads((ROOT / "benchmarks/results/xeon-avx512-2cpu.json").read_text())["rows"]
    same = {
        "image": [512, 680],
        "channels": 128,
        "dtype": "float32",
        "direction": "forward",
        "preset": "paper",
    }
    forms = {
        row["variant"]: row
        for row in rows
        if all(row[name] == value for name, value in same.items()) and row["shape"] == "1x512x680"
    }
    ours, textbook = forms["cpu"], forms["textbook"]
    times, megabytes, gigabytes = re.search(
        r"\*\*(\d+) times faster .* in (\d+) MB instead of ([\d.]+) GB\*\*", TEXTS["README.md"]
    ).groups()
    assert round(textbook["median"] / ours["median"]) == int(times)
    assert round(ours["working_bytes"] / 1e6) == int(megabytes)
    assert round(textbook["working_bytes"] / 1e9, 1) == float(gigabytes)


def test_softmax_scale_of_transfer():
    assert f"Its softmax scale is {transfer.TRANSFER_OPTIONS.softmax_scale:g} " in TEXTS["docs/commands.md"]
