"""Label spaces: the labels of a task in a fixed order, and labels to their numbers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from trunkline.data.table import Table
from trunkline.errors import unknown_name


def label_space(values: Iterable[str | None]) -> list[str]:
    """Return the distinct labels, sorted; by value where all are whole numbers. Missing values are left out."""
    found = {value for value in values if value is not None}
    whole = all(value.removeprefix("-").isdecimal() for value in found)
    return sorted(found, key=lambda value: (int(value), value) if whole else value)  # type: ignore[return-value]


def tag_space(lists: Iterable[Sequence[str] | None]) -> list[str]:
    """Return the tags of IOB2 tag lists: O, then B-x and I-x of each label x in sorted order, seen or not."""
    names = label_space(tag[2:] for tags in lists if tags is not None for tag in tags if tag != "O")
    return ["O", *(prefix + name for name in names for prefix in ("B-", "I-"))]


def to_numbers(values: Sequence[str | None], space: Sequence[str], table: Table, column: str) -> np.ndarray:
    """Return int64 (rows,): each label's place in `space`, -1 where missing.

    Raises BadInput with the line for a label that is not in `space`; it names the nearest one.
    """
    places = {label: i for i, label in enumerate(space)}
    for row, value in enumerate(values):
        if value is not None and value not in places:
            raise unknown_name(f"{table.where(row)}: label in column {column!r} that training does not have", value, space)
    return np.array([-1 if value is None else places[value] for value in values], dtype=np.int64)
