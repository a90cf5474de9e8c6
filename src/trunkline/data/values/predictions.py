"""Predictions as Trunkline writes them in JSON, found again in data: objects with a label, labels, spans or a number."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from trunkline.data.values.label_spelling import NO, YES
from trunkline.data.values.literals import read_literal
from trunkline.data.values.missing import is_missing

MAIN = {"label": ("score",), "labels": (), "spans": (), "value": ()}  # the main part, and what always stands beside it
WITHHELD = ("confidence", "abstained", "left_out")  # what --min-confidence adds
BESIDE = ("score", "scores", *WITHHELD)  # what stands beside the main part, in a table as NAME.score
_SPAN = {"start", "end", "label", "text", "score"}
_EARLIER = re.compile("given_(?P<name>.+)_[0-9]+", re.DOTALL)
_TAG = re.compile("^[BIESLU]-(?=.)")
_MAIN = {frozenset((main, *beside, *more)): main for main, beside in MAIN.items() for more in ((), ("scores",))}


def main_parts(values: list) -> list:
    """Return the main parts of predictions, other values as they are; the list itself where there is no prediction."""
    return [_main_part(value) for value in values] if any(isinstance(value, dict) for value in values) else values


def _main_part(value: Any) -> Any:
    if isinstance(value, dict) and (key := _MAIN.get(frozenset(value).difference(WITHHELD))):
        return value[key]
    return value


def is_score(name: str, names: Collection[str]) -> bool:
    """Whether a column is that of a prediction's scores, beside its main part."""
    main, dot, key = name.rpartition(".")
    return bool(dot) and key in BESIDE and main in names


def holds_predictions(name: str, columns: Mapping[str, list], written: Collection[str] = ()) -> bool:
    """Whether a column has predictions: objects, spans with scores, or what has scores or the labels from before beside it.

    Lists of labels are also told by `labelled_columns`.

    The labels from before are in a column ``given_NAME`` of the same kind, which ``given_name`` beside the names of people is
    not.

    Args:
        name: of the column.
        columns: of the table, in their order.
        written: the columns of predictions without a score that one call of `predict` would write. One of these counts where
            it stands in a block of them that has a column with a score in it.
    """
    if name not in columns:
        return False
    values = columns[name]
    if any(f"{name}.{key}" in columns for key in BESIDE) or any(_main_part(value) is not value for value in values):
        return True
    if _are_scored_spans(values) or (name in written and _in_block(name, columns, written)):
        return True
    before = columns.get(f"given_{name}")
    return (before is not None and _same_kind(values, before)) or bool(labelled_columns(name, columns))


def given_of(name: str, columns: Mapping[str, list]) -> str | None:
    """The column of the labels from before, where `name` has predictions beside it."""
    given = f"given_{name}"
    return given if given in columns and holds_predictions(name, columns) else None


def earlier_of(name: str, columns: Mapping[str, list]) -> str | None:
    """The column of predictions that `name`, called ``given_NAME_2`` or so, holds earlier ones of; None if it is none."""
    match = _EARLIER.fullmatch(name)
    return match["name"] if match is not None and given_of(match["name"], columns) is not None else None


def labelled_columns(name: str, columns: Mapping[str, list]) -> list[str]:
    """The columns of 0 and 1 that a column has predictions of: lists of the names of these, which are not the same labels.

    Columns that say the same as lists beside them are no sign of predictions. Empty where there are none.
    """
    lists = [_list_of(value) for value in columns[name]]
    found = list(dict.fromkeys(str(label) for labels in lists for label in labels or ()))
    if not found or name in found or not all(label in columns and _are_ticks(columns[label]) for label in found):
        return []
    ticks = [label for label, values in columns.items() if label != name and _are_ticks(values)]
    for label in ticks:
        for labels, value in zip(lists, columns[label], strict=True):
            if labels is not None and (_tick(value) in YES) != (label in labels):
                return ticks
    return []


def _list_of(value: Any) -> list | None:
    value = _main_part(value)
    found = read_literal(value) if isinstance(value, str) and value.startswith("[") else value
    return found if isinstance(found, list) else None


def _are_ticks(values: list) -> bool:
    """Whether a column holds 0 and 1, or whatever else says yes and no."""
    found = {_tick(value) for value in values if not is_missing(value)}
    return bool(found & YES) and found <= YES | NO | {""}


def _tick(value: Any) -> str:
    return str(value).strip().lower().removesuffix(".0") if isinstance(value, str | int | float) else "-"


def told_predictions(task: str, read: Iterable[str], columns: Mapping[str, list], written: Collection[str] = ()) -> list[str]:
    """A sentence for each column that a task is trained on and that holds predictions (see `holds_predictions`)."""
    return [
        f"column {name!r} {'holds' if holds_predictions(name, columns) else 'seems to hold'} predictions, so {task!r} is "
        "trained to agree with them, not with labels that people gave."
        for name in read
        if holds_predictions(name, columns, written)
    ]


def _in_block(name: str, columns: Mapping[str, list], written: Collection[str]) -> bool:
    """Whether a column of predictions with a score stands before or after a column, with no other than predictions between."""
    names = list(columns)
    at = names.index(name)
    for side in (names[at + 1 :], names[at - 1 :: -1] if at else []):
        for other in side:
            if is_score(other, columns) or any(f"{other}.{key}" in columns for key in BESIDE):
                return True
            if other not in written:
                break
    return False


def _are_scored_spans(values: list) -> bool:
    """Whether the first span of a column has all the keys of a predicted one."""
    for value in values:
        found = read_literal(value) if isinstance(value, str) and value.startswith("[{") else value
        if isinstance(found, list) and found:
            return isinstance(found[0], dict) and found[0].keys() == _SPAN
    return False


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
