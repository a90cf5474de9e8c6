"""Prodigy's JSON lines: ``spans``, ``label``, or ``options`` with the ids that were chosen in ``accept``; and ``answer``.

https://prodi.gy/docs/api-interfaces. Tasks that were rejected or ignored are left out: they say what is not so, or nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from trunkline.data.formats.annotations import Tool, tools
from trunkline.data.reading.notes import Notes
from trunkline.data.values.spans import as_spans
from trunkline.errors import BadInput

_ANSWERS = {"accept", "reject", "ignore"}
_KEPT_BY_PRODIGY = {"answer", "options", "accept", "config", "tokens", "style", "relations", "html", "image"}


def is_prodigy(values: Sequence[Any]) -> bool:
    """Whether every row has one of its answers, or its hash, and some row its answer."""
    rows = [row for row in values if isinstance(row, dict)]
    if not rows or len(rows) < len(values) or not any("answer" in row for row in rows):
        return False
    annotated = any(row.keys() & {"_input_hash", "_task_hash", "spans", "options", "accept", "label"} for row in rows)
    answers = [row.get("answer", "accept") for row in rows]
    return annotated and all(isinstance(answer, str) and answer in _ANSWERS for answer in answers)


def row(value: Any, notes: Notes) -> dict[str, Any] | None:
    """Return a plain row, or None where the answer was not to accept."""
    if not isinstance(value, dict):
        raise BadInput("found no JSON object, expected a task of Prodigy")
    answer = value.get("answer", "accept")
    if answer != "accept":
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


tools.register("prodigy")(Tool(is_prodigy, row))
