"""Multi-hot vectors: lists of 0 and 1, of truth values, or of strings that spell these, told from label lists."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from trunkline.data.values.missing import is_listed, is_missing, spells_missing

_BITS = {"0": False, "1": True, "0.0": False, "1.0": True, "false": False, "true": True}
_HEAD = 200  # lists that are looked at before all of a column are


def bits(value: Any, missing: Sequence[str] | None = None) -> list[bool | None] | None:
    """Return a list of zeros and ones as truth values, None for a missing one; None for what is no such list.

    Args:
        value: of a column.
        missing: the strings that a config lists as missing values; None: the usual spellings are missing.
    """
    if not isinstance(value, list):
        return None
    out: list[bool | None] = []
    for part in value:
        if isinstance(part, int | float) and part in (0, 1):
            out.append(bool(part))
        elif isinstance(part, str) and (bit := _BITS.get(part.strip().lower())) is not None:
            out.append(bit)
        elif _absent(part, missing):
            out.append(None)
        else:
            return None
    return out


def _absent(part: Any, missing: Sequence[str] | None) -> bool:
    if isinstance(part, str) and (not part.strip() or (missing is None and spells_missing(part))):
        return True
    return is_missing(part) or (bool(missing) and is_listed(part, [one.strip() for one in missing or ()]))


def length_of(values: Sequence[Any], missing: Sequence[str] | None = None) -> int | None:
    """Return the length of a column's lists if they are multi-hot vectors: all as long, two or more, of 0 and 1.

    Lists of strings, and those that are not complete, may be labels instead, called "0" and "1". A list of labels has none
    twice, so it is told by lists that have.
    """
    lengths: set[int] = set()
    sure, strings, lists, complete = False, False, 0, 0
    for value in values:
        if value is None:
            continue
        found = bits(value, missing)
        if found is None:
            return None
        lengths.add(len(found))
        if len(lengths) > 1:
            return None
        sure = sure or _repeats(found)
        strings = strings or any(isinstance(part, str) for part in value)
        lists, complete = lists + 1, complete + (None not in found)
    length = lengths.pop() if lengths else 0
    return length if length > 1 and (sure or (not strings and 2 * complete > lists)) else None


def odd_one(values: Sequence[Any], missing: Sequence[str] | None = None) -> tuple[int, int] | None:
    """Return the first row whose list is no vector, among others that are, or is longer or shorter than most; and their length.

    None where most lists are no vectors: of the lists of two values or more, most have to hold 0 or 1 twice.
    """
    rows = [row for row, value in enumerate(values) if isinstance(value, list)]
    for part in (rows[:_HEAD], rows):
        read = {row: bits(values[row], missing) for row in part}
        long = [found for row, found in read.items() if len(values[row]) > 1]
        if len(long) < 2 or 2 * sum(found is not None and _repeats(found) for found in long) <= len(long):
            return None
    length = Counter(len(found) for found in read.values() if found is not None and len(found) > 1).most_common(1)[0][0]
    row = next((row for row, found in read.items() if found is None or len(found) != length), None)
    return None if row is None else (row, length)


def _repeats(found: Sequence[bool | None]) -> bool:
    return found.count(True) > 1 or found.count(False) > 1
