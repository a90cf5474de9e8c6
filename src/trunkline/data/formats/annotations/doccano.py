"""doccano's JSON lines: spans as ``label: [[start, end, label]]`` or ``entities`` with offsets, classes as lists of names.

https://github.com/doccano/doccano; the same triples are common in exports of other tools and in tutorials.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from trunkline.data.formats.annotations import Tool, tools
from trunkline.data.formats.annotations.spacy import labels_of
from trunkline.data.reading.notes import Notes
from trunkline.data.values.spans import as_spans
from trunkline.errors import BadInput

_COLUMNS = ("entities", "label", "labels", "spans")
_COMMENTS = {"Comments", "comments"}


def is_doccano(values: Sequence[Any]) -> bool:
    """Whether some row has spans in doccano's spelling, or every row a list of names and a place for comments."""
    rows = [row for row in values if isinstance(row, dict)]
    if not rows or len(rows) < len(values) or not all(_text(row) is not None for row in rows):
        return False
    if any(isinstance(row.get("cats"), dict) for row in rows):  # spaCy's
        return False
    if any(_has_spans(row) for row in rows):
        return True
    return all(row.keys() & _COMMENTS and _names(row.get("label")) for row in rows) and any(row["label"] for row in rows)


def _text(row: dict[str, Any]) -> str | None:
    return next((row[key] for key in ("text", "data") if isinstance(row.get(key), str)), None)


def _has_spans(row: dict[str, Any]) -> bool:
    """Triples, or objects with ``start_offset``; spans that have our own keys already need no tool."""
    for value in (row.get(key) for key in _COLUMNS):
        if isinstance(value, list) and value and as_spans(value):
            first = value[0]
            if isinstance(first, list) or (isinstance(first, dict) and "start_offset" in first):
                return True
    return False


def _names(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) for name in value)


def row(value: Any, notes: Notes) -> dict[str, Any]:
    """Return a plain row: ``text``, ``spans``, ``labels`` and what else was there."""
    plain = {key: part for key, part in value.items() if key not in _COMMENTS | {"relations", "cats"}}
    if "text" not in plain and isinstance(plain.get("data"), str):
        plain = {"text": plain.pop("data"), **plain}
    if relations := value.get("relations"):
        notes.add("{} left out: relations between spans are not read.", "relation", len(relations))
    for key in _COLUMNS:
        found = plain.get(key)
        if isinstance(found, list) and (found or key == "entities") and (spans := as_spans(found)) is not None:
            del plain[key]
            plain["spans"] = spans
        elif key == "label" and _names(found) and found:
            plain["labels"] = plain.pop("label")
        elif isinstance(found, list) and not _names(found):
            raise BadInput(f"{key} has a span that is none, expected [start, end, label]")
    if isinstance(cats := value.get("cats"), list | dict):
        plain["labels"] = cats if isinstance(cats, list) else list(labels_of(cats))
    return plain


def finish(rows: list[dict[str, Any]], notes: Notes) -> tuple[()]:
    """An empty list is of whichever kind the others are: no span, or no label."""
    spans, labels = (any(row.get(name) for row in rows) for name in ("spans", "labels"))
    for row in rows:
        for key in ("label", "labels"):
            if row.get(key) == [] and (spans or labels) and not (labels and key == "labels"):
                del row[key]
                row.setdefault("labels" if labels else "spans", [])
    return ()


tools.register("doccano")(Tool(is_doccano, row, finish))
