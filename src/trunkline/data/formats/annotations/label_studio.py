"""Label Studio's JSON and JSON-MIN: regions of a text become spans, choices a label or labels of the control's name.

https://labelstud.io/guide/export. Where a task was annotated several times, the first annotation that was completed is read.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from trunkline.data.formats.annotations import Tool, tools
from trunkline.data.formats.annotations.regions import Regions, keep_one_text
from trunkline.data.reading.notes import Notes
from trunkline.data.values.spans import as_spans
from trunkline.errors import BadInput

_ANNOTATIONS = ("annotations", "completions")  # the latter before version 1.0
_REGIONS = {"labels", "hypertextlabels"}
_EXPORT = {"annotator", "annotation_id", "created_at", "updated_at", "lead_time"}  # keys that JSON-MIN adds


class _Chosen(list[str]):
    """What was chosen in a control; lists that belong to the data are not."""


def is_full(values: Sequence[Any]) -> bool:
    """Whether every row is a task with its data and its annotations, or with predictions alone."""
    return bool(values) and all(
        isinstance(row, dict)
        and isinstance(row.get("data"), dict)
        and any(isinstance(row.get(key), list) for key in (*_ANNOTATIONS, "predictions"))
        for row in values
    )


def is_min(values: Sequence[Any]) -> bool:
    """Whether every row has the keys that JSON-MIN adds."""
    return bool(values) and all(isinstance(row, dict) and len(row.keys() & _EXPORT) >= 2 for row in values)


def row(value: Any, notes: Notes) -> dict[str, Any] | None:
    """Return a plain row of a task: its data, ``spans`` where it has regions, and a column for each control with choices."""
    if not isinstance(value, dict) or not isinstance(value.get("data"), dict):
        raise BadInput("found no task of Label Studio, expected an object with data and annotations")
    plain = {"id": value["id"], **value["data"]} if "id" in value else dict(value["data"])
    there = [one for key in _ANNOTATIONS for one in value.get(key) or [] if isinstance(one, dict)]
    if not there:
        if value.get("predictions"):
            notes.add("{} without an annotation: predictions are not read.", "row")
        return plain
    completed = [one for one in there if not one.get("was_cancelled") and not one.get("skipped")]
    if not completed:
        notes.add("{} left out: skipped in Label Studio (was_cancelled).", "row")
        return None
    if len(completed) > 1:
        notes.add("{} annotated several times: the first annotation that was completed is read.", "row")
    spans = Regions()
    others: dict[str, Any] = {}
    for part in completed[0].get("result") or []:
        _read(part, spans, others, notes)
    if plain.get("spans"):
        notes.add("{} with spans in its data, in whose place the regions are read.", "row")
    plain["spans"] = spans
    for name, found in others.items():
        plain[name if name not in plain else f"{name}_annotation"] = found
    return plain


def _read(part: dict[str, Any], spans: Regions, others: dict[str, Any], notes: Notes) -> None:
    """Add one result to the spans or to the values of its control."""
    kind, inside = part.get("type", ""), part.get("value")
    name = part.get("from_name") or "label"
    if kind == "relation":
        notes.add("{} left out: relations between spans are not read.", "relation")
    elif not isinstance(inside, dict):
        notes.add("{} left out, without a value.", "annotation")
    elif kind in _REGIONS and (found := as_spans([inside.get("globalOffsets", {}) | _plain(inside)])) is not None:
        spans.put(found, part.get("to_name"), inside.get("text"))
        if not found:
            notes.add("{} left out, without a label.", "annotation")
    elif kind not in _REGIONS and {"start", "end"} <= inside.keys():
        notes.add("{} left out: of a region and not of the whole text", "annotation", label=str(name))
    elif isinstance(inside.get("choices"), list):
        others.setdefault(name, []).extend(inside["choices"])
    elif isinstance(inside.get("taxonomy"), list):
        others.setdefault(name, []).extend("/".join(map(str, path)) for path in inside["taxonomy"])
    elif "number" in inside or "rating" in inside or (isinstance(inside.get("text"), list) and kind == "textarea"):
        if name in others:
            notes.add("{} left out, as the same control has a later one", "value", label=str(name))
        lines = inside.get("text")
        written = "\n".join(map(str, lines)) if isinstance(lines, list) else None
        others[name] = inside.get("number", inside.get("rating", written))
    else:
        notes.add("{} left out: of a type that is not read", "annotation", label=str(kind))


def _plain(inside: dict[str, Any]) -> dict[str, Any]:
    """A region's own offsets, unless it has those of the whole text, which count without the markup."""
    whole = "globalOffsets" in inside
    labels = inside.get("labels") or inside.get("hypertextlabels") or []
    return {"labels": labels} | ({} if whole else {key: inside.get(key) for key in ("start", "end")})


def finish(rows: list[dict[str, Any]], notes: Notes) -> tuple[()]:
    """Of regions of several texts those of one are kept; spans that no row has are no column."""
    keep_one_text(rows, notes)
    if not any(row.get("spans") for row in rows):
        for row in rows:
            row.pop("spans", None)
    return ()


def row_min(value: Any, notes: Notes) -> dict[str, Any]:
    """Return a plain row of JSON-MIN, whose keys are the names of the controls."""
    if not isinstance(value, dict):
        raise BadInput("found no JSON object, expected a row of Label Studio's JSON-MIN")
    plain: dict[str, Any] = {}
    for key, part in value.items():
        if key in _EXPORT:
            continue
        if isinstance(part, list) and part and (spans := as_spans(part)) is not None:
            if not isinstance(regions := plain.get("spans"), Regions):
                regions = plain["spans"] = Regions()
            for span in spans:
                regions.put([span], key, span.get("text"))
        elif isinstance(part, dict) and isinstance(part.get("choices"), list):
            plain[key] = _Chosen(part["choices"])
        else:
            plain[key] = part
    return plain


def finish_min(rows: list[dict[str, Any]], notes: Notes) -> list[int]:
    """Of several annotations of a task, which are rows of one id, the first is kept."""
    seen: set[Any] = set()
    again: list[int] = []
    for place, row in enumerate(rows):
        key = row.get("id")
        if isinstance(key, int | str):
            again += [place] if key in seen else []
            seen.add(key)
    if again:
        notes.add("{} left out: another annotation of the same task.", "row", len(again))
    left_out = set(again)
    keep_one_text([row for place, row in enumerate(rows) if place not in left_out], notes, named=False)
    if any("spans" in row for row in rows):
        for row in rows:
            row.setdefault("spans", [])
    for name in dict.fromkeys(key for row in rows for key, part in row.items() if isinstance(part, _Chosen)):
        for row in rows:
            if isinstance(row.get(name), str):  # JSON-MIN writes one choice without its list
                row[name] = _Chosen([row[name]])
    return again


tools.register("label_studio")(Tool(is_full, row, finish))
tools.register("label_studio_min")(Tool(is_min, row_min, finish_min))
