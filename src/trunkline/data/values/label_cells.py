"""Columns of labels in which some cells are lists and others one label, without brackets: all of them as lists.

Label Studio's CSV has ``a`` for one choice and ``{"choices": ["a", "b"]}`` for several.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from trunkline.data.values.literals import opens, read_literal
from trunkline.data.values.missing import is_missing

LONGEST = 80  # characters of what is taken for a label


def choices_of(value: Any) -> Any:
    """Return the list in an object of Label Studio's choices, any other value as it is."""
    return value["choices"] if isinstance(value, dict) and value.keys() == {"choices"} else value


def are_texts(values: Sequence[Any]) -> bool:
    """Whether some strings are too long for labels; texts may begin with a bracket too."""
    return any(isinstance(value, str) and len(value) > LONGEST and not opens(value) for value in values)


def read_cells(values: Sequence[Any], rows: Sequence[int]) -> dict[int, Any]:
    """Return the lists and objects that are written in the cells of `rows`, by row."""
    once = {text: choices_of(read_literal(text)) for text in {values[row] for row in rows}}  # the same labels recur
    return {row: one for row in rows if (one := once[values[row]]) is not None}


def all_lists(values: Sequence[Any], read: Mapping[int, Any], rows: Sequence[int]) -> list[Any] | None:
    """Return a column with a list in each row that has a value; None where lists and single labels do not stand side by side.

    They do where the lists hold labels and most single ones are in them, or the other way round, or the single ones recur.

    Args:
        values: of the column, None where missing.
        read: row -> the list or object that is written in its cell.
        rows: with strings that do not stand for a missing value.
    """
    lists = [value for value in values if isinstance(value, list | dict)] + list(read.values())
    if not lists or not all(isinstance(value, list) for value in lists):
        return None
    named = frozenset(rows)
    single = {
        row: value
        for row, value in enumerate(values)
        if row not in read and value is not None and (row in named if isinstance(value, str) else not isinstance(value, list))
    }
    if not single:
        return None
    parts = {_label(part) for value in lists for part in value if not is_missing(part)}
    labels = [_label(value) for value in single.values()]
    different = set(labels)
    if None in parts | different or any(len(label or "") > LONGEST for label in different):
        return None
    known = sum(label in parts for label in labels)
    recur = 2 * len(different) <= len(labels)
    if not (recur or 2 * known >= len(labels) or 2 * len(parts & different) >= len(parts) > 0):
        return None
    return [[single[row]] if row in single else read.get(row, _list(value)) for row, value in enumerate(values)]


def _list(value: Any) -> list[Any] | None:
    return value if isinstance(value, list) else None


def _label(value: Any) -> str | None:
    """A label as text, None for what is no label."""
    return str(value).strip() if isinstance(value, str | int) else None
