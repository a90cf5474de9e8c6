"""Comma-separated values with a header row (RFC 4180): quoted cells may hold commas, line ends and doubled quotes.

Files whose first lines are separated by another mark are read with that one, see delimiters.py.
"""

from __future__ import annotations

import csv
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Literal

from trunkline.data.formats import Format, formats
from trunkline.data.formats.delimiters import find_delimiter, is_csv
from trunkline.data.reading.lines import read_lines
from trunkline.data.reading.notes import Notes
from trunkline.data.reading.parts import parts
from trunkline.data.reading.tolerant import Tolerant, not_utf8
from trunkline.data.table import Table, Unread
from trunkline.errors import BadInput, shown

csv.field_size_limit(2**31 - 1)  # the module's own 128 KiB, one limit for the whole process, is less than a text may have

Row = tuple[int, list[str] | BadInput]  # the line on which it begins, and its cells, or why it cannot be read
Rows = Iterator[Row]
LONGEST_ROW = 100_000  # lines, of a tolerant reader: a row whose quote is never closed would go on to the end of the file

# The csv module takes no line end in a cell without quotes, though pandas writes carriage returns so. Text that was decoded
# holds no lone surrogate, so one can stand for each meanwhile.
_HIDDEN, _SHOWN = {ord("\r"): "\udc0d", ord("\n"): "\udc0a"}, {0xDC0D: "\r", 0xDC0A: "\n"}


def rows_to_table(rows: Iterable[Row], source: str, notes: Notes | None = None) -> Table:
    """Build a table from (line, cells); the first row is the header; an empty cell is a missing value.

    A row of empty cells only, of two or more, is left out and counted in `notes`. Raises BadInput for a row with more or
    fewer cells than the header, and for a column name given twice.
    """
    rows, notes = iter(rows), notes or Notes()
    names = _header(rows, source, notes)
    return _table(names, list(_filled(rows, names, source, notes)), source, notes)


def rows_to_tables(
    rows: Iterable[Row], source: str, size: int, notes: Notes | None = None, *, tolerant: bool = False
) -> Iterator[Table]:
    """`rows_to_table` for `size` rows at a time, each under the one header; nothing where there are no rows.

    Where it is `tolerant`, a row with more or fewer cells is left out as one that cannot be read.
    """
    rows, notes = iter(rows), notes or Notes()
    names = _header(rows, source, notes)
    for part, last in parts(_filled(rows, names, source, notes, tolerant), size):
        yield _table(names, part, source, notes if last else None)


def _header(rows: Rows, source: str, notes: Notes) -> list[str]:
    """Take the first row that is not empty as the names of the columns; none where there is no row."""
    line, cells = next(((line, cells) for line, cells in rows if isinstance(cells, BadInput) or any(cells)), (1, []))
    if isinstance(cells, BadInput):
        raise cells
    if len(cells) > 2 and sum(map(bool, map(str.strip, cells))) == 1:
        notes.say(
            f"the header, line {line}, names one of {len(cells)} columns; if it is a title, delete the lines above the header."
        )
    names = [name.strip() or f"column {i + 1}" for i, name in enumerate(cells)]
    if len(set(names)) < len(names):
        twice = next(name for name, count in Counter(names).items() if count > 1)
        raise BadInput(f"{source} line {line}: the header names column {shown(twice)} twice, expected each name once")
    return names


def _filled(rows: Rows, names: list[str], source: str, notes: Notes, tolerant: bool = False) -> Rows:
    """The rows that hold something, each with as many cells as there are names."""
    width = len(names)
    for line, cells in rows:
        if isinstance(cells, BadInput):
            yield line, cells
            continue
        if len(cells) > width and not any(cells[width:]):
            cells = cells[:width]
        if width > 1 and not any(cells):
            notes.add("{} left out, as every cell is empty.", "row")
            continue
        if len(cells) != width:
            error = BadInput(f"{source} line {line}: {len(cells)} cells found, expected {width} as in the header")
            if not tolerant:
                raise error
            yield line, error
            continue
        yield line, cells


def _table(names: list[str], rows: list[Row], source: str, notes: Notes | None) -> Table:
    read = [(line, cells) for line, cells in rows if not isinstance(cells, BadInput)]
    columns = {name: [cells[i] or None for _, cells in read] for i, name in enumerate(names)}
    unread: list[Unread] = []
    for place, (line, cells) in enumerate(rows if len(read) < len(rows) else ()):
        if isinstance(cells, BadInput):
            unread.append(Unread(place - len(unread), f"{source} line {line}", cells))
    findings = notes.sentences if notes else ()
    return Table(source, columns, [line for line, _ in read], findings=findings, unread=tuple(unread))


def parse(
    path: Path,
    source: str,
    *,
    delimiter: str = ",",
    quoting: Literal[0, 3] = csv.QUOTE_MINIMAL,
    tolerant: Tolerant | None = None,
) -> Rows:
    """Yield (line on which the row begins, cells) through the csv module; blank lines are skipped.

    A `tolerant` reader gives the error of a row that cannot be separated, and goes on with the line after its first.
    """
    hidden = escaped = odd = False
    unread = read_lines(path, source, quotes=quoting == csv.QUOTE_MINIMAL, tolerant=tolerant)
    again: deque[str] = deque()  # lines that are read once more
    taken: list[str] = []  # those of the row that is being read, for a tolerant reader

    def lines() -> Iterator[str]:
        nonlocal hidden, escaped, odd
        while (line := again.popleft() if again else next(unread, (0, None))[1]) is not None:
            if tolerant is not None:
                taken.append(line)
                odd = odd or not_utf8(line, "") is not None
                if len(taken) > LONGEST_ROW:
                    raise csv.Error(f"a quote is not closed in {LONGEST_ROW:,} lines")
            body = line.rstrip("\r\n")
            escaped = escaped or '\\"' in body
            if "\r" in body or "\n" in body:
                hidden, line = True, body.translate(_HIDDEN) + line[len(body) :]
            yield line

    begins = 1
    while True:
        before, reader = begins - 1, csv.reader(lines(), strict=True, delimiter=delimiter, quoting=quoting)
        try:
            for cells in reader:
                if hidden:
                    hidden, cells = False, [cell.translate(_SHOWN) for cell in cells]
                if odd:
                    odd, errors = False, (not_utf8(line, f"{source} line {begins + i}") for i, line in enumerate(taken))
                    yield begins, next(filter(None, errors))
                elif cells:
                    yield begins, cells
                begins = before + reader.line_num + 1
                taken.clear()
            return
        except csv.Error as error:
            expected = "quotes within cells to be doubled, not preceded by a backslash" if escaped else "quotes to pair up"
            found = BadInput(f"{source} line {begins}: cells that cannot be separated ({error}), expected {expected}")
            if tolerant is None:
                raise found from None
        yield begins, found
        again.extendleft(reversed(taken[1:]))
        taken.clear()
        hidden = odd = False
        begins += 1


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
    if isinstance(cells, BadInput):
        raise cells
    width = _last_filled([name.strip() for name in cells])
    if 0 < width < len(cells):
        filled = (_last_filled(row) for _, row in rows() if not isinstance(row, BadInput))
        width = max(width, min(len(cells), max(filled, default=0)))
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


def chunks(path: Path, source: str, size: int, tolerant: Tolerant | None = None) -> Iterator[Table]:
    """Yield the same as tables of at most `size` rows; a `tolerant` reader leaves out rows that cannot be read."""
    notes = Notes()
    return rows_to_tables(_rows(path, source, notes, tolerant), source, size, notes, tolerant=tolerant is not None)


def _rows(path: Path, source: str, notes: Notes, tolerant: Tolerant | None = None) -> Rows:
    delimiter, said = find_delimiter(path, source, ",", notes, tolerant)
    return delimited(path, source, delimiter, said, notes, tolerant)


def delimited(path: Path, source: str, delimiter: str, said: bool, notes: Notes, tolerant: Tolerant | None = None) -> Rows:
    """Yield the rows of a file with quoted cells; the first line is skipped where it has `said` what the delimiter is."""

    def rows() -> Rows:
        found = parse(path, source, delimiter=delimiter, tolerant=tolerant)
        if said:
            next(found, None)
        first = next(found, None)
        if first is None:
            return iter(())
        line, cells = first
        if isinstance(cells, BadInput):
            raise cells
        # The header is looked at before a comma in some text gives a row more cells than it has.
        if delimiter == "," and len(cells) == 1 and (marks := [mark for mark in ";\t|" if mark in cells[0]]):
            raise BadInput(
                f"{source} line {line}: the header is one cell with {marks[0]!r} in it, expected cells separated by commas"
            )
        return chain([first], found)

    return narrowed(rows, notes)


formats.register("csv")(Format((".csv",), read, chunks, content=is_csv, tolerant=chunks))
