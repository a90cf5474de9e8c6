"""Lists of spans in the spellings of other tools, as ``{"start", "end", "label"}``: end exclusive, offsets as they are."""

from __future__ import annotations

import re
from typing import Any

from trunkline.data.table import Table
from trunkline.data.values.literals import read_literal
from trunkline.data.values.missing import is_missing

_STARTS = ("start", "start_offset", "startOffset", "start_char", "begin")
_ENDS = ("end", "end_offset", "endOffset", "end_char", "stop")
_PAIRS = ("offsets", "offset", "span")
_WRITTEN = re.compile(r"\s*(?:(?:np\.|numpy\.)?array\()?[\[(]\s*[\[({]|\s*\{\s*['\"]")  # a list of lists or objects, an object
_EMPTY = re.compile(r"\s*(?:\[\s*\]|\(\s*\))\s*")
_LABELS = ("label", "labels", "entity_group", "entity_type", "entity", "type", "tag", "class", "category")


def as_spans(values: list[Any]) -> list[dict[str, Any]] | None:
    """Return spans with our keys, and any other keys that they had; None where one is no span.

    Triples ``[start, end, label]`` and objects with other names for the three are read. A region with several labels becomes a
    span for each.
    """
    spans: list[dict[str, Any]] = []
    for value in values:
        found = _triple(value) if isinstance(value, list | tuple) else _named(value) if isinstance(value, dict) else None
        if found is None:
            return None
        spans += found
    return spans


def _pair(value: dict[str, Any]) -> list[Any] | None:
    """The two offsets where they stand together, also within a list of one such pair."""
    pair = next((value[key] for key in _PAIRS if key in value), None)
    if isinstance(pair, list) and len(pair) == 1 and isinstance(pair[0], list):
        pair = pair[0]
    return pair if isinstance(pair, list) and len(pair) == 2 and all(map(_offset, pair)) else None


def _offset(value: Any) -> bool:
    return type(value) is int


def _triple(value: Any) -> list[dict[str, Any]] | None:
    if not 3 <= len(value) <= 4 or not _offset(value[0]) or not _offset(value[1]) or not isinstance(value[2], str):
        return None
    return [{"start": value[0], "end": value[1], "label": value[2]}]


def _named(value: dict[str, Any]) -> list[dict[str, Any]] | None:
    if isinstance(pair := _pair(value), list):
        rest = {key: part for key, part in value.items() if key not in _PAIRS}
        return _named({"start": pair[0], "end": pair[1], **rest})
    start, end, name = (next((key for key in keys if key in value), None) for keys in (_STARTS, _ENDS, _LABELS))
    if start is None or end is None or name is None or not _offset(value[start]) or not _offset(value[end]):
        return None
    labels = value[name] if isinstance(value[name], list) else [value[name]]
    if not all(isinstance(label, str | int) for label in labels):
        return None
    rest = {key: part for key, part in value.items() if key not in (start, end, name)}
    return [{"start": value[start], "end": value[end], "label": label, **rest} for label in labels]


def with_spans(table: Table) -> Table:
    """Return the table with each column that holds spans in another spelling in ours; the same table where none does.

    A dict of lists, which is how `datasets` keeps a sequence of dicts, is read as a list of dicts.
    """
    changed: dict[str, list] = {}
    for name, values in table.columns.items():
        first = next((value for value in values if not _is_empty(value)), None)
        if isinstance(first, str) and _WRITTEN.match(first):  # a cell of CSV
            values = [_parsed(value) for value in values]
            first = next((value for value in values if not _is_empty(value)), None)
        if isinstance(first, dict):
            if (lists := _transposed(values)) is None:
                continue
        elif isinstance(first, list) and isinstance(first[0], dict | list | tuple):
            if isinstance(first[0], dict) and isinstance(first[0].get("label"), str) and {"start", "end"} <= first[0].keys():
                continue  # they are ours already, which is most of the time
            lists = values
        else:
            continue
        spans = [_row(value) for value in lists]
        if False not in spans and spans != values:
            changed[name] = spans
    return table.replaced(changed) if changed else table


def _is_empty(value: Any) -> bool:
    """Whether a row has no spans, and does not show how the others are spelled."""
    if isinstance(value, str):
        return not value.strip() or _EMPTY.fullmatch(value) is not None
    return is_missing(value) or not value


def _parsed(value: Any) -> Any:
    """A list or an object that is written as text; None for blanks, anything else as it is."""
    if not isinstance(value, str):
        return value
    found = read_literal(value)
    return found if found is not None else value if value.strip() else None


def _row(value: Any) -> Any:
    """A row's spans, None where it has none, False where they are something else."""
    if value is None:
        return None
    spans = as_spans(value) if isinstance(value, list) else None
    return False if spans is None else spans


def _transposed(values: list[Any]) -> list[Any] | None:
    """Dicts of lists as lists of dicts; None unless all are, and hold what spans consist of."""
    out: list[Any] = []
    for value in values:
        if value is None:
            out.append(None)
            continue
        if not isinstance(value, dict) or not (value.keys() & set(_STARTS) and value.keys() & set(_ENDS)):
            return None
        if not all(isinstance(part, list) for part in value.values()) or len({len(part) for part in value.values()}) != 1:
            return None
        out.append([dict(zip(value, parts, strict=True)) for parts in zip(*value.values(), strict=True)])
    return out
