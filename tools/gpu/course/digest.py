"""What a session found out, in 9,000 characters: failures first, then times. Rewritten after every step."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from tools.gpu.records import COLLECTED, OUT_OF_TIME, is_bad, last_states, read

# The name of the step that records the steps themselves.
SESSION = "session"
LENGTH = 9000
_LINE = 160
# The most lines of each section; what then is too long is cut at the end, where it is missed least.
_LINES = {
    "failures": 25,
    "steps": 12,
    "cases": 4,
    "times, in ms": 24,
    "kernels, in ms": 10,
    "counters": 8,
    "memcheck": 4,
    "forms": 8,
    "facts": 8,
}

Record = dict[str, Any]
# Of failures: what says most comes first.
_ORDER = ("load", "smoke", "tests", "rest", "memcheck", "times", "forms", "counters", "facts")


def write(records: Path, path: Path) -> None:
    text = digest(list(read(records)))
    temporary = path.with_suffix(".part")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)


def has_failed(records: Path) -> bool:
    """Whether smoke or tests have found anything wrong, or ended badly themselves."""
    decisive = ("smoke", "tests")
    return any(
        is_bad(each) and (each["step"] in decisive or (each["step"] == SESSION and each["what"] in decisive))
        for each in _last(read(records))
    )


def is_good(records: Path) -> bool:
    """Whether everything was reached, and nothing failed."""
    return not any(is_bad(each) or each.get("why") == OUT_OF_TIME for each in _last(read(records)))


def digest(records: Sequence[Record]) -> str:
    """The text, of at most LENGTH characters."""
    last = _last(records)
    lines = {
        "failures": _failure_lines(last),
        "steps": [_step_line(each) for each in _of(last, SESSION)],
        "cases": _count_lines(last),
        "times, in ms": _told(last, "times"),
        "kernels, in ms": [line for each in last for line in each.get("kernels", ())],
        "counters": _told(last, "counters"),
        "memcheck": _told(last, "memcheck"),
        "forms": _told(last, "forms"),
        "facts": _told(last, "facts"),
    }
    text = "\n".join(_section(name, lines[name]) for name in _LINES if lines[name])
    return text if len(text) <= LENGTH else text[: text.rindex("\n", 0, LENGTH)] + "\n"


def _last(records: Iterable[Record]) -> list[Record]:
    return list(last_states(iter(records)).values())


def _section(name: str, lines: Sequence[str]) -> str:
    """A heading and its lines."""
    kept = [line[:_LINE] for line in lines[: _LINES[name]]]
    more = len(lines) - len(kept)
    if more:
        kept.append(f"... and {more} more in records.jsonl")
    return "\n".join([f"== {name}", *kept]) + "\n"


def _failure_lines(last: Sequence[Record]) -> list[str]:
    """Smoke before tests, for it names the stage; those of one reason together, the most frequent first."""
    groups: dict[tuple[str, str], list[Record]] = {}
    for record in last:
        if is_bad(record) and record["step"] != SESSION:
            groups.setdefault((record["step"], _kind(record)), []).append(record)
    ordered = sorted(groups.items(), key=lambda item: (_ORDER.index(item[0][0]), -len(item[1])))
    return [_group_line(step, group) for (step, _), group in ordered]


def _kind(record: Record) -> str:
    """What failures of the same reason have in common: it, without its numbers, and the backend."""
    backend = re.search(r"\b(cuda|triton|cpu)\b", record["what"])
    return f"{backend and backend[0]} {re.sub(r'[0-9]+', '#', _why(record))[:60]}"


def _group_line(step: str, group: Sequence[Record]) -> str:
    """The first with its reason, which is cut before the names of the others are."""
    first, *others = group
    also = ", ".join(each["what"].split("::")[-1] for each in others)
    also = f" [also {also[:60]}{'...' if len(also) > 60 else ''}, {len(group)} in all]" if others else ""
    line = f"{step}: {first['what'].removeprefix('tests/gpu/')}: {_why(first)}"
    return line[: _LINE - len(also)] + also


def _why(record: Record) -> str:
    return record.get("why") or ("it never ended" if record["state"] == "started" else "no reason was told")


def _step_line(record: Record) -> str:
    word = {"passed": "ok", "left out": "-"}.get(record["state"], "FAILED")
    seconds = f"{record['seconds']:6.1f} s" if "seconds" in record else 8 * " "
    why = f": {record['why']}" if "why" in record else ""
    return f"{word:6} {seconds}  {record['what']}{why}"


def _count_lines(last: Sequence[Record]) -> list[str]:
    """How many cases and tests there were, and where the tests took their time."""
    lines = []
    for step in ("smoke", "tests", "rest"):
        found = [each for each in _of(last, step) if each["what"] != COLLECTED]
        counts = Counter("never ended" if each["state"] == "started" else each["state"] for each in found)
        collected = [name for each in _of(last, step) for name in each.get("tests", ())]
        counts["not reached"] = len(set(collected) - {each["what"] for each in found})
        told = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
        lines += [f"{step}: {told}"] if told else []
    tests = [each for each in (*_of(last, "tests"), *_of(last, "rest")) if "seconds" in each]
    slowest = sorted(tests, key=lambda each: -each["seconds"])[:3]
    times = ", ".join(f"{each['what'].split('::')[-1]} {each['seconds']:.0f} s" for each in slowest)
    return [*lines, f"slowest tests: {times}"] if slowest else lines


def _of(last: Sequence[Record], step: str) -> list[Record]:
    return [each for each in last if each["step"] == step]


def _told(last: Sequence[Record], step: str) -> list[str]:
    """What the records of a step have to say for themselves."""
    return [each["line"] for each in _of(last, step) if "line" in each]
