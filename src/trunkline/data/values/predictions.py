"""Predictions as Trunkline writes them in JSON, found again in data: objects with a label, labels, spans or a number."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

MAIN = {"label": ("score",), "labels": (), "spans": (), "value": ()}  # the main part, and what always stands beside it
BESIDE = ("score", "scores")  # what stands beside the main part, in a table as NAME.score
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
    """Whether a column has predictions: objects, or what has scores or the labels from before beside it."""
    if name not in columns:
        return False
    beside = any(other in columns for other in (f"given_{name}", *(f"{name}.{key}" for key in BESIDE)))
    return beside or any(_main_part(value) is not value for value in columns[name])
