"""Excel workbooks (.xlsx) through openpyxl, the extra ``xlsx``: the first sheet that is not empty, its first row the header."""

from __future__ import annotations

import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from trunkline.data.formats import Format, formats
from trunkline.data.notes import Notes
from trunkline.data.parts import parts
from trunkline.data.table import Table
from trunkline.errors import BadInput, shown

_Row = tuple[int, tuple[Any, ...]]  # its number in the sheet, and its cells


def read(path: Path, source: str) -> Table:
    """Return the table of a workbook. Cells keep their types: numbers, truth values, dates; of formulas it is their value."""
    notes = Notes()
    with _workbook(path, source) as book:
        names, rows = _sheet(book, source, notes)
        return _table(names, list(rows), source, notes)


def chunks(path: Path, source: str, size: int) -> Iterator[Table]:
    """Yield the same as tables of at most `size` rows."""
    notes = Notes()
    with _workbook(path, source) as book:
        names, rows = _sheet(book, source, notes)
        for part, last in parts(rows, size):
            yield _table(names, part, source, notes if last else None)


def _table(names: list[str], rows: list[_Row], source: str, notes: Notes | None) -> Table:
    columns = {name: [cells[i] for _, cells in rows] for i, name in enumerate(names)}
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
            f"{source}: not an Excel workbook that can be read ({type(error).__name__}), expected a whole one without password"
        ) from None
    try:
        yield book
    finally:
        book.close()


def _sheet(book: Any, source: str, notes: Notes) -> tuple[list[str], Iterator[_Row]]:
    """The names of the columns of the first sheet that is not empty, and its other rows."""
    full: list[tuple[Any, _Row]] = []
    for sheet in book.worksheets:
        sheet.reset_dimensions()  # what a file says of its own size may be wrong
        if (first := next(_filled(sheet.iter_rows(values_only=True)), None)) is not None:
            full.append((sheet, first))
    if not full:
        return [], iter(())
    sheet, (number, header) = full[0]
    if len(full) > 1:
        notes.add(f"{{}} not read, only {shown(sheet.title)}; save another as a file of its own.", "sheet", len(full) - 1)
    width = _width(header, sheet.iter_rows(values_only=True))
    names = [str(header[i]).strip() if i < len(header) and _there(header[i]) else f"column {i + 1}" for i in range(width)]
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise BadInput(f"{source} row {number}: the header names column {shown(twice[0])} twice, expected each name once")
    return names, _rows(sheet.iter_rows(values_only=True), number, width, notes)


def _filled(rows: Iterable[tuple[Any, ...]]) -> Iterator[_Row]:
    return ((number, row) for number, row in enumerate(rows, start=1) if any(map(_there, row)))


def _there(cell: Any) -> bool:
    return cell is not None and cell != ""


def _rows(rows: Iterable[tuple[Any, ...]], header: int, width: int, notes: Notes) -> Iterator[_Row]:
    """The rows below the header that hold something; the empty ones between them are counted."""
    empty = 0
    for number, row in enumerate(rows, start=1):
        if number <= header:
            continue
        if not any(map(_there, row)):
            empty += 1  # those at the end are no rows, but cells that were formatted
            continue
        if empty:
            notes.add("{} left out, as every cell is empty.", "row", empty)
            empty = 0
        cells = [cell if _there(cell) else None for cell in row[:width]]
        yield number, (*cells, *[None] * (width - len(cells)))


def _width(header: tuple[Any, ...], rows: Iterable[tuple[Any, ...]]) -> int:
    """How many columns there are: up to the last that has a name or a value."""
    return max(max((i + 1 for i, cell in enumerate(row) if _there(cell)), default=0) for row in (header, *rows))


formats.register("xlsx")(Format((".xlsx", ".xlsm"), read, chunks, compressed=False))
