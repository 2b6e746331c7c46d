"""A configuration as a dict, as text, and changed by name: what files and the command line need of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, get_type_hints

from .config import TrainConfig
from .recipes import RECIPES

_PARTS = "optimiser.accumulate"
# What may change when a run is resumed: nothing that decides which numbers it computes (`resumable`).
RESUMABLE = (
    "steps", "save_every", "keep", "show_every", "validation.path", "validation.every",
    "data.path", "data.workers", "data.cache", _PARTS,
)  # fmt: skip


def to_dict(config: TrainConfig) -> dict[str, Any]:
    """The configuration as JSON writes it: dicts, lists, numbers and strings."""
    return dataclasses.asdict(config, dict_factory=_listed)


def _listed(items: list[tuple[str, Any]]) -> dict[str, Any]:
    return {name: list(value) if isinstance(value, tuple) else value for name, value in items}


def from_dict(values: Mapping[str, Any], kind: type = TrainConfig) -> Any:
    """The inverse of `to_dict`.

    Raises:
        ValueError: A name that the configuration does not have, or a value that it refuses.
    """
    if not isinstance(values, Mapping):
        raise ValueError(f"{kind.__name__}: expected settings by name, got {values!r}")
    kinds = _kinds(kind, values)
    unknown = values.keys() - kinds
    if unknown:
        raise ValueError(f"{kind.__name__}: unknown {', '.join(sorted(unknown))}; known: {', '.join(kinds)}")
    return kind(**{name: _read(kinds[name], value) for name, value in values.items()})


def _kinds(kind: type, values: Mapping[str, Any]) -> dict[str, Any]:
    """Of each setting; those of a run's groups depend on the recipe among its values."""
    kinds = get_type_hints(kind)
    recipe = values.get("recipe", TrainConfig.recipe)
    known = kind is TrainConfig and isinstance(recipe, str) and recipe in RECIPES
    return kinds | RECIPES[recipe].groups() if known else kinds


def _read(kind: Any, value: Any) -> Any:
    if dataclasses.is_dataclass(kind):
        return from_dict(value, kind)
    return tuple(value) if isinstance(value, list) else value


def change(config: TrainConfig, settings: Mapping[str, str]) -> TrainConfig:
    """The configuration with some numbers changed, each given by name and text.

    Args:
        config: What to start from.
        settings: Such as ``{"optimiser.batch": "8", "generator.attention": "None"}``; several numbers with
            commas, as in ``{"critics.local": "8,8,8,8"}``.

    Raises:
        ValueError: A name that the configuration does not have, or a value that it refuses; the recipe, with
            which all the others come.

    Examples:
        >>> from contextual_attention.models.training.presets import PRESETS
        >>> change(PRESETS["paper"], {"data.size": "128", "masks.box": "64"}).masks.box
        64
    """
    values = to_dict(config)
    if settings.get("recipe", config.recipe) != config.recipe:
        raise ValueError(
            f"recipe: comes with a preset, here {config.recipe!r}, and so do the settings that belong to it; "
            "choose another preset"
        )
    for name, text in settings.items():
        *groups, last = name.split(".")
        at = values
        for group in groups:
            at = at.get(group) if isinstance(at, dict) else None
        if not isinstance(at, dict) or last not in at or isinstance(at[last], dict):
            raise ValueError(f"{name}: no such setting; known: {', '.join(setting_names(config))}")
        at[last] = _parse(name, text, at[last])
    return from_dict(values)


def setting_names(config: TrainConfig) -> list[str]:
    """The names that `change` knows."""
    return list(_flat(to_dict(config)))


def _flat(values: Mapping[str, Any]) -> dict[str, Any]:
    """The settings by the names that `change` knows."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        group = (
            {f"{name}.{inner}": each for inner, each in value.items()} if isinstance(value, dict) else None
        )
        flat |= {name: value} if group is None else group
    return flat


def resumable(config: TrainConfig) -> tuple[str, ...]:
    """What may change when this run is resumed."""
    is_fixed = RECIPES[config.recipe].parts_decide
    return tuple(name for name in RESUMABLE if not (is_fixed and name == _PARTS))


def frozen_changes(before: TrainConfig, after: TrainConfig) -> list[str]:
    """Settings that differ although a resumed run cannot change them, each with both values.

    Of runs by two recipes these alone are named: each has settings that the other does not.
    """
    if before.recipe != after.recipe:
        return [f"recipe: {before.recipe!r} became {after.recipe!r}"]
    free = resumable(after)
    old, new = _flat(to_dict(before)), _flat(to_dict(after))
    return [
        f"{name}: {old[name]!r} became {new[name]!r}"
        for name in new
        if old[name] != new[name] and name not in free
    ]


def _parse(name: str, text: str, current: Any) -> Any:
    """Text as a value of the kind of the current one."""
    try:
        if isinstance(current, bool):
            return {"true": True, "false": False}[text.lower()]
        if isinstance(current, list) and text != "None":
            return [type(current[0])(part) for part in text.split(",")]
        if isinstance(current, (int, float)):
            return type(current)(text)
    except (KeyError, ValueError) as error:
        raise ValueError(f"{name}: expected something like {current!r}, got {text!r}") from error
    if text == "None":
        return None
    return _guess(text) if current is None else text


def _guess(text: str) -> Any:
    """What a setting that has no value yet is to be: a number, several with commas, or text."""
    try:
        numbers = [int(part) if part.strip().isdecimal() else float(part) for part in text.split(",")]
    except ValueError:
        return text
    return numbers if len(numbers) > 1 else numbers[0]
