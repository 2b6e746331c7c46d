"""The documentation's site: pages from outside docs/, their links, the notebook as a page.

.ci/run builds the site, strictly: a page that nothing leads to, or a link that leads nowhere, fails there.
"""

import base64
import importlib.util
import re
from pathlib import Path

import pytest

import contextual_attention
from contextual_attention import models

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def site():
    """tools/site.py, which mkdocs loads by its path too."""
    spec = importlib.util.spec_from_file_location("documentation_site", ROOT / "tools/site.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_reference_has_every_public_name():
    pages = "\n".join(page.read_text(encoding="utf-8") for page in ROOT.glob("docs/reference/*.md"))
    documented = set(re.findall(r"^::: (\S+)$", pages, re.MULTILINE))
    public = {
        f"{package.__name__}.{name}" for package in (contextual_attention, models) for name in package.__all__
    }
    assert public - documented == {"contextual_attention.__version__"}


def test_what_is_taken_from_outside_docs_is_there(site):
    assert [origin for origin in site.PLACES if not (ROOT / origin).is_file()] == []


@pytest.mark.parametrize(
    ("origin", "here", "link", "on_site"),
    [
        ("README.md", "index.md", "docs/layer.md#citation", "layer.md#citation"),
        ("README.md", "index.md", "docs/images/demo.jpg", "images/demo.jpg"),
        ("README.md", "index.md", "CONTRIBUTING.md", "contributing.md"),
        ("README.md", "index.md", "examples/contextual_attention.ipynb", "notebook.md"),
        ("README.md", "index.md", "LICENSE", "LICENSE.txt"),
        ("docs/weights.md", "weights.md", "../NOTICE", "NOTICE.txt"),
        ("docs/gpu.md", "gpu.md", "../README.md#install", "index.md#install"),
        ("docs/gpu.md", "gpu.md", "layer.md", "layer.md"),
        ("docs/performance.md", "performance.md", "../benchmarks/results/README.md", "results.md"),
        ("docs/reference/layer.md", "reference/layer.md", "../layer.md", "../layer.md"),
        ("docs/experiments/README.md", "experiments/README.md", "sizes.md", "sizes.md"),
        ("examples/contextual_attention.ipynb", "notebook.md", "../docs/layer.md", "layer.md"),
        ("docs/gpu.md", "gpu.md", "#memory", "#memory"),
        ("docs/gpu.md", "gpu.md", "https://example.org/docs/a.md", "https://example.org/docs/a.md"),
    ],
)
def test_links_lead_where_they_do_in_the_checkout(site, origin, here, link, on_site):
    assert site.relinked(f"a [b]({link}) c", origin, here) == f"a [b]({on_site}) c"


def test_a_notebook_becomes_a_page(site):
    result = {"output_type": "execute_result", "metadata": {}, "execution_count": 1}
    notebook = {
        "cells": [
            {"cell_type": "markdown", "source": ["# Head\n", "text"]},
            {
                "cell_type": "code",
                "source": ["x = 1\n", "x"],
                "outputs": [{**result, "data": {"text/plain": ["1"]}}],
            },
            {"cell_type": "code", "source": ["y"], "outputs": []},
            {
                "cell_type": "code",
                "source": ["show()"],
                "outputs": [
                    {
                        **result,
                        "data": {"text/plain": ["<Image>"], "image/jpeg": base64.b64encode(b"jpeg").decode()},
                    }
                ],
            },
        ]
    }
    page, pictures = site.from_notebook(notebook)
    assert page == (
        "# Head\ntext\n\n```python\nx = 1\nx\n```\n\n```text\n1\n```\n\n```python\ny\n```\n\n"
        "```python\nshow()\n```\n\n![What the code above shows](../docs/images/notebook-1.jpg)\n"
    )
    assert pictures == {"docs/images/notebook-1.jpg": b"jpeg"}
