"""What the documentation's site has beyond docs/: pages from elsewhere, the notebook, and links between all.

mkdocs calls the functions on_... (mkdocs.yml names this file). The notebook becomes Markdown like any page,
in place of a plugin that would bring Jupyter along and leave its links unchecked.
"""

from __future__ import annotations

import base64
import json
import posixpath
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "build/site-sources/contextual_attention"
NOTEBOOK = "examples/contextual_attention.ipynb"
# Where on the site is what lies outside docs/ in the checkout.
PLACES = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "LICENSE": "LICENSE.txt",
    "NOTICE": "NOTICE.txt",
    "benchmarks/results/README.md": "results.md",
    NOTEBOOK: "notebook.md",
}
# Where a link or a picture leads, unless that is another site or a heading of the same page.
_TARGET = re.compile(r"(?<=\]\()(?![a-z]+:|#)[^)#\s]+")


def on_startup(**_: Any) -> None:
    """Lay the package out as it is installed, with models/ in it, where mkdocstrings reads it."""
    shutil.rmtree(PACKAGE, ignore_errors=True)
    shutil.copytree(ROOT / "contextual_attention", PACKAGE, ignore=shutil.ignore_patterns("models"))
    shutil.copytree(ROOT / "models", PACKAGE / "models")


def on_files(files: Files, config: MkDocsConfig) -> None:
    """Add what lies outside docs/."""
    from mkdocs.structure.files import File  # here: the tests of the rest do without mkdocs

    for origin, place in PLACES.items():
        if origin != NOTEBOOK:
            files.append(File.generated(config, place, abs_src_path=str(ROOT / origin)))
    page, pictures = from_notebook(json.loads((ROOT / NOTEBOOK).read_text(encoding="utf-8")))
    files.append(File.generated(config, PLACES[NOTEBOOK], content=page))
    for path, picture in pictures.items():
        files.append(File.generated(config, path.removeprefix("docs/"), content=picture))


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Let links lead where they do in the checkout; of those that lead nowhere, mkdocs tells."""
    here = page.file.src_uri
    origins = {place: origin for origin, place in PLACES.items()}
    return relinked(markdown, origins.get(here, f"docs/{here}"), here)


def relinked(markdown: str, origin: str, here: str) -> str:
    """The text of a file of the checkout as that of a page of the site: both named from their roots."""

    def target(link: re.Match[str]) -> str:
        path = posixpath.normpath(posixpath.join(posixpath.dirname(origin), link[0]))
        place = PLACES.get(path, path.removeprefix("docs/"))
        return posixpath.relpath(place, posixpath.dirname(here) or ".")

    return _TARGET.sub(target, markdown)


def from_notebook(notebook: dict[str, Any]) -> tuple[str, dict[str, bytes]]:
    """A notebook as Markdown, and its pictures by the paths in the checkout at which they would lie.

    What a cell's last line gives stands under its code, as text or, of a picture, as JPEG; no cell prints.
    """
    parts, pictures = [], {}
    for cell in notebook["cells"]:
        source = "".join(cell["source"])
        parts.append(f"```python\n{source}\n```" if cell["cell_type"] == "code" else source)
        for output in cell.get("outputs", []):
            data = output["data"]
            if "image/jpeg" in data:
                path = f"docs/images/notebook-{len(pictures) + 1}.jpg"
                pictures[path] = base64.b64decode(data["image/jpeg"])
                parts.append(f"![What the code above shows](../{path})")
            else:
                parts.append("```text\n" + "".join(data["text/plain"]) + "\n```")
    return "\n\n".join(parts) + "\n", pictures
