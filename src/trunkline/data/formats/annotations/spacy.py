"""spaCy's training data as JSON: ``["text", {"entities": [[start, end, label]], "cats": {"A": 1.0}}]``, or objects of these.

https://spacy.io/api/data-formats#dict-input.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from trunkline.data.formats.annotations import Tool, tools
from trunkline.data.reading.notes import Notes
from trunkline.data.values.spans import as_spans
from trunkline.errors import BadInput

HOLDS = 0.5  # a category of at least this value holds
_READ = {"entities", "spans", "cats"}
_WORDS = {"words", "spaces"}  # how the text is divided, which annotates nothing


class _Held(list[str]):
    """The categories that hold in a row, and those that are above 0 without holding."""

    def __init__(self, names: Iterable[str], below: Iterable[str]) -> None:
        super().__init__(names)
        self.below = tuple(below)


def is_spacy(values: Sequence[Any]) -> bool:
    """Whether every row is a text with its annotations, or an object with a text and, in some row, numbers by category."""
    there = [value for value in values if value is not None]
    if not there or not all(_pair(value) or _object(value) for value in there):
        return False
    objects = [value for value in there if isinstance(value, dict)]
    return not objects or any(value.get("cats") for value in objects)


def _pair(value: Any) -> bool:
    if not (isinstance(value, list) and len(value) == 2 and isinstance(value[0], str) and isinstance(value[1], dict)):
        return False
    return not value[1] or bool(value[1].keys() & _READ)


def _object(value: Any) -> bool:
    if not isinstance(value, dict) or not isinstance(value.get("text"), str):
        return False
    return value.get("cats") is None or _are_cats(value["cats"])


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
    if parts.get("cats") is not None:
        plain["labels"] = labels_of(parts["cats"])
    if isinstance(value, dict):
        return plain | {key: part for key, part in value.items() if key not in {"text", *_READ}}
    for place, key in enumerate(key for key, part in parts.items() if part and key not in _READ | _WORDS):
        notes.add("{} with annotations that are not read", "row", 0 if place else 1, label=key)
    return plain


def labels_of(cats: Any) -> list[str]:
    """Return the categories that hold; `finish` counts the others."""
    if not _are_cats(cats):
        raise BadInput("cats holds something else, expected a number for each category")
    below = (name for name, number in cats.items() if 0 < number < HOLDS)
    return _Held((name for name, number in cats.items() if number >= HOLDS), below)


def finish(rows: list[dict[str, Any]], notes: Notes) -> tuple[()]:
    """Count what numbers between 0 and `HOLDS` lead to: rows without a label, categories that are no label."""
    held = {name for row in rows for name in row.get("labels") or ()}
    below: dict[str, None] = {}
    for row in rows:
        if isinstance(found := row.get("labels"), _Held):
            below |= dict.fromkeys(found.below)
            row["labels"] = list(found)
            if found.below and not found:
                notes.add(f"{{}} without a label, as none of their categories in cats is {HOLDS} or more.", "row")
    for name in below:
        if name not in held:
            notes.add(f"{{}} of cats below {HOLDS} in every row, and so no label.", "name", label=name)
    return ()


tools.register("spacy")(Tool(is_spacy, row, finish))
