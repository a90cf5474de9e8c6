"""Columns of a table read as texts, labels, label sets, numbers, tags or spans: every value checked, errors with its line.

A missing value (None) stays None: that task skips the row. A column is read once for a table (`Table.parsed`).
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any, cast

from trunkline.data.table import Table
from trunkline.data.tags import to_iob2
from trunkline.errors import BadInput

LONGEST_SHOWN = 4  # characters of what stands where 0 or 1 should: longer ones may be a text
_SURROGATE = re.compile("[\ud800-\udfff]")
_KINDS = {str: "a string", bool: "a truth value", int: "a number", float: "a number", list: "a list", dict: "an object"}


def kind_of(value: object) -> str:
    """Return the words that messages use for the type of a value; never the value, which may be a user's text."""
    return "nothing" if value is None else _KINDS.get(type(value), type(value).__name__)


def clean(text: str) -> str:
    """Replace each lone surrogate, which has no UTF-8 form, by U+FFFD; lengths and offsets stay."""
    return text if text.isascii() else _SURROGATE.sub("\ufffd", text)


def _wrong(table: Table, row: int, name: str, value: object, expected: str, found: str = "") -> BadInput:
    return BadInput(f"{table.where(row)}: column {name!r} holds {found or kind_of(value)}, expected {expected}")


def texts(table: Table, name: str, where: str = "data.text") -> list[str]:
    """Return a column of texts, cleaned of lone surrogates; a missing one is an error."""
    values = optional_texts(table, name, where)
    for row, value in enumerate(values):
        if value is None:
            raise BadInput(f"{table.where(row)}: no text, expected a string in column {name!r}")
    return cast(list[str], values)


def optional_texts(table: Table, name: str, where: str = "data.text") -> list[str | None]:
    """Return a column of texts, cleaned of lone surrogates, None where missing."""
    values = table.column(name, where)

    def parse() -> list[str | None]:
        for row, value in enumerate(values):
            if value is not None and not isinstance(value, str):
                raise _wrong(table, row, name, value, "a string")
        return [None if value is None else clean(value) for value in values]

    return table.parsed(("texts", name), parse)


def labels(table: Table, name: str, where: str = "") -> list[str | None]:
    """Return a column of labels as strings: a string is itself, a whole number its digits, a truth value true or false."""
    values = table.column(name, where)

    def parse() -> list[str | None]:
        out: list[str | None] = []
        for row, value in enumerate(values):
            label = _label(value)
            if label is None and value is not None:
                raise _wrong(table, row, name, value, "a label (a string, a whole number or a truth value)")
            out.append(label)
        return out

    return table.parsed(("labels", name), parse)


def _label(value: object) -> str | None:
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int) or (isinstance(value, float) and value.is_integer()):
        return str(int(value))  # a data frame turns whole numbers into 1.0 where another row lacks one
    return None


def label_sets(table: Table, name: str, where: str = "", *, separator: str | None = None) -> list[list[str] | None]:
    """Return a column of label lists; with a `separator`, of strings to be divided at it. An empty list is a valid value."""
    values = table.column(name, where)

    def parse() -> list[list[str] | None]:
        return [_label_set(table, row, name, value, separator) for row, value in enumerate(values)]

    return table.parsed(("label sets", name, separator), parse)


def _label_set(table: Table, row: int, name: str, value: Any, separator: str | None) -> list[str] | None:
    if value is None:
        return [] if separator is not None else None  # an empty cell of a CSV file: no label holds
    if separator is not None and isinstance(value, str):
        value = [part.strip() for part in value.split(separator) if part.strip()]
    if not isinstance(value, list):
        hint = "" if separator is not None else ", or a separator for strings"
        raise _wrong(table, row, name, value, f"a list of labels{hint}")
    found = [_label(one) for one in value]
    if None in found:
        raise _wrong(table, row, name, value[found.index(None)], "labels (strings, whole numbers or truth values) in its list")
    return list(dict.fromkeys(found))  # type: ignore[arg-type]


def indicators(table: Table, names: Sequence[str], where: str = "") -> list[list[str] | None]:
    """Return label lists from 0/1 columns, each named by its label; a row that misses one of them is missing."""
    yes, no = {"1", "true", "yes"}, {"0", "false", "no"}
    read = {name: labels(table, name, where) for name in names}

    def parse() -> list[list[str] | None]:
        out: list[list[str] | None] = []
        for row in range(len(table)):
            words = {name: read[name][row] for name in names}
            for name, word in words.items():
                if word is not None and word.lower() not in yes | no:
                    value = table.columns[name][row]
                    raise _wrong(table, row, name, value, "0 or 1", repr(word) if len(word) <= LONGEST_SHOWN else "")
            missing = None in words.values()
            out.append(None if missing else [name for name, word in words.items() if word is not None and word.lower() in yes])
        return out

    return table.parsed(("indicators", tuple(names)), parse)


def numbers(table: Table, name: str, where: str = "") -> list[float | None]:
    """Return a column of finite numbers; strings that spell one are read."""
    values = table.column(name, where)

    def parse() -> list[float | None]:
        out: list[float | None] = []
        for row, value in enumerate(values):
            number = as_number(value)
            if number is None and value is not None:
                raise _wrong(table, row, name, value, "a finite number")
            out.append(number)
        return out

    return table.parsed(("numbers", name), parse)


def as_number(value: object) -> float | None:
    """Return a number, or a string that spells one, as a finite float; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def token_lists(table: Table, name: str, where: str = "tokens") -> list[list[str] | None]:
    """Return a column of token lists, cleaned of lone surrogates."""
    values = table.column(name, where)

    def parse() -> list[list[str] | None]:
        out: list[list[str] | None] = []
        for row, value in enumerate(values):
            if value is not None and not (isinstance(value, list) and all(isinstance(token, str) for token in value)):
                raise _wrong(table, row, name, value, "a list of strings")
            out.append(None if value is None else _same(value, [clean(token) for token in value]))
        return out

    return table.parsed(("tokens", name), parse)


def tag_lists(table: Table, tags: str, tokens: str, where: str = "tags") -> list[list[str] | None]:
    """Return a column of tag lists in IOB2, each as long as its token list; None where either is missing."""
    words_of, values = token_lists(table, tokens), token_lists(table, tags, where)

    def parse() -> list[list[str] | None]:
        out: list[list[str] | None] = []
        for row, (words, value) in enumerate(zip(words_of, values, strict=True)):
            if words is None or value is None:
                out.append(None)
                continue
            if len(value) != len(words):
                raise BadInput(
                    f"{table.where(row)}: {len(words)} tokens in column {tokens!r} but {len(value)} tags in column {tags!r}, "
                    "expected one tag a token"
                )
            try:
                out.append(_same(value, to_iob2(value)))
            except BadInput as error:
                raise BadInput(f"{table.where(row)}: column {tags!r}, {error}") from None
        return out

    return table.parsed(("tags", tags, tokens), parse)


def _same(given: list[str], made: list[str]) -> list[str]:
    """The list that is there already, where the new one says the same: of most columns nothing is held twice."""
    return given if made == given else made


def span_lists(table: Table, name: str, texts: Sequence[str], where: str = "spans") -> list[list[tuple[int, int, str]] | None]:
    """Return a column of character spans as (start, end exclusive, label), in order; each must lie within its text."""
    values = table.column(name, where)
    out: list[list[tuple[int, int, str]] | None] = []
    for row, value in enumerate(values):
        if value is None:
            out.append(None)
            continue
        if not isinstance(value, list):
            raise _wrong(table, row, name, value, "a list of spans")
        out.append(sorted(_span(table, row, name, span, len(texts[row])) for span in value))
    return out


def _span(table: Table, row: int, name: str, span: Any, length: int) -> tuple[int, int, str]:
    if not isinstance(span, dict) or not {"start", "end", "label"} <= span.keys():
        raise _wrong(table, row, name, span, "spans with start, end and label in its list")
    start, end, label = span["start"], span["end"], _label(span["label"])
    if type(start) is not int or type(end) is not int or not label:
        raise BadInput(
            f"{table.where(row)}: column {name!r} has a span whose start or end is not a whole number or whose label is "
            "missing, expected start, end and label"
        )
    if not 0 <= start < end <= length:
        raise BadInput(
            f"{table.where(row)}: column {name!r} has the span {start}..{end}, off its text of {length} characters, "
            "expected 0 <= start < end <= length"
        )
    return start, end, label
