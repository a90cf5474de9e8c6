"""Rows without a text: a missing or blank one, as one forgotten line of a spreadsheet is. They are skipped and counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Literal

from trunkline.data.corpus import View
from trunkline.data.table import Table
from trunkline.data.values.missing import is_listed, missing_hint, spells_missing
from trunkline.errors import BadInput

EmptyTexts = Literal["skip", "refuse"]


def empty_rows(table: Table, view: View, missing: Sequence[str] | None = None) -> list[int]:
    """Return the rows (0-based) that have nothing to read: no text and no tokens, or no second text where pairs are read.

    A text such as ``N/A``, which usually stands for a missing value, is none where it is listed as `missing`.
    Columns that are not there, and values that are no texts, are left for `build_corpus` to refuse.
    """
    text, text_pair, tokens, _ = view
    if text is not None and text not in table.columns and tokens is None:
        return []
    texts = _blank(table, text, missing) if text in table.columns else [True] * len(table)
    words = _blank(table, tokens) if tokens is not None and tokens in table.columns else [True] * len(table)
    seconds = (
        _blank(table, text_pair, missing) if text_pair is not None and text_pair in table.columns else [False] * len(table)
    )
    return [row for row in range(len(table)) if (texts[row] and words[row]) or seconds[row]]


def without_empty(table: Table, how: EmptyTexts, view: View, missing: Sequence[str] | None = None) -> tuple[Table, str | None]:
    """Return the rows that have a text, and what is to be said of the others; None where there are none.

    Raises:
        BadInput: no row has a text, or one has none and `how` is "refuse".
    """
    empty = empty_rows(table, view, missing)
    if not empty:
        return table, None
    if how == "refuse" or len(empty) == len(table):
        raise no_text(table, empty[0], view, everywhere=len(empty) == len(table))
    skipped = set(empty)
    return table.select(row for row in range(len(table)) if row not in skipped), skipped_rows(table, empty, view)


def no_text(table: Table, row: int, view: View, everywhere: bool = False) -> BadInput:
    """The error for a row without a text."""
    column = table.named(view.text or view.tokens or "")
    if everywhere:
        a = "an" if view.audio else "a"
        return BadInput(f"{table.source}: found no row with {a} {view.what} in {column}, expected at least one")
    return BadInput(f"{table.where(row)}: found no {view.what}, expected one in {column}")


def skipped_rows(table: Table, empty: Sequence[int], view: View) -> str:
    """How many rows of a table are skipped, and which is the first."""
    rows = "1 row has" if len(empty) == 1 else f"{len(empty):,} rows have"
    first = "" if len(empty) == 1 else "the first is "
    return f"{rows} no {view.what} and {'is' if len(empty) == 1 else 'are'} skipped ({first}{table.where(empty[0])})."


def doubtful_texts(table: Table, view: View, missing: Sequence[str] | None) -> str | None:
    """What to say of texts such as ``N/A``, which may stand for a missing one; None where there are none.

    Args:
        missing: the strings that the config lists as missing values; an empty list says that there are none.
    """
    columns = [table.columns[name] for name in (view.text, view.text_pair) if name in table.columns]
    found = Counter(
        value.strip()
        for values in columns
        for value in values
        if isinstance(value, str) and spells_missing(value) and value.strip() != "?"  # which people do write as a text
    )
    if missing == [] or not (found := Counter({word: count for word, count in found.items() if word not in (missing or ())})):
        return None
    named = " and ".join(f"{word!r} ({count:,})" for word, count in found.most_common(4))
    are = "1 text is" if found.total() == 1 else f"{found.total():,} texts are"
    hint = missing_hint([*(missing or ()), *found])
    return f"{are} {named}, which often stands for a missing value; {hint} skips these rows."


def _blank(table: Table, name: str | None, missing: Sequence[str] | None = None) -> list[bool]:
    return [
        is_blank(value)
        or (bool(missing) and isinstance(value, str) and spells_missing(value) and is_listed(value, missing or ()))
        for value in table.columns[name or ""]
    ]


def is_blank(value: object) -> bool:
    """Whether a value is a missing or blank text, or a list of blank tokens; NaN is how data frames have a missing text."""
    if isinstance(value, str):
        return not value.strip()
    if isinstance(value, list):
        return all(isinstance(part, str) and not part.strip() for part in value)
    return value is None or (isinstance(value, float) and value != value)
