"""One JSON object that holds a whole table: an array of rows under some key, or the layouts that pandas' `to_json` writes."""

from __future__ import annotations

from typing import Any

from trunkline.data.reading.notes import counted
from trunkline.errors import BadInput, listed

# Keys under which tools put the rows, beside others that describe them.
CONTAINERS = {"data", "rows", "examples", "records", "items", "instances", "samples", "documents"}
LEAST_TEXTS = 10  # texts of one or two words, which are told by their labels alone
LONGEST_LABEL = 40  # characters
_WORDS = {"tokens", "words", "tokenized_text"}  # a list of strings there is one row


def rows_within(value: Any, source: str) -> list[Any] | None:
    """Return the rows that a file's only value holds, or None where it is a row itself.

    Raises:
        BadInput: an object of texts and their labels, columns of several lengths, or several arrays of rows.
    """
    if not isinstance(value, dict) or not value:
        return None
    if _maps_texts(value):
        raise BadInput(
            f"{source}: found one object with a label or number for each of {len(value):,} texts, expected rows, such as "
            '[{"text": "...", "label": "..."}]'
        )
    arrays = [key for key, rows in value.items() if _is_rows(rows)]
    named = [key for key in arrays if key.lower() in CONTAINERS]
    if len(named) == 1:
        return list(value[named[0]])
    if arrays == list(value) and len(arrays) > 1 and not _is_span_lists(value):
        raise BadInput(
            f"{source}: found several arrays of rows ({listed(arrays)}), expected one; save each as a file of its own"
        )
    if len(arrays) == 1:
        rows = value[arrays[0]]
        if len(value) == 1 or any(map(_is_pair, rows)):
            return list(rows)
    if value.keys() >= {"columns", "data"} and all(isinstance(row, list) for row in _items(value["data"])):  # orient="split"
        names = [str(name) for name in _items(value["columns"])]
        if any(len(row) != len(names) for row in value["data"]):
            raise BadInput(f"{source}: found rows that do not have a value for each of {counted(len(names), 'column')}")
        return [dict(zip(names, row, strict=True)) for row in value["data"]]
    if all(isinstance(column, dict) and column for column in value.values()):
        return _from_index(value, source)
    if all(isinstance(column, list) for column in value.values()):
        return _from_columns(value, source)
    return None


def _maps_texts(value: dict[str, Any]) -> bool:
    """Whether an object has texts for keys, and a short label or a number for each; the questions of a form are no texts."""
    parts = list(value.values())
    if len(value) < 3 or not all(isinstance(part, str | int | float) and len(str(part)) <= LONGEST_LABEL for part in parts):
        return False
    words = sum(len(key.split()) > 2 and not key.rstrip().endswith("?") for key in value)
    recurring = len(value) >= LEAST_TEXTS and 2 * len(set(parts)) <= len(parts)
    return 2 * words > len(value) or (recurring and not {"text", "id", "label"} & {key.lower() for key in value})


def _items(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [None]


def _is_rows(value: Any) -> bool:
    return (
        isinstance(value, list) and bool(value) and all(isinstance(row, dict) or _is_pair(row) or row is None for row in value)
    )


def _is_pair(row: Any) -> bool:
    return isinstance(row, list) and len(row) == 2 and isinstance(row[0], str) and isinstance(row[1], dict)


def _is_span_lists(value: dict[str, Any]) -> bool:
    return all("start" in part for rows in value.values() for part in rows if isinstance(part, dict))


def _from_index(value: dict[str, dict], source: str) -> list[Any] | None:
    """Columns of {index: value}, or rows by their index."""
    keys = [list(column) for column in value.values()]
    if all(name.isdecimal() for name in value) and len(value) > 1:  # orient="index"
        return list(value.values())
    if not all(name.isdecimal() for name in keys[0]) or any(own != keys[0] for own in keys):
        return None
    return [{name: column[index] for name, column in value.items()} for index in keys[0]]


def _from_columns(value: dict[str, list], source: str) -> list[Any] | None:
    if any(name.lower() in _WORDS and all(isinstance(word, str) for word in words) for name, words in value.items()):
        return None
    lengths = {name: len(column) for name, column in value.items()}
    if len(set(lengths.values())) > 1:
        longest, shortest = max(lengths, key=lambda name: lengths[name]), min(lengths, key=lambda name: lengths[name])
        raise BadInput(
            f"{source}: the lists of its columns differ in length, {lengths[longest]:,} in {listed([longest])} and "
            f"{lengths[shortest]:,} in {listed([shortest])}; expected a value of every column for each row"
        )
    return [dict(zip(value, row, strict=True)) for row in zip(*value.values(), strict=True)]
