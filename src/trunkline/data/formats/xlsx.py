"""Excel workbooks (.xlsx) through openpyxl, the extra ``xlsx``: the first sheet that is not empty, or the one named behind a
colon (``book.xlsx:Data``). Its first row is the header, or one below a title.
"""

from __future__ import annotations

import shlex
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

from trunkline.data.formats import Format, formats
from trunkline.data.reading.notes import Notes
from trunkline.data.reading.parts import parts
from trunkline.data.table import Table
from trunkline.errors import BadInput, listed, shown, unknown_name

ERROR = "e"  # the type of a cell that holds one, such as #N/A
HEAD = 20  # rows from which it is told which is the header
_Row = tuple[int, tuple[Any, ...]]  # its number in the sheet, and its cells


def read(path: Path, source: str, name: str | None = None) -> Table:
    """Return the table of a workbook, of the sheet `name` where one is given.

    Cells keep their types: numbers, truth values, dates; of formulas it is their value.
    """
    notes = Notes()
    with _workbook(path, source) as book:
        sheet, header = _sheet(book, notes, source, name)
        rows = list(_below(sheet, header, notes))
        return _table(_names(header, rows, source), rows, source, notes)


def chunks(path: Path, source: str, size: int) -> Iterator[Table]:
    """Yield the same as tables of at most `size` rows; the sheet is read twice, as any of its rows may be the longest."""
    notes = Notes()
    with _workbook(path, source) as book:
        sheet, header = _sheet(book, notes, source)
        names = _names(header, _below(sheet, header, Notes()), source)
        for part, last in parts(_below(sheet, header, notes), size):
            yield _table(names, part, source, notes if last else None)


def _table(names: list[str], rows: list[_Row], source: str, notes: Notes | None) -> Table:
    columns = {name: [cells[i] if i < len(cells) else None for _, cells in rows] for i, name in enumerate(names)}
    return Table(source, columns, rows=[number for number, _ in rows], findings=notes.sentences if notes else ())


@contextmanager
def _workbook(path: Path, source: str) -> Iterator[Any]:
    try:
        import openpyxl
    except ImportError:
        raise BadInput(
            f"{source}: reading Excel workbooks needs openpyxl: pip install 'trunkline[xlsx]'; or save the sheet as CSV UTF-8"
        ) from None
    try:
        book = openpyxl.load_workbook(path, read_only=True, data_only=True)
    except (zipfile.BadZipFile, KeyError, ValueError, OSError) as error:
        raise BadInput(
            f"{source}: not an Excel workbook that can be read ({type(error).__name__}), expected one without a password"
        ) from None
    try:
        yield book
    finally:
        book.close()


def _sheet(book: Any, notes: Notes, source: str, name: str | None = None) -> tuple[Any, _Row]:
    """The sheet of that name, else the first that is not empty, None if all are; and the row that is its header.

    Raises:
        BadInput: no sheet has that name.
    """
    if name is not None and name not in (titles := [sheet.title for sheet in book.worksheets]):
        raise unknown_name(f"{source}: sheet", name, titles, whole=True)
    full: list[tuple[Any, list[_Row]]] = []
    for sheet in book.worksheets:
        sheet.reset_dimensions()  # what a file says of its own size may be wrong
        rows = enumerate(sheet.iter_rows(values_only=True), start=1)
        if (name is None or name == sheet.title) and (
            head := list(islice((row for row in rows if any(map(_there, row[1]))), HEAD))
        ):
            full.append((sheet, head))
    if not full:
        return None, (0, ())
    if len(full) > 1:
        title, others = shown(full[0][0].title, whole=True), [sheet.title for sheet, _ in full[1:]]
        notes.add(
            f"{{}} not read ({listed(others, 5, whole=True)}), only {title}; "
            f"{shlex.quote(f'{source}:{others[0]}')} as the source reads {shown(others[0], whole=True)}.",
            "sheet",
            len(others),
        )
    return full[0][0], _header(full[0][1], notes)


def _header(head: list[_Row], notes: Notes) -> _Row:
    """The row with the names of the columns, of the first rows that are not empty: one with several names below a title."""
    place = next((i for i, (_, row) in enumerate(head) if _filled(row) > 1), 0)
    below = head[place + 1 :]
    if place == 0 or 2 * sum(_filled(row) > 1 for _, row in below) <= len(below):
        return head[0]
    number, row = head[place]
    names = [cell for cell in row if _there(cell)]
    apart = number - head[place - 1][0] > 1
    typed = any(_there(cell) and not isinstance(cell, str) for _, cells in below for cell in cells)
    if all(isinstance(cell, str) for cell in names) and len(set(names)) == len(names) and (apart or typed):
        notes.add(f"{{}} left out above row {number}, which looks like the header.", "row", place)
        return head[place]
    notes.say(
        f"row {head[0][0]} is read as the header; if it is a title and row {number} the header, delete the rows above that."
    )
    return head[0]


def _filled(row: tuple[Any, ...]) -> int:
    return sum(map(_there, row))


def _there(cell: Any) -> bool:
    return cell is not None and cell != ""


def _below(sheet: Any, header: _Row, notes: Notes) -> Iterator[_Row]:
    """The rows below the header that hold something; the empty ones between them are counted."""
    empty = 0
    for number, cells in enumerate(sheet.iter_rows() if sheet is not None else (), start=1):
        if number <= header[0]:
            continue
        if not any(_there(cell.value) for cell in cells):
            empty += 1  # those at the end are no rows, but cells that were formatted
            continue
        if empty:
            notes.add("{} left out, as every cell is empty.", "row", empty)
            empty = 0
        if broken := sum(cell.data_type == ERROR for cell in cells):  # a text may be called like an error
            notes.add("{} with an error such as #N/A read as missing.", "cell", broken)
        yield number, tuple(None if cell.value == "" or cell.data_type == ERROR else cell.value for cell in cells)


def _names(header: _Row, rows: Iterable[_Row], source: str) -> list[str]:
    """The names of the columns, as many as the header names or a row has a value in."""
    number, cells = header
    width = max(max((i + 1 for i, cell in enumerate(row) if _there(cell)), default=0) for row in (cells, *(r for _, r in rows)))
    names = [str(cells[i]).strip() if i < len(cells) and _there(cells[i]) else f"column {i + 1}" for i in range(width)]
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise BadInput(f"{source} row {number}: the header names column {shown(twice[0])} twice, expected each name once")
    return names


formats.register("xlsx")(Format((".xlsx", ".xlsm"), read, chunks, compressed=False, part=read))
