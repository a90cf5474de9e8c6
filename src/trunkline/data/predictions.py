"""Predictions as Trunkline writes them into JSON, seen again in data: their main part is the label, labels, spans or number."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from typing import Any

from trunkline.data.table import Table

MAIN = ("label", "labels", "spans", "value")
BESIDE = ("score", "scores")  # what stands beside the main part, as NAME.score in a table
_MAIN = {frozenset((main, *beside)): main for main in MAIN for beside in ((), ("scores",))}
_MAIN |= {frozenset(("label", "score")): "label", frozenset(("label", "score", "scores")): "label"}
del _MAIN[frozenset(("label",))], _MAIN[frozenset(("label", "scores"))]


def main_part(value: Any) -> Any:
    """Return the main part of a prediction, any other value as it is."""
    if isinstance(value, dict) and (key := _MAIN.get(frozenset(value))):
        return value[key]
    return value


def with_main_parts(table: Table) -> Table:
    """Return a table with the main parts of predictions, and without the scores that stand beside them."""
    found = {name: list(map(main_part, values)) for name, values in table.columns.items()}
    return dataclasses.replace(table, columns={name: values for name, values in found.items() if not is_score(name, found)})


def is_score(name: str, names: Collection[str]) -> bool:
    """Whether a column is that of a prediction's scores, beside its main part."""
    main, dot, key = name.rpartition(".")
    return bool(dot) and key in BESIDE and main in names
