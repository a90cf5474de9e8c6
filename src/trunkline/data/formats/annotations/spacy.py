"""spaCy's training data as JSON: ``["text", {"entities": [[start, end, label]], "cats": {"A": 1.0}}]``, or objects of these.

https://spacy.io/api/data-formats#dict-input.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from trunkline.data.formats.annotations import Tool, tools
from trunkline.data.reading.notes import Notes
from trunkline.data.values.spans import as_spans
from trunkline.errors import BadInput

HOLDS = 0.5  # a category of at least this value holds


def is_spacy(values: Sequence[Any]) -> bool:
    """Whether every row is a text with its annotations, or an object with a text and numbers by category."""
    there = [value for value in values if value is not None]
    return bool(there) and all(_pair(value) or _with_cats(value) for value in there)


def _pair(value: Any) -> bool:
    if not (isinstance(value, list) and len(value) == 2 and isinstance(value[0], str) and isinstance(value[1], dict)):
        return False
    return not value[1] or bool(value[1].keys() & {"entities", "cats", "spans"})


def _with_cats(value: Any) -> bool:
    return (
        isinstance(value, dict) and isinstance(value.get("text"), str) and bool(value.get("cats")) and _are_cats(value["cats"])
    )


def _are_cats(cats: Any) -> bool:
    return isinstance(cats, dict) and all(isinstance(number, int | float) for number in cats.values())


def row(value: Any, notes: Notes) -> dict[str, Any] | None:
    """Return a plain row: ``text``, ``spans`` and ``labels``, as far as they are there."""
    if value is None:
        notes.add("{} left out: null in the place of a text.", "row")
        return None
    if not _pair(value) and not isinstance(value, dict):
        raise BadInput("found no text with annotations, expected [text, {entities, cats}]")
    text, parts = (value[0], value[1]) if isinstance(value, list) else (value.get("text"), value)
    plain: dict[str, Any] = {"text": text}
    for key in ("entities", "spans"):
        found = parts.get(key)
        if isinstance(found, dict):  # groups of spans, by name
            found = [span for group in found.values() for span in group]
        if isinstance(found, list):
            spans = as_spans(found)
            if spans is None:
                raise BadInput(f"{key} has a span that is none, expected [start, end, label]")
            plain.setdefault("spans", []).extend(spans)
    if "cats" in parts:
        plain["labels"] = labels_of(parts["cats"])
    if isinstance(value, dict):
        plain |= {key: part for key, part in value.items() if key not in ("text", "entities", "spans", "cats")}
    return plain


def labels_of(cats: Any) -> list[str]:
    """Return the categories that hold."""
    if not _are_cats(cats):
        raise BadInput("cats holds something else, expected a number for each category")
    return [name for name, number in cats.items() if number >= HOLDS]


tools.register("spacy")(Tool(is_spacy, row))
