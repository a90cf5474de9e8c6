"""Comma-separated values with a header row (RFC 4180): quoted cells may hold commas, line ends and doubled quotes.

Files whose first lines are separated by another mark are read with that one, see delimiters.py.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Literal

from trunkline.data.formats import Format, formats
from trunkline.data.formats.delimiters import find_delimiter, is_csv
from trunkline.data.reading.lines import read_lines
from trunkline.data.reading.notes import Notes
from trunkline.data.reading.parts import parts
from trunkline.data.table import Table
from trunkline.errors import BadInput, shown

csv.field_size_limit(2**31 - 1)  # the module's own 128 KiB, one limit for the whole process, is less than a text may have

Rows = Iterator[tuple[int, list[str]]]  # line on which a row begins, and its cells

# The csv module takes no line end in a cell without quotes, though pandas writes carriage returns so. Text that was decoded
# holds no lone surrogate, so one can stand for each meanwhile.
_HIDDEN, _SHOWN = {ord("\r"): "\udc0d", ord("\n"): "\udc0a"}, {0xDC0D: "\r", 0xDC0A: "\n"}


def rows_to_table(rows: Iterable[tuple[int, list[str]]], source: str, notes: Notes | None = None) -> Table:
    """Build a table from (line, cells); the first row is the header; an empty cell is a missing value.

    A row of empty cells only, of two or more, is left out and counted in `notes`. Raises BadInput for a row with more or
    fewer cells than the header, and for a column name given twice.
    """
    rows, notes = iter(rows), notes or Notes()
    names = _header(rows, source)
    return _table(names, list(_filled(rows, names, source, notes)), source, notes)


def rows_to_tables(
    rows: Iterable[tuple[int, list[str]]], source: str, size: int, notes: Notes | None = None
) -> Iterator[Table]:
    """`rows_to_table` for `size` rows at a time, each under the one header; nothing where there are no rows."""
    rows, notes = iter(rows), notes or Notes()
    names = _header(rows, source)
    for part, last in parts(_filled(rows, names, source, notes), size):
        yield _table(names, part, source, notes if last else None)


def _header(rows: Rows, source: str) -> list[str]:
    """Take the first row that is not empty as the names of the columns; none where there is no row."""
    line, cells = next(((line, cells) for line, cells in rows if any(cells)), (1, []))
    names = [name.strip() or f"column {i + 1}" for i, name in enumerate(cells)]
    if len(set(names)) < len(names):
        twice = next(name for name, count in Counter(names).items() if count > 1)
        raise BadInput(f"{source} line {line}: the header names column {shown(twice)} twice, expected each name once")
    return names


def _filled(rows: Rows, names: list[str], source: str, notes: Notes) -> Rows:
    """The rows that hold something, each with as many cells as there are names."""
    width = len(names)
    for line, cells in rows:
        if len(cells) > width and not any(cells[width:]):
            cells = cells[:width]
        if width > 1 and not any(cells):
            notes.add("{} left out, as every cell is empty.", "row")
            continue
        if len(cells) != width:
            raise BadInput(f"{source} line {line}: {len(cells)} cells found, expected {width} as in the header")
        yield line, cells


def _table(names: list[str], rows: list[tuple[int, list[str]]], source: str, notes: Notes | None) -> Table:
    columns = {name: [cells[i] or None for _, cells in rows] for i, name in enumerate(names)}
    return Table(source, columns, [line for line, _ in rows], findings=notes.sentences if notes else ())


def parse(path: Path, source: str, *, delimiter: str = ",", quoting: Literal[0, 3] = csv.QUOTE_MINIMAL) -> Rows:
    """Yield (line on which the row begins, cells) through the csv module; blank lines are skipped."""
    hidden, escaped = False, False

    def lines() -> Iterator[str]:
        nonlocal hidden, escaped
        for _, line in read_lines(path, source, quotes=quoting == csv.QUOTE_MINIMAL):
            body = line.rstrip("\r\n")
            escaped = escaped or '\\"' in body
            if "\r" in body or "\n" in body:
                hidden, line = True, body.translate(_HIDDEN) + line[len(body) :]
            yield line

    reader = csv.reader(lines(), strict=True, delimiter=delimiter, quoting=quoting)
    begins = 1
    try:
        for cells in reader:
            if hidden:
                hidden, cells = False, [cell.translate(_SHOWN) for cell in cells]
            if cells:
                yield begins, cells
            begins = reader.line_num + 1
    except csv.Error as error:
        expected = "quotes within cells to be doubled, not preceded by a backslash" if escaped else "quotes to pair up"
        raise BadInput(f"{source} line {begins}: cells that cannot be separated ({error}), expected {expected}") from None


def narrowed(rows: Callable[[], Rows], notes: Notes) -> Rows:
    """The rows without the columns at the right end that have neither a name nor a value, as spreadsheets write them.

    Args:
        rows (Callable[[], Rows]): begins to read them; where the header ends in an empty name they are read twice.
        notes (Notes): counts the columns.
    """
    found = rows()
    first = next(found, None)
    if first is None:
        return
    line, cells = first
    width = _last_filled([name.strip() for name in cells])
    if 0 < width < len(cells):
        width = max(width, min(len(cells), max((_last_filled(row) for _, row in rows()), default=0)))
        if width < len(cells):
            notes.add("{} left out, without a name or a value.", "column", len(cells) - width)
            cells = cells[:width]
    yield line, cells
    yield from found


def _last_filled(cells: list[str]) -> int:
    return next((i for i in range(len(cells), 0, -1) if cells[i - 1]), 0)


def read(path: Path, source: str) -> Table:
    """Return the table of a CSV file; every cell is a string, or None where empty."""
    notes = Notes()
    return rows_to_table(_rows(path, source, notes), source, notes)


def chunks(path: Path, source: str, size: int) -> Iterator[Table]:
    """Yield the same as tables of at most `size` rows."""
    notes = Notes()
    return rows_to_tables(_rows(path, source, notes), source, size, notes)


def _rows(path: Path, source: str, notes: Notes) -> Rows:
    delimiter, said = find_delimiter(path, source, ",", notes)
    return delimited(path, source, delimiter, said, notes)


def delimited(path: Path, source: str, delimiter: str, said: bool, notes: Notes) -> Rows:
    """Yield the rows of a file with quoted cells; the first line is skipped where it has `said` what the delimiter is."""

    def rows() -> Rows:
        found = parse(path, source, delimiter=delimiter)
        if said:
            next(found, None)
        first = next(found, None)
        if first is None:
            return iter(())
        line, cells = first
        # The header is looked at before a comma in some text gives a row more cells than it has.
        if delimiter == "," and len(cells) == 1 and (marks := [mark for mark in ";\t|" if mark in cells[0]]):
            raise BadInput(
                f"{source} line {line}: the header is one cell with {marks[0]!r} in it, expected cells separated by commas"
            )
        return chain([first], found)

    return narrowed(rows, notes)


formats.register("csv")(Format((".csv",), read, chunks, content=is_csv))
