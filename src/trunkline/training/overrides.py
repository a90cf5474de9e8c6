"""`key.sub=value`: changes to a config, as the command line and Python's `overrides` give them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from trunkline.errors import BadInput, unknown_name
from trunkline.model.checking import DEEPEST, number
from trunkline.model.config_yaml import read_yaml

MEASURES = {"batch_tokens": "batch_size", "batch_size": "batch_tokens"}  # of a batch: one or the other


def override(values: dict[str, Any], overrides: list[str] | tuple[str, ...]) -> dict[str, Any]:
    """Return a copy of `values` with every `key.sub=value` applied in turn; values are read as YAML.

    A task that is set to null is dropped.

    Raises:
        BadInput: no such pair, not YAML, no such task to drop, or
            one that undoes another by replacing the section that it has set a key of.
    """
    values = _copied(values)
    known_tasks = list(values["tasks"]) if isinstance(values.get("tasks"), dict) else []
    for count, text in enumerate(overrides):
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise BadInput(f"override {text!r}: expected key.sub=value, e.g. training.epochs=5")
        if undone := next((other for other in overrides[:count] if other.startswith(f"{key}.")), None):
            raise BadInput(f"override {text!r}: replaces what the override {undone!r} has set; give it first")
        parsed = number(read_yaml(value, f"override {text!r}", key))
        *parents, last = key.split(".")
        place = values
        for parent in parents:
            inner = place.get(parent)
            if isinstance(inner, str) and parent in ("method", "trunk"):
                inner = {"name": inner}
            elif inner is None:
                inner = {}
            elif not isinstance(inner, dict):
                raise BadInput(f"override {text!r}: {parent} is not a section, so it has no key {last!r}")
            place[parent] = inner
            place = inner
        if last in ("method", "trunk") and not parents and isinstance(parsed, str):
            parsed = {"name": parsed}
        place[last] = parsed
        if parents == ["tasks"] and parsed is None:  # drops the task
            if last not in known_tasks:
                raise unknown_name(f"override {text!r}", last, known_tasks, key, whole=True)
            del place[last]
        _replace_measure(place, key, parsed, overrides[:count])
    return values


def _copied(values: Any, depth: int = 0) -> Any:
    """The same sections, which may be changed; what they hold is not copied, as it may be a data set."""
    if type(values) is not dict or depth > DEEPEST:  # which may hold itself, and is refused later
        return values
    return {key: _copied(value, depth + 1) for key, value in values.items()}


def _replace_measure(section: dict[str, Any], key: str, value: Any, before: Sequence[str]) -> None:
    """Drop the other measure of a batch from `section` where an override has set `key`, unless one before it has set that."""
    other = MEASURES.get(key.removeprefix("training.")) if key.startswith("training.") else None
    if other and value is not None and not any(text.startswith(f"training.{other}=") for text in before):
        section.pop(other, None)
