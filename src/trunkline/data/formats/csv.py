"""Comma-separated values with a header row (RFC 4180): quoted cells may hold commas, line ends and doubled quotes."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Literal

from trunkline.data.formats import Format, formats, read_lines
from trunkline.data.table import Table
from trunkline.errors import BadInput, shown

csv.field_size_limit(2**31 - 1)  # the module's own 128 KiB, one limit for the whole process, is less than a text may have


def rows_to_table(rows: Iterable[tuple[int, list[str]]], source: str) -> Table:
    """Build a table from (line, cells); the first row is the header; an empty cell is a missing value.

    Raises BadInput for a row with more or fewer cells than the header, and for a column name given twice.
    """
    rows = iter(rows)
    return _table(_header(rows, source), rows, source)


def _header(rows: Iterator[tuple[int, list[str]]], source: str) -> list[str]:
    """Take the first row as the names of the columns; none where there is no row."""
    line, cells = next(rows, (1, []))
    names = [name.strip() or f"column {i + 1}" for i, name in enumerate(cells)]
    if len(set(names)) < len(names):
        twice = next(name for name, count in Counter(names).items() if count > 1)
        raise BadInput(f"{source} line {line}: the header names column {shown(twice)} twice, expected each name once")
    return names


def _table(names: list[str], rows: Iterable[tuple[int, list[str]]], source: str) -> Table:
    columns: list[list[str | None]] = [[] for _ in names]
    lines = []
    for line, cells in rows:
        if len(cells) != len(names):
            raise BadInput(f"{source} line {line}: {len(cells)} cells found, expected {len(names)} as in the header")
        for column, cell in zip(columns, cells, strict=True):
            column.append(cell or None)
        lines.append(line)
    return Table(source, dict(zip(names, columns, strict=True)), lines)


def parse(
    path: Path, source: str, *, delimiter: str = ",", quoting: Literal[0, 3] = csv.QUOTE_MINIMAL
) -> Iterator[tuple[int, list[str]]]:
    """Yield (line on which the row begins, cells) through the csv module; blank lines are skipped."""
    reader = csv.reader((line for _, line in read_lines(path, source)), strict=True, delimiter=delimiter, quoting=quoting)
    begins = 1
    try:
        for cells in reader:
            if cells:
                yield begins, cells
            begins = reader.line_num + 1
    except csv.Error as error:
        raise BadInput(
            f"{source} line {begins}: cells that cannot be told apart ({error}), expected quotes to pair up"
        ) from None


def read(path: Path, source: str) -> Table:
    """Return the table of a CSV file; every cell is a string, or None where empty."""
    return rows_to_table(_separated(parse(path, source), source), source)


def chunks(path: Path, source: str, size: int) -> Iterator[Table]:
    """Yield the same as tables of at most `size` rows."""
    return rows_to_tables(_separated(parse(path, source), source), source, size)


def rows_to_tables(rows: Iterable[tuple[int, list[str]]], source: str, size: int) -> Iterator[Table]:
    """`rows_to_table` for `size` rows at a time, each under the one header; nothing where there are no rows."""
    rows = iter(rows)
    names = _header(rows, source)
    while part := list(islice(rows, size)):
        yield _table(names, part, source)


def _separated(rows: Iterator[tuple[int, list[str]]], source: str) -> Iterator[tuple[int, list[str]]]:
    """The same rows; the header is looked at before a comma in some text gives a row more cells than it has."""
    for number, (line, cells) in enumerate(rows):
        if number == 0 and len(cells) == 1 and (found := [mark for mark in ";\t" if mark in cells[0]]):
            raise BadInput(
                f"{source} line {line}: the header is one cell with {found[0]!r} in it, expected cells separated by commas"
            )
        yield line, cells


formats.register("csv")(Format((".csv",), read, chunks))
