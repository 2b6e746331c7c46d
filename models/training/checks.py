"""Settings that are refused: one sentence for all of them."""

from __future__ import annotations


def check(name: str, value: object, holds: object, expected: str) -> None:
    """Refuse the value of a setting unless something holds.

    Raises:
        ValueError: It does not; names the setting, what was expected, and what came.
    """
    if not holds:
        raise ValueError(f"{name}: expected {expected}, got {value!r}")


def check_not_negative(group: str, settings: object, *names: str) -> None:
    """Refuse a setting of a group, such as a weight of a loss, that is below 0."""
    for name in names:
        value = getattr(settings, name)
        check(f"{group}.{name}", value, value >= 0, "at least 0")


def check_channels(group: str, settings: object, *names: str) -> None:
    """Refuse a setting of a group that is no channels of convolutions."""
    for name in names:
        channels = getattr(settings, name)
        holds = channels and min(channels) >= 1
        check(f"{group}.{name}", channels, holds, "at least one number, each at least 1")
