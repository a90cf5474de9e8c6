"""Excel workbooks (.xlsx) through openpyxl, the extra ``xlsx``: the first sheet that is not empty, its first row the header."""

from __future__ import annotations

import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from trunkline.data.formats import Format, formats
from trunkline.data.reading.notes import Notes
from trunkline.data.reading.parts import parts
from trunkline.data.table import Table
from trunkline.errors import BadInput, shown

ERRORS = frozenset(("#N/A", "#DIV/0!", "#VALUE!", "#REF!", "#NAME?", "#NUM!", "#NULL!"))  # of formulas
_Row = tuple[int, tuple[Any, ...]]  # its number in the sheet, and its cells


def read(path: Path, source: str) -> Table:
    """Return the table of a workbook. Cells keep their types: numbers, truth values, dates; of formulas it is their value."""
    notes = Notes()
    with _workbook(path, source) as book:
        sheet, header = _sheet(book, notes)
        rows = list(_below(sheet, header, notes))
        return _table(_names(header, rows, source), rows, source, notes)


def chunks(path: Path, source: str, size: int) -> Iterator[Table]:
    """Yield the same as tables of at most `size` rows; the sheet is read twice, as any of its rows may be the longest."""
    notes = Notes()
    with _workbook(path, source) as book:
        sheet, header = _sheet(book, notes)
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


def _sheet(book: Any, notes: Notes) -> tuple[Any, _Row]:
    """The first sheet that is not empty, None if all are, and its first row that is not."""
    full: list[tuple[Any, _Row]] = []
    for sheet in book.worksheets:
        sheet.reset_dimensions()  # what a file says of its own size may be wrong
        for number, row in enumerate(sheet.iter_rows(values_only=True), start=1):
            if any(map(_there, row)):
                full.append((sheet, (number, row)))
                break
    if len(full) > 1:
        title = shown(full[0][0].title, whole=True)
        notes.add(f"{{}} not read, only {title}; save another as a file of its own.", "sheet", len(full) - 1)
    return full[0] if full else (None, (0, ()))


def _there(cell: Any) -> bool:
    return cell is not None and cell != ""


def _below(sheet: Any, header: _Row, notes: Notes) -> Iterator[_Row]:
    """The rows below the header that hold something; the empty ones between them are counted."""
    empty = 0
    for number, row in enumerate(sheet.iter_rows(values_only=True) if sheet is not None else (), start=1):
        if number <= header[0]:
            continue
        if not any(map(_there, row)):
            empty += 1  # those at the end are no rows, but cells that were formatted
            continue
        if empty:
            notes.add("{} left out, as every cell is empty.", "row", empty)
            empty = 0
        if broken := sum(cell in ERRORS for cell in row if isinstance(cell, str)):
            notes.add("{} with an error such as #N/A read as missing.", "cell", broken)
        yield number, tuple(None if cell == "" or (isinstance(cell, str) and cell in ERRORS) else cell for cell in row)


def _names(header: _Row, rows: Iterable[_Row], source: str) -> list[str]:
    """The names of the columns, as many as the header names or a row has a value in."""
    number, cells = header
    width = max(max((i + 1 for i, cell in enumerate(row) if _there(cell)), default=0) for row in (cells, *(r for _, r in rows)))
    names = [str(cells[i]).strip() if i < len(cells) and _there(cells[i]) else f"column {i + 1}" for i in range(width)]
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise BadInput(f"{source} row {number}: the header names column {shown(twice[0])} twice, expected each name once")
    return names


formats.register("xlsx")(Format((".xlsx", ".xlsm"), read, chunks, compressed=False))
