"""Labels spelled alike in whatever format a data frame is saved: truth values, whole numbers, days."""

from __future__ import annotations

import re

from trunkline.data.values.missing import spells_missing
from trunkline.data.values.numerals import as_number

YES, NO = frozenset(("1", "true", "yes", "y", "x", "\u2713", "\u2714")), frozenset(("0", "false", "no", "n"))
_WHOLE = re.compile(r"(-?(?:0|[1-9][0-9]*))(?:\.0+)?")
_TIME = re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2})(?:[ T]([0-9]{2}:[0-9]{2}:[0-9]{2})(?:\.0+)?(?:Z|\+00:00)?)?")


def spelled_alike(labels: list[str | None], keep_missing: bool = False, exact: bool = False) -> list[str | None]:
    """Return the labels of a column as they are spelled in any format, None where missing; the same list if nothing changes.

    Where all are true or false, as ``true`` and ``false`` (JSON has these, CSV ``True`` and ``TRUE``); where all are whole
    numbers, without the ``.0`` that a missing one beside them brings; times as ``2020-01-31 10:00:00``, and as days where all
    are at midnight. With `exact` none is spelled otherwise. Where all are numbers, the spellings of missing values become None
    unless `keep_missing`.
    """
    there = {label for label in labels if label is not None}
    sure = {label for label in there if not spells_missing(label)}
    if not sure:
        return labels
    new: dict[str, str] = {}
    if exact:
        pass
    elif all(label.lower() in ("true", "false") for label in sure):
        new = {label: label.lower() for label in sure}
    elif wholes := _all(_WHOLE, sure):
        new = {label: "0" if match[1] == "-0" else match[1] for label, match in wholes.items()}
    else:
        times = _all(_TIME, sure)
        days = all(match[2] in (None, "00:00:00") for match in times.values())
        new = {label: match[1] if days else f"{match[1]} {match[2] or '00:00:00'}" for label, match in times.items()}
    gone = there - sure if not keep_missing and all(as_number(label) is not None for label in sure) else set()
    if not gone and all(one == other for one, other in new.items()):
        return labels
    return [None if label is None or label in gone else new.get(label, label) for label in labels]


def _all(pattern: re.Pattern[str], labels: set[str]) -> dict[str, re.Match[str]]:
    """Label -> its match, where all labels match; else nothing."""
    found = {label: match for label in labels if (match := pattern.fullmatch(label))}
    return found if len(found) == len(labels) else {}


def spelled_alone(label: str) -> str:
    """Return how `spelled_alike` spells a label with nothing beside it."""
    return spelled_alike([label])[0] or label
