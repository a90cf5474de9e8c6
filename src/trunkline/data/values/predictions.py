"""Predictions as Trunkline writes them in JSON, found again in data: objects with a label, labels, spans or a number."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any

from trunkline.data.values.literals import read_literal
from trunkline.data.values.missing import is_missing

MAIN = {"label": ("score",), "labels": (), "spans": (), "value": ()}  # the main part, and what always stands beside it
BESIDE = ("score", "scores")  # what stands beside the main part, in a table as NAME.score
_TAG = re.compile("^[BIESLU]-(?=.)")
_MAIN = {frozenset((main, *beside, *more)): main for main, beside in MAIN.items() for more in ((), ("scores",))}


def main_parts(values: list) -> list:
    """Return the main parts of predictions, other values as they are; the list itself where there is no prediction."""
    return [_main_part(value) for value in values] if any(isinstance(value, dict) for value in values) else values


def _main_part(value: Any) -> Any:
    if isinstance(value, dict) and (key := _MAIN.get(frozenset(value))):
        return value[key]
    return value


def is_score(name: str, names: Collection[str]) -> bool:
    """Whether a column is that of a prediction's scores, beside its main part."""
    main, dot, key = name.rpartition(".")
    return bool(dot) and key in BESIDE and main in names


def holds_predictions(name: str, columns: dict[str, list]) -> bool:
    """Whether a column has predictions: objects, or what has scores beside it, or the labels from before.

    These are in a column ``given_NAME`` of the same kind, which ``given_name`` beside the names of people is not.
    """
    if name not in columns:
        return False
    values = columns[name]
    if any(f"{name}.{key}" in columns for key in BESIDE) or any(_main_part(value) is not value for value in values):
        return True
    before = columns.get(f"given_{name}")
    return before is not None and _same_kind(values, before)


def _same_kind(values: list, before: list) -> bool:
    """Whether both columns are numbers, or most of the labels in the first are also in the second."""
    found, known = _labels(values), _labels(before)
    if found and known and all(map(_is_number, found | known)):
        return True
    return bool(found) and 2 * len(found & known) >= len(found)


def _labels(values: list) -> set[str]:
    """The labels in a column of labels, of lists of them, of spans, or of tags; as text."""
    found: set[str] = set()
    for value in values:
        parts = (read_literal(value) or value) if isinstance(value, str) else value
        for part in parts if isinstance(parts, list) else [parts]:
            label = part.get("label") if isinstance(part, dict) else part
            if not is_missing(label) and str(label).strip():
                found.add(_TAG.sub("", str(label)))
    return found


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
