"""Says what the structure network was trained on: NOTICE, and the table of docs/weights.md.

python -m tools.structure.notice        writes NOTICE and shows the table, which goes into docs/weights.md
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

from .photographs import LICENCES, TrainingPhotograph, training_photographs

NOTICE = Path(__file__).parents[2] / "NOTICE"
HEADER = "| package | activity or folder | photographs | licences |"


def notice(photographs: Sequence[TrainingPhotograph]) -> str:
    """The text of NOTICE: title, author, licence and source of every photograph, by package and activity."""
    used = {one.licence for one in photographs}
    parts = [
        "contextual_attention\n"
        "Copyright The contextual_attention authors, Apache-2.0 (LICENSE)\n\n"
        f"The structure network was trained on crops of these {len(photographs)} pictures, made smaller,\n"
        "turned and changed in colour. They are in packages of Debian 12; none comes with the weights.\n\n"
        "Licences:\n"
        + "".join(f"  {name}: {address}\n" for name, address in LICENCES.items() if name in used and address)
    ]
    for (package, activity), group in groupby(photographs, _place):
        parts.append(f"{package}, {activity}:\n" + "".join(_entry(one) for one in group))
    return "\n".join(parts)


def table(photographs: Sequence[TrainingPhotograph]) -> str:
    """How many photographs there are under which licences, by package and activity, as Markdown."""
    lines = [HEADER, "|---|---|---:|---|"]
    for (package, activity), group in groupby(photographs, _place):
        count = Counter(one.licence for one in group)
        licences = ", ".join(f"{count[name]} {name}" for name in LICENCES if name in count)
        lines.append(f"| {package} | {activity} | {count.total()} | {licences} |")
    return "\n".join(lines)


def _place(photograph: TrainingPhotograph) -> tuple[str, str]:
    return photograph.package, photograph.activity


def _entry(photograph: TrainingPhotograph) -> str:
    source = f"    {photograph.source}\n" if photograph.source else ""
    return f"  {photograph.title}, by {photograph.author}, {photograph.licence}\n{source}"


def main() -> None:
    photographs = training_photographs()
    NOTICE.write_text(notice(photographs), encoding="utf-8")
    print(table(photographs))


if __name__ == "__main__":
    main()
