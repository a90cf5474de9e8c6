"""The Python type that labels had in the data that a task was trained on: a branch names them by strings, as files do."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal

LabelType = Literal["bool", "int"]


def type_of_labels(values: Iterable[Any], labels: Sequence[str]) -> LabelType | None:
    """Return the type of all `values`, if all `labels` can be given back in it; None: they are strings, or of several types.

    Whole floats count as int: a data frame turns whole numbers into these where another row lacks one.
    """
    found = {_type_of(value) for value in values}
    kind = found.pop() if len(found) == 1 else None
    return kind if kind is not None and None not in in_type(labels, kind) else None


def in_type(labels: Iterable[str], kind: LabelType | None) -> list[Any]:
    """Return the labels as values of that type, None for one that is not the name of such a value."""
    if kind is None:
        return list(labels)
    read = _truth if kind == "bool" else _whole
    return [read(label) for label in labels]


def _type_of(value: Any) -> LabelType | None:
    if isinstance(value, bool):
        return "bool"
    return "int" if isinstance(value, int) or (isinstance(value, float) and value.is_integer()) else None


def _truth(label: str) -> bool | None:
    return {"true": True, "false": False}.get(label)


def _whole(label: str) -> int | None:
    try:
        return int(label) if str(int(label)) == label else None
    except ValueError:
        return None
