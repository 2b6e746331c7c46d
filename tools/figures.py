"""Prints how much a reader of the sources meets: counts made from them as they are.

    python tools/figures.py --root OLDER .       of two checkouts, side by side; without --root of this one

Lines that name an option: of code in csrc/ and contextual_attention/, no comments, docstrings, testing.py.
Such a line only passes the option on if it has no word of control (if, for, while, and, or, not, in, assert,
raise, else), no operator but `=` beside the name, and sets no number: it declares it, copies it or names it.
Parameters: of functions that m.impl registers, those that module.def names, and of Triton kernels that are
launched with a grid; a struct or a named tuple is one. Files of a CUDA kernel: the header that defines its
body, and all of csrc/ that this includes.
"""

from __future__ import annotations

import argparse
import ast
import os
import re
from pathlib import Path

Counts = dict[str, int]
_CONTROL = re.compile(r"\b(if|for|while|and|or|not|in|assert|raise|else)\b|&&|\|\||\?")
_OPERATOR = r"(?:[+/%<]|-(?!>)|(?<!-)>|[=!<>]=|(?<=\s)\*(?=\s)|\*\*)"


class Sources:
    """The files of some folders of a checkout, by their paths within it: whole, and the code alone."""

    def __init__(self, root: Path, *folders: str) -> None:
        paths = (path for name in folders for path in sorted((root / name).rglob("*")))
        kept = [path for path in paths if path.suffix in (".py", ".h", ".cpp", ".cu")]
        self.texts = {str(path.relative_to(root)): path.read_text(encoding="utf-8") for path in kept}
        self.code = {name: _code(name, text) for name, text in self.texts.items()}
        self.lengths = {name: len(text.splitlines()) for name, text in self.texts.items()}

    def find(self, pattern: str) -> list[tuple[str, re.Match[str]]]:
        return [(name, found) for name, text in self.code.items() for found in re.finditer(pattern, text)]

    def functions(self) -> dict[str, ast.FunctionDef]:
        """Python's, by their names and files."""
        trees = [(name, ast.parse(text)) for name, text in self.texts.items() if name.endswith(".py")]
        nodes = ((name, node) for name, tree in trees for node in ast.walk(tree))
        return {f"{node.name} in {name}": node for name, node in nodes if isinstance(node, ast.FunctionDef)}


def _code(name: str, text: str) -> str:
    """The text without its comments and docstrings."""
    string = r'("(?:\\.|[^"\\\n])*")'
    pattern = rf'^\s*""".*?"""|{string}|#[^\n]*' if name.endswith(".py") else rf"{string}|//[^\n]*|/\*.*?\*/"
    return re.sub(pattern, lambda found: found[1] or "", text, flags=re.DOTALL | re.MULTILINE)


def passes_on(line: str, option: str) -> bool:
    """Whether all that a line does with an option is to hand it on."""
    path = rf"(?:\w+(?:\.|->|::))*\b{option}\b"
    is_used = rf"{_OPERATOR}\s*{path}|{path}\s*{_OPERATOR}|\b{option}\b[^,;()]*[=:]\s*-?\d"
    return not (re.search(is_used, line) or _CONTROL.search(line))


def naming(sources: Sources, option: str) -> dict[str, object]:
    found = sources.find(rf"(?m)^.*\b{option}\b.*$")
    lines = [(name, line[0]) for name, line in found if not name.endswith("/testing.py")]
    passing = sum(passes_on(line, option) for _, line in lines)
    files = len({name for name, _ in lines})
    return {f"lines that name {option}": len(lines), "  in files": files, "  only pass it on": passing}


def operators(sources: Sources) -> Counts:
    """Parameters of the functions that m.impl registers."""
    counts: Counts = {}
    for file, found in sources.find(r'm\.impl\("(\w+)"[^,]*,\s*\w+\(&?(\w+)\)'):
        definition = re.compile(rf"\b{found[2]}\(([^{{}};]*)\)\s*\{{")
        places = (sources.code[file], *sources.code.values())
        parameters = next(filter(None, map(definition.search, places)))[1]
        # Commas between parameters, not those of templates.
        between = re.sub(r"<[^<>]*>", "", re.sub(r"<[^<>]*>", "", parameters))
        counts[f"{found[1]} in {file}"] = between.count(",") + bool(between.strip())
    return counts


def bindings(sources: Sources) -> Counts:
    """Parameters that module.def names."""
    calls = [call for text in sources.code.values() for call in text.split("module.def(")[1:]]
    return {call.split('"')[1]: call.count("py::arg(") for call in calls}


def kernels(sources: Sources) -> Counts:
    """Parameters of the Triton kernels that are launched with a grid."""
    launched = {found[1] for _, found in sources.find(r"\b(\w+)\[.*\]\(")}
    functions = {name: node for name, node in sources.functions().items() if node.name in launched}
    return {
        name: len(node.args.args)
        for name, node in functions.items()
        if any(ast.unparse(each).startswith("triton.jit") for each in node.decorator_list)
    }


def files_of(sources: Sources, body: str) -> Counts:
    """Lines of the header that defines the body of a kernel, and of all that it includes."""
    waiting = [name for name, _ in sources.find(rf"\b(?:struct|class) {body}\b[^;{{]*\{{")]
    reached: Counts = {}
    while waiting:
        name = waiting.pop()
        reached[name] = sources.lengths[name]
        for included in re.findall(r'#include "([^"]+)"', sources.texts[name]):
            places = (os.path.normpath(Path(folder, included)) for folder in (Path(name).parent, "csrc"))
            waiting += [place for place in places if place in sources.texts and place not in reached]
    return reached


def _largest(counts: Counts) -> str:
    name = max(counts, key=counts.__getitem__, default="none")
    return f"{counts.get(name, 0)}, {name}"


def figures(root: Path, option: str, body: str) -> dict[str, object]:
    cpp, python = Sources(root, "csrc"), Sources(root, "contextual_attention")
    counted = {"operators": operators(cpp), "bindings": bindings(cpp), "Triton kernels": kernels(python)}
    found = naming(Sources(root, "csrc", "contextual_attention"), option)
    for of, counts in counted.items():
        found[f"parameters of {of}"] = f"{min(counts.values(), default=0)} to {_largest(counts)}"
    for folder in ("csrc", "contextual_attention", "benchmarks", "tools"):
        sources = Sources(root, folder)
        own = {name: node.end_lineno - node.lineno + 1 for name, node in sources.functions().items()}
        found[f"lines of {folder}/"] = f"{sum(sources.lengths.values())} in {len(sources.lengths)} files"
        found[f"  largest of {folder}/"] = _largest(sources.lengths)
        if own:
            found[f"  longest function of {folder}/"] = _largest(own)
    reached = files_of(cpp, body)
    return found | {f"files for {body}": f"{len(reached)}, of {sum(reached.values())} lines"}


def main() -> None:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    add, here = parser.add_argument, Path(__file__).resolve().parents[1]
    add("--root", type=Path, nargs="+", default=[here], help="checkouts; default: this one")
    add("--option", default="fuse_k", help="whose name is looked for; default: fuse_k")
    add("--body", default="DiagonalSum3", help="of a CUDA kernel; default: DiagonalSum3")
    given = parser.parse_args()
    columns = [figures(root, given.option, given.body) for root in given.root]
    lines = [[name, *(str(each.get(name, "")) for each in columns)] for name in columns[-1]]
    lines.insert(0, ["", *map(str, given.root)])
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    print("\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines))


if __name__ == "__main__":
    main()
