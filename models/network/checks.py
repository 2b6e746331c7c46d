"""Checks that the configurations of the networks share."""

from __future__ import annotations

from typing import Any

from contextual_attention.options import checked_integer


def check_choice(name: str, choice: object, choices: tuple[object, ...]) -> None:
    """Refuse what is none of the values that a field may have.

    Raises:
        ValueError: It names the field and its choices.
    """
    if choice not in choices:
        raise ValueError(f"{name}: expected one of {', '.join(map(repr, choices))}; got {choice!r}")


def check_flag(name: str, flag: object) -> None:
    """Refuse what is neither True nor False.

    Raises:
        TypeError: It names the field.
    """
    if not isinstance(flag, bool):
        raise TypeError(f"{name}: expected True or False, got {flag!r}")


def checked_count(name: str, count: Any, least: int, most: int, *, even: bool = False) -> int:
    """A number of channels or pixels as a Python int.

    Raises:
        TypeError, ValueError: No integer, or one out of its range; the message names the field.
    """
    expected = f"{name}: expected an {'even ' if even else ''}integer from {least} to {most}"
    count = checked_integer(count, expected)
    if not least <= count <= most or (even and count % 2):
        raise ValueError(f"{expected}, got {count}")
    return count
