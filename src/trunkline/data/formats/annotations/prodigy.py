"""Prodigy's JSON lines: ``spans``, ``label``, or ``options`` with the ids that were chosen in ``accept``; and ``answer``.

https://prodi.gy/docs/api-interfaces. Tasks that were rejected or ignored are left out: they say what is not so, or nothing.
An export that was saved in another format, or that is in memory, is read alike (`accepted`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from trunkline.data.formats.annotations import WRONG_TYPE, Tool, tools
from trunkline.data.reading.notes import Notes
from trunkline.data.table import Table
from trunkline.data.values.literals import read_literal
from trunkline.data.values.spans import as_spans
from trunkline.errors import BadInput

_ANSWERS = {"accept", "reject", "ignore"}
_KEPT_BY_PRODIGY = {"answer", "options", "accept", "config", "tokens", "style", "relations", "html", "image"}
_MARKS = {"_input_hash", "_task_hash", "spans", "options", "accept", "label"}  # one of them stands beside the answers
_NESTED = ("spans", "accept", "config", "relations")  # keys whose values are lists or objects


def is_prodigy(values: Sequence[Any]) -> bool:
    """Whether every row has one of its answers, or none, and some row its answer and some its hash or an annotation."""
    rows = [row for row in values if isinstance(row, dict)]
    if not rows or len(rows) < len(values) or not any(row.keys() & _MARKS for row in rows):
        return False
    return _are_answers([row.get("answer") for row in rows])


def _are_answers(values: Sequence[Any]) -> bool:
    answers = {_answer(value) for value in values}
    return answers <= {*_ANSWERS, ""} and answers != {""}


def _answer(value: Any) -> str:
    """An answer in lower case; a blank where there is none."""
    if value is None:
        return ""
    return value.strip().casefold() if isinstance(value, str) else "?"


def row(value: Any, notes: Notes) -> dict[str, Any] | None:
    """Return a plain row, or None where the answer was not to accept."""
    if not isinstance(value, dict):
        raise BadInput("found no JSON object, expected a task of Prodigy")
    answer = _answer(value.get("answer"))
    if not answer:  # as Prodigy itself imports a task
        notes.add("{} without an answer in Prodigy, read as if accepted.", "row")
    elif answer != "accept":
        said = repr(answer) if answer in _ANSWERS else "none of its own"
        notes.add(f"{{}} left out: their answer in Prodigy is {said}.", "row")
        return None
    plain = {key: part for key, part in value.items() if not key.startswith("_") and key not in _KEPT_BY_PRODIGY}
    if isinstance(plain.get("spans"), list):
        spans: list[dict[str, Any]] = []
        for span in plain["spans"]:
            found = as_spans([span])
            if not found:
                notes.add("{} left out, without offsets or a label.", "span")
            spans += found or []
        plain["spans"] = [{key: span[key] for key in ("start", "end", "label")} for span in spans]
    if "options" in value or "accept" in value:
        chosen = value.get("accept") or []
        single = isinstance(value.get("config"), dict) and value["config"].get("choice_style") == "single"
        if single:
            plain["label"] = chosen[0] if chosen else None
        else:
            plain["labels"] = chosen
    if value.get("relations"):
        notes.add("{} left out: relations between spans are not read.", "relation", len(value["relations"]))
    return plain


def accepted(table: Table) -> Table:
    """Return what is left of a table of another format that holds such an export; the same table where it holds none.

    It has texts in ``text``, answers and nothing else in ``answer``, and one of Prodigy's other columns.
    """
    columns = table.columns
    if not {"text", "answer"} <= columns.keys() or not columns.keys() & _MARKS or not _are_answers(columns["answer"]):
        return table
    notes, kept, made = Notes(), [], []
    for place in range(len(table)):
        value = {name: values[place] for name, values in columns.items() if values[place] is not None}
        value |= {name: _parsed(value[name]) for name in _NESTED if name in value}
        try:
            plain = row(value, notes)
        except WRONG_TYPE:
            raise BadInput(f"{table.where(place)}: found a value of a type that prodigy does not write there") from None
        if plain is not None:
            kept.append(place)
            made.append(plain)
    own = table.select(kept)
    names = [name for name in columns if not name.startswith("_") and name not in _KEPT_BY_PRODIGY]
    names += [name for one in made for name in one]
    read = {name: [one.get(name) for one in made] for name in dict.fromkeys(names)}
    types = {name: kind for name, kind in (table.types or {}).items() if name in read and read[name] == own.columns[name]}
    return replace(own, columns=read, types=types or None, findings=(*table.findings, *notes.sentences))


def _parsed(value: Any) -> Any:
    """A list or an object that a cell of CSV spells; anything else as it is."""
    found = read_literal(value) if isinstance(value, str) else None
    return value if found is None else found


tools.register("prodigy")(Tool(is_prodigy, row))
