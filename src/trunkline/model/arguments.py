"""What a program gives a bundle to predict, checked: texts, second texts, and the spans of their words."""

from __future__ import annotations

import operator
from collections.abc import Mapping, Set
from typing import Any

from trunkline.data.corpus import Unit
from trunkline.errors import BadInput


def texts_of(what: str, each: str, given: Any) -> list[str]:
    """Return the texts that `given` holds in order; `what` and `each` are how a message calls them and one of them."""
    return _strings(each, _listed(what, given, "a string or a list of strings"))


def units_of(given: Any, texts: list[str]) -> list[list[Unit]]:
    """Return the spans of the words of each text, as lists of pairs of int; `given` may hold arrays."""
    rows = _listed("units", given, "a list of spans for each text")
    if len(rows) != len(texts):
        raise BadInput(f"units: found {len(rows)} lists of spans, expected one for each of {len(texts)} texts")
    return [_spans(number, row, text) for number, (row, text) in enumerate(zip(rows, texts, strict=True), start=1)]


def _spans(number: int, given: Any, text: str) -> list[Unit]:
    expected = "pairs of first character and end, as whole numbers"
    spans: list[Unit] = []
    reached = 0
    for place, pair in enumerate(_listed(f"units of text {number}", given, expected), start=1):
        where = f"units of text {number}, span {place}"
        try:
            start, end = map(operator.index, pair)
        except (TypeError, ValueError):
            raise BadInput(f"{where}: found {type(pair).__name__}, expected {expected}") from None
        if not reached <= start <= end <= len(text):
            raise BadInput(f"{where}: found ({start}, {end}), expected {reached} <= start <= end <= {len(text)}")
        spans.append((start, end))
        reached = end
    return spans


def _listed(where: str, given: Any, expected: str) -> list[Any]:
    """What can be gone through in an order of its own."""
    if not isinstance(given, str | bytes | bytearray | Mapping | Set):
        try:
            return list(given)
        except TypeError:
            pass
    raise BadInput(f"{where}: found {type(given).__name__}, expected {expected}")


def _strings(each: str, texts: list[Any]) -> list[str]:
    for number, text in enumerate(texts, start=1):
        if not isinstance(text, str):
            raise BadInput(f"{each} {number}: found {type(text).__name__}, expected a string")
    return texts
