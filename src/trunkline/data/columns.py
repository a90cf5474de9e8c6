"""Columns of a table read as texts, labels, label sets, numbers, tags or spans: every value checked, errors with its line.

A missing value (data/values/missing.py) is None: that task skips the row. A column is read once for a table (`Table.parsed`).
`missing` are the strings that a config lists as missing values. Among numbers the usual spellings are missing as well, unless
the list is empty, which says that there are none.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any, cast

from trunkline.data.table import Table
from trunkline.data.values.label_cells import all_lists, are_texts, choices_of, read_cells
from trunkline.data.values.label_spelling import spelled_alike
from trunkline.data.values.literals import opens
from trunkline.data.values.missing import is_listed, is_missing, spells_missing
from trunkline.data.values.numerals import Notation, Notations, as_number, notation_of, sign_beside
from trunkline.data.values.predictions import main_parts
from trunkline.data.values.tags import NUMBERED, to_iob2
from trunkline.errors import BadInput, shown

Missing = Sequence[str] | None

_SURROGATE = re.compile("[\ud800-\udfff]")
_KINDS = {str: "a string", bool: "a truth value", int: "a number", float: "a number", list: "a list", dict: "an object"}


def kind_of(value: object) -> str:
    """Return the words that messages use for the type of a value; never the value, which may be a user's text."""
    return "nothing" if value is None else _KINDS.get(type(value), type(value).__name__)


def clean(text: str) -> str:
    """Replace each lone surrogate, which has no UTF-8 form, by U+FFFD; lengths and offsets stay."""
    return text if text.isascii() else _SURROGATE.sub("\ufffd", text)


def wrong(table: Table, row: int, name: str, value: object, expected: str, found: str = "") -> BadInput:
    """Return the error for a value of a column; `found` are its words, by default those for its type."""
    return BadInput(f"{table.where(row)}: {table.named(name)} holds {found or kind_of(value)}, expected {expected}")


def texts(table: Table, name: str, where: str = "data.text") -> list[str]:
    """Return a column of texts, cleaned of lone surrogates; a missing one is an error."""
    values = optional_texts(table, name, where)
    for row, value in enumerate(values):
        if value is None:
            raise BadInput(f"{table.where(row)}: no text, expected a string in {table.named(name)}")
    return cast(list[str], values)


def optional_texts(table: Table, name: str, where: str = "data.text") -> list[str | None]:
    """Return a column of texts, cleaned of lone surrogates, None where missing."""
    values = table.column(name, where)

    def parse() -> list[str | None]:
        for row, value in enumerate(values):
            if not isinstance(value, str) and not is_missing(value):
                raise wrong(table, row, name, value, "a string")
        return [clean(value) if isinstance(value, str) else None for value in values]

    return table.parsed(("texts", name), parse)


def cells(table: Table, name: str, where: str = "", missing: Missing = None) -> list:
    """Return a column with missing values as None, and lists and objects that are written as text (values/literals.py) as such.

    Predictions as Trunkline writes them in JSON are their label, labels, spans or number (data/values/predictions.py).

    Text is read so if most of the column's strings begin like a list or an object and one can be read. Where some cells are
    lists of labels and others one label (values/label_cells.py), each of these is a list of that label.

    Raises:
        BadInput: where most begin so, the first one that cannot be read.
    """
    values = main_parts(table.column(name, where))

    def parse() -> list:
        absent = _absent(missing)
        gone = [absent(value) for value in values]
        kept: list[Any] = [None if out else value for value, out in zip(values, gone, strict=True)] if any(gone) else values
        rows = [row for row, value in enumerate(kept) if isinstance(value, str) and value.strip()]
        sure = [row for row in rows if not (usual(missing) and spells_missing(kept[row]))]  # beside lists, nan is no label
        if any(isinstance(value, list | dict) for value in kept):
            kept, rows = [choices_of(value) for value in kept], sure
            if not sure:
                kept = [None if isinstance(value, str) else value for value in kept]
        else:
            rows = sure or rows
        begin = [row for row in rows if opens(kept[row])]
        most = 2 * len(begin) > len(rows)
        read = {} if not most and are_texts(kept) else read_cells(kept, begin)
        broken = most and len(read) < len(begin)
        if not broken and (lists := all_lists(kept, read, rows)) is not None:
            return lists
        if not most or not read:
            return kept
        if (bad := next((row for row in rows if row not in read), None)) is not None:
            found = "text that begins like a list and cannot be read as one" if opens(kept[bad]) else "a string"
            raise wrong(table, bad, name, kept[bad], "a list, as its other rows have", found)
        return [read.get(row) if isinstance(value, str) else value for row, value in enumerate(kept)]

    return table.parsed(("cells", name, policy(missing)), parse)


def _absent(missing: Missing) -> Callable[[object], bool]:
    """Whether a value is missing whatever stands beside it."""
    if not missing:
        return is_missing
    listed = frozenset(one.strip() for one in missing)
    return lambda value: is_missing(value) or is_listed(value, listed)


def usual(missing: Missing) -> bool:
    """Whether the usual spellings of missing values count as such among numbers: not if a config says that there are none."""
    return missing is None or len(missing) > 0


def policy(missing: Missing) -> tuple[str, ...] | None:
    """What tells parsed columns apart that were read with other strings as missing values."""
    return None if missing is None else tuple(missing)


def labels(table: Table, name: str, where: str = "", *, missing: Missing = None) -> list[str | None]:
    """Return a column of labels as strings: a string is itself, a whole number its digits, a truth value true or false.

    A label is what it is in any format that a data frame is saved in: see values/label_spelling.py. Blank ones are missing. A
    list of one label, as annotation tools write choices, is that label. Strings that a program gave are labels as they stand.
    """
    exact = name in table.strings
    values = table.column(name, where) if exact else cells(table, name, where, missing)

    def parse() -> list[str | None]:
        if exact:
            absent = _absent(missing)
            given = [None if absent(value) or not value.strip() else clean(value) for value in values]
            return spelled_alike(given, keep_missing=not usual(missing), exact=True)
        amounts = _are_amounts(values)
        out: list[str | None] = []
        for row, value in enumerate(values):
            value = value[0] if isinstance(value, list) and len(value) == 1 else value
            label = repr(float(value)) if amounts and value is not None else label_of(value)
            if label is None and value is not None:
                raise wrong(table, row, name, value, f"a label (a string, a whole number or a truth value){_instead(value)}")
            out.append(label if label and not label.isspace() else None)
        return spelled_alike(out, keep_missing=not usual(missing))

    return table.parsed(("labels", name, policy(missing)), parse)


def _instead(value: object) -> str:
    """What to do about a value that is no label, as the end of the sentence that says so."""
    if isinstance(value, list):
        return "; lists of labels are for kind: multilabel"
    return "" if type(value) in _KINDS else "; .astype(str) of the column makes strings of its values"


def _are_amounts(values: list) -> bool:
    """Whether there are only numbers and some are no whole ones: they are classes if a config says so, as CSV spells them."""
    numbers = [value for value in values if isinstance(value, float)]
    return any(not number.is_integer() for number in numbers) and all(
        value is None or (isinstance(value, int | float) and not isinstance(value, bool)) for value in values
    )


def label_of(value: object) -> str | None:
    """Return a value as a label, None for what is none."""
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int) or (isinstance(value, float) and value.is_integer()):
        return str(int(value))  # a data frame turns whole numbers into 1.0 where another row lacks one
    if isinstance(value, bytes):
        try:
            return value.decode("utf-8")
        except UnicodeDecodeError:
            return None
    return str(value) if isinstance(value, date | datetime | time | Decimal) else None


def numbers(table: Table, name: str, where: str = "", *, missing: Missing = None) -> list[float | None]:
    """Return a column of finite numbers; strings that spell one are read, in the notation of the column (values/numerals.py).

    Raises:
        BadInput: the first value that is no number, or a column of which commas may be decimal marks or separate thousands.
    """
    values = main_parts(table.column(name, where))

    def parse() -> list[float | None]:
        gone, how = _written(values, missing)
        out: list[float | None] = []
        for row, value in enumerate(values):
            number = None if gone[row] else how.best.read(value) if isinstance(value, str) else as_number(value)
            if number is None and not gone[row]:
                raise _no_number(table, row, name, value)
            if how.other and isinstance(value, str) and number is not None and how.other.read(value) != number:
                twice = f"{number:,g} or {how.other.read(value):,g}"
                problem = f"{table.named(name)} holds {shown(value)}, which may be {twice}"
                raise BadInput(f"{table.where(row)}: {problem}; expected a decimal point and nothing between thousands")
            out.append(number)
        return out

    return table.parsed(("numbers", name, policy(missing)), parse)


def _no_number(table: Table, row: int, name: str, value: object) -> BadInput:
    """The error for a value that is no number; one with a percent sign or a currency gets what to do about it."""
    sign = sign_beside(value) if isinstance(value, str) else None
    if isinstance(value, float) and math.isinf(value):
        many = sum(isinstance(one, float) and math.isinf(one) for one in table.columns[name])
        found = "an infinite number" if many == 1 else f"the first of {many:,} infinite numbers"
        return wrong(table, row, name, value, "a finite number, or None where it is missing", found)
    if sign is None:
        return wrong(table, row, name, value, "a finite number")
    how = f"remove the sign from the whole column (in pandas: .str.replace({sign!r}, '', regex=False))"
    return wrong(table, row, name, value, f"a number alone; {how}", f"a number with {sign!r} beside it")


def notation(table: Table, name: str, *, missing: Missing = None) -> Notation:
    """Return how the numbers of a column are written, as `numbers` reads them."""
    return _written(main_parts(table.column(name)), missing)[1].best


def _written(values: list, missing: Missing) -> tuple[list[bool], Notations]:
    """Which values of a column of numbers are missing, and how the others are written."""
    absent = _absent(missing)

    def nothing(value: object) -> bool:
        spelled = isinstance(value, str) and (not value.strip() or (usual(missing) and spells_missing(value)))
        return spelled or absent(value)

    gone = [nothing(value) for value in values]
    return gone, notation_of([value for value, out in zip(values, gone, strict=True) if isinstance(value, str) and not out])


def token_lists(table: Table, name: str, where: str = "tokens", numbered: str = "") -> list[list[str] | None]:
    """Return a column of token lists, cleaned of lone surrogates. numbered: what to say of lists of whole numbers."""
    values = cells(table, name, where)

    def parse() -> list[list[str] | None]:
        out: list[list[str] | None] = []
        for row, value in enumerate(values):
            if value is not None and not (isinstance(value, list) and all(isinstance(token, str) for token in value)):
                hint = f"; {numbered}" if numbered and are_whole(value) else ""
                raise wrong(table, row, name, value, f"a list of strings{hint}", _not_strings(value))
            out.append(None if value is None else _same(value, [clean(token) for token in value]))
        return out

    return table.parsed(("tokens", name), parse)


def are_whole(value: Any) -> bool:
    """Whether a value is a list of whole numbers and nothing else."""
    return isinstance(value, list) and all(type(part) is int for part in value)


def _not_strings(value: Any) -> str:
    """What messages call a value that is no list of strings."""
    if not isinstance(value, list) or not value:
        return ""
    if isinstance(value[0], dict):
        return "a list of objects, such as spans"
    place = next(place for place, part in enumerate(value, start=1) if not isinstance(part, str))
    return f"{kind_of(value[place - 1])} as value {place} of its list"


def tag_lists(table: Table, tags: str, tokens: str, where: str = "tags") -> list[list[str] | None]:
    """Return a column of tag lists in IOB2, each as long as its token list; None where either is missing.

    They may be in any scheme that a CoNLL file may have; which one is told by all of them.
    """
    from trunkline.data.formats.conll_tags import converted, scheme_of_column  # here, as formats read columns, too

    words_of, values = token_lists(table, tokens), token_lists(table, tags, where, NUMBERED)

    def parse() -> list[list[str] | None]:
        scheme = scheme_of_column(values)
        out: list[list[str] | None] = []
        for row, (words, value) in enumerate(zip(words_of, values, strict=True)):
            if words is None or value is None:
                out.append(None)
                continue
            if len(value) != len(words):
                raise BadInput(
                    f"{table.where(row)}: {len(words)} tokens in {table.named(tokens)} but {len(value)} tags "
                    f"in {table.named(tags)}, "
                    "expected one tag a token"
                )
            try:
                out.append(_same(value, to_iob2(value if scheme == "iob" else converted(value, scheme))))
            except BadInput as error:
                raise BadInput(f"{table.where(row)}: {table.named(tags)}, {error}") from None
        return out

    return table.parsed(("tags", tags, tokens), parse)


def _same(given: list[str], made: list[str]) -> list[str]:
    """The list that is there already, where the new one says the same: of most columns nothing is held twice."""
    return given if made == given else made


def span_lists(
    table: Table, name: str, where: str = "spans", *, missing: Missing = None
) -> list[list[tuple[int, int, str]] | None]:
    """Return a column of spans as (start, end exclusive, label), in order, as the file has them: perhaps off their text."""
    values = cells(table, name, where, missing)
    out: list[list[tuple[int, int, str]] | None] = []
    for row, value in enumerate(values):
        if value is None:
            out.append(None)
            continue
        if not isinstance(value, list):
            raise wrong(table, row, name, value, "a list of spans")
        out.append(sorted(_span(table, row, name, span) for span in value))
    return out


def _span(table: Table, row: int, name: str, span: Any) -> tuple[int, int, str]:
    if not isinstance(span, dict) or not {"start", "end", "label"} <= span.keys():
        raise wrong(table, row, name, span, "spans with start, end and label in its list")
    start, end, label = span["start"], span["end"], label_of(span["label"])
    if type(start) is not int or type(end) is not int or not label or label.isspace():
        raise BadInput(
            f"{table.where(row)}: {table.named(name)} has a span whose start or end is not a whole number or whose label is "
            "missing, expected start, end and label"
        )
    return start, end, label
