"""Rows without a text: a missing or blank one, as one forgotten line of a spreadsheet is. They are skipped and counted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from trunkline.data.corpus import View
from trunkline.data.table import Table
from trunkline.errors import BadInput

EmptyTexts = Literal["skip", "refuse"]


def empty_rows(table: Table, view: View) -> list[int]:
    """Return the rows (0-based) that have nothing to read: no text and no tokens, or no second text where pairs are read.

    Columns that are not there, and values that are no texts, are left for `build_corpus` to refuse.
    """
    text, text_pair, tokens = view
    if text is not None and text not in table.columns and tokens is None:
        return []
    texts = _blank(table, text) if text in table.columns else [True] * len(table)
    words = _blank(table, tokens) if tokens is not None and tokens in table.columns else [True] * len(table)
    seconds = _blank(table, text_pair) if text_pair is not None and text_pair in table.columns else [False] * len(table)
    return [row for row in range(len(table)) if (texts[row] and words[row]) or seconds[row]]


def without_empty(table: Table, how: EmptyTexts, view: View) -> tuple[Table, str | None]:
    """Return the rows that have a text, and what is to be said of the others; None where there are none.

    Raises:
        BadInput: no row has a text, or one has none and `how` is "refuse".
    """
    empty = empty_rows(table, view)
    if not empty:
        return table, None
    if how == "refuse" or len(empty) == len(table):
        raise no_text(table, empty[0], view, everywhere=len(empty) == len(table))
    skipped = set(empty)
    return table.select(row for row in range(len(table)) if row not in skipped), skipped_rows(table, empty)


def no_text(table: Table, row: int, view: View, everywhere: bool = False) -> BadInput:
    """The error for a row without a text."""
    column = table.named(view.text or view.tokens or "")
    if everywhere:
        return BadInput(f"{table.source}: found no row with a text in {column}, expected at least one")
    return BadInput(f"{table.where(row)}: found no text, expected one in {column}")


def skipped_rows(table: Table, empty: Sequence[int]) -> str:
    """How many rows of a table are skipped, and which is the first."""
    rows = "1 row has" if len(empty) == 1 else f"{len(empty):,} rows have"
    first = "" if len(empty) == 1 else "the first is "
    return f"{rows} no text and {'is' if len(empty) == 1 else 'are'} skipped ({first}{table.where(empty[0])})."


def _blank(table: Table, name: str | None) -> list[bool]:
    return [is_blank(value) for value in table.columns[name or ""]]


def is_blank(value: object) -> bool:
    """Whether a value is a missing or blank text, or a list of blank tokens; NaN is how data frames have a missing text."""
    if isinstance(value, str):
        return not value.strip()
    if isinstance(value, list):
        return all(isinstance(part, str) and not part.strip() for part in value)
    return value is None or (isinstance(value, float) and value != value)
