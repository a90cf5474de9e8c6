"""Columns read as sets of labels: lists, strings to be divided, multi-hot vectors, and a column of 0 and 1 for each label."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from trunkline.data.columns import Missing, cells, label_of, labels, policy, usual, wrong
from trunkline.data.table import Table
from trunkline.data.values import vectors
from trunkline.data.values.label_spelling import NO, YES
from trunkline.data.values.literals import opens
from trunkline.data.values.missing import is_missing, spells_missing
from trunkline.errors import BadInput

LONGEST_SHOWN = 4  # characters of what stands where 0 or 1 should: longer ones may be a text


def label_sets(
    table: Table,
    name: str,
    where: str = "",
    *,
    separator: str | None = None,
    names: Sequence[str] | None = None,
    missing: Missing = None,
) -> list[list[str] | None]:
    """Return a column of label lists; with a `separator`, of strings to be divided at it. An empty list is a valid value.

    With a separator a blank cell is an empty list, unless `missing` lists the empty string.

    Lists that are vectors of 0 and 1 (`vector_length`) hold the labels at whose places a 1 stands: `names`, or label_0, ...
    One in which a value is missing is a missing value. A string that is one of `names` is a list of it, as it would be beside
    lists: a few rows may have no list among them.

    Raises:
        BadInput: a value that is no list of labels; a list that is no vector among others that are, or of another length.
    """
    values = cells(table, name, where, missing)
    length = vector_length(table, name, missing)

    known = (
        frozenset(names or ()) if separator is None and any(isinstance(value, str) for value in values) else frozenset[str]()
    )
    key = ("label sets", name, separator, known, policy(missing))

    def sets() -> list[list[str] | None]:
        unlabelled = None if "" in (missing or ()) else list[str]()
        read = ([value] if isinstance(value, str) and value in known else value for value in values)
        return [_set_of(table, row, name, value, separator, unlabelled) for row, value in enumerate(read)]

    if length is not None and names is not None and len(names) != length:
        if {"0", "1"} & set(names):  # a few rows of a column whose labels are numbers
            return table.parsed(key, sets)
        raise BadInput(
            f"{table.source}: {table.named(name)} holds vectors of {length} zeros and ones, expected {len(names)}, one a label"
        )
    if length is None:
        if not {"0", "1"} & set(names or ()) and (odd := odd_vector(table, name, missing)) is not None:
            raise odd
        return table.parsed(key, sets)
    places = names or vector_names(length)

    def held(value: Any) -> list[str] | None:
        bits = None if value is None else vectors.bits(value, missing)
        return None if bits is None or None in bits else [label for label, bit in zip(places, bits, strict=True) if bit]

    return table.parsed(("vectors", name, tuple(places), policy(missing)), lambda: [held(value) for value in values])


def come_back(labels: Sequence[str], separator: str) -> bool:
    """Whether labels joined by a separator are the same when they are divided again; those that have it in them are not."""
    return not any(opens(label) or [part.strip() for part in label.split(separator)] != [label] for label in labels)


def vector_names(length: int) -> list[str]:
    """What the labels of vectors of 0 and 1 are called where nobody names them."""
    return [f"label_{number}" for number in range(length)]


def vector_length(table: Table, name: str, missing: Missing = None) -> int | None:
    """Return the length of a column's lists if they are multi-hot vectors (values/vectors.py), else None."""
    values = cells(table, name, "", missing)
    key = ("vector length", name, policy(missing))
    found = table.parsed(key, lambda: [vectors.length_of(values, missing)] * len(values))
    return found[0] if found else None


def odd_vector(table: Table, name: str, missing: Missing = None) -> BadInput | None:
    """Return the error for the first list that is no vector of 0 and 1 as most of its column are, None where there is none."""
    values = cells(table, name, "", missing)
    found = vectors.odd_one(values, missing)
    if found is None:
        return None
    row, length = found
    bits = vectors.bits(values[row], missing)
    what = "a list with something else than 0 and 1" if bits is None else f"a list of {len(bits)} zeros and ones"
    return wrong(table, row, name, values[row], f"{length}, each 0 or 1, as most of its rows have", what)


def singles(table: Table, name: str, missing: Missing = None) -> int:
    """Return how many cells of a column are one label beside others that are lists of labels (values/label_cells.py)."""
    values, raw = cells(table, name, "", missing), table.columns[name]
    return sum(isinstance(value, list) and value == [one] for value, one in zip(values, raw, strict=True))


def told_single(task: str, table: Table, name: str, missing: Missing = None) -> list[str]:
    """Return the sentence that counts single labels beside lists of labels in a column; none where there are no such cells."""
    single = singles(table, name, missing)
    if not single:
        return []
    have, a_list = ("has", "a list of it") if single == 1 else ("have", "a list of it each")
    said = f"{task!r}: {single:,} of {len(table):,} rows {have} one label without brackets in {table.named(name)}"
    return [f"{said}, beside lists of labels; it is read as {a_list}."]


def holed(table: Table, name: str, missing: Missing = None) -> list[bool]:
    """Return for each row whether it has a vector in which a value is missing; the column holds vectors."""
    found = (vectors.bits(value, missing) for value in cells(table, name, "", missing))
    return [bits is not None and None in bits for bits in found]


def _set_of(
    table: Table, row: int, name: str, value: Any, separator: str | None, unlabelled: list[str] | None
) -> list[str] | None:
    if value is None:
        blank = not isinstance(table.columns[name][row], str)  # an empty cell of a CSV file: `unlabelled`, by default no label
        return unlabelled if separator is not None and blank else None
    raw = table.columns[name][row]
    if separator is not None and isinstance(raw, str) and value in (raw, [raw]):
        value = raw
    if separator is not None and isinstance(value, str):
        value = [part.strip() for part in value.split(separator) if part.strip()]
    if not isinstance(value, list):
        hint = "" if separator is not None else ", or a separator for strings"
        raise wrong(table, row, name, value, f"a list of labels{hint}")
    value = [part for part in value if not is_missing(part)]
    found = [label_of(one) for one in value]
    if None in found:
        raise wrong(table, row, name, value[found.index(None)], "labels (strings, whole numbers or truth values) in its list")
    return list(dict.fromkeys(one for one in found if one and not one.isspace()))


def indicators(
    table: Table, names: Sequence[str], where: str = "", *, missing: Missing = None, zero: bool = False
) -> list[list[str] | None]:
    """Return label lists from 0/1 columns, each named by its label; a row that misses one of them is missing.

    In a column that has no 0, only 1 and blanks, a blank is a 0; so it is in one of blanks alone beside such a column.

    Args:
        table: that holds the columns.
        names: of the columns.
        where: what asks for them.
        missing: the strings that are listed as missing values.
        zero: a blank is a 0 in every column.
    """

    def holds(name: str, row: int, word: str | None) -> bool | None:
        if word is None or (usual(missing) and spells_missing(word)):
            return None
        if (low := word.lower()) not in YES | NO:
            value = table.columns[name][row]
            raise wrong(table, row, name, value, "0 or 1", repr(word) if len(word) <= LONGEST_SHOWN else "")
        return low in YES

    def parse() -> list[list[str] | None]:
        read = {name: labels(table, name, where, missing=missing) for name in names}
        held = {name: [holds(name, row, word) for row, word in enumerate(words)] for name, words in read.items()}
        ticked = {name for name, words in held.items() if None in words and True in words and False not in words}
        ticked |= {name for name, words in held.items() if ticked and set(words) == {None}}
        out: list[list[str] | None] = []
        for row in range(len(table)):
            known = zero or all(held[name][row] is not None or name in ticked for name in names)
            out.append([name for name in names if held[name][row]] if known else None)
        return out

    return table.parsed(("indicators", tuple(names), policy(missing), zero), parse)
