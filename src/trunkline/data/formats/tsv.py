"""Tab-separated values with a header row, in both ways in which they are written.

Most corpora write a row as a line and mean nothing by a quote (NSMC, GLUE); spreadsheets and data-frame libraries quote a
cell that holds a tab, a line end or a quote. A file is read as plain lines; it is read with quotes if its header is
quoted or its lines do not all have as many cells as the header. In plain lines a cell that is quoted and has its inner
quotes doubled, which is how such a library writes a quote, is unquoted.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

from trunkline.data.formats import Format, formats
from trunkline.data.formats.csv import Rows, delimited, narrowed, parse, rows_to_table, rows_to_tables
from trunkline.data.formats.delimiters import find_delimiter
from trunkline.data.reading.notes import Notes
from trunkline.data.reading.tolerant import Tolerant
from trunkline.data.table import Table
from trunkline.errors import BadInput

QUOTED = re.compile(r'"(?=.*"".)(?:[^"]|"")*"', re.DOTALL)


def read(path: Path, source: str) -> Table:
    """Return the table of a TSV file; every cell is a string, or None where empty."""
    notes = Notes()
    delimiter, said = find_delimiter(path, source, "\t", notes)
    if delimiter != "\t":
        return rows_to_table(delimited(path, source, delimiter, said, notes), source, notes)
    try:
        return rows_to_table(_plain(path, source, said, notes), source, notes)
    except BadInput as plain:
        try:
            return rows_to_table(delimited(path, source, "\t", said, notes := Notes()), source, notes)
        except BadInput:
            raise plain from None


def tolerant_chunks(path: Path, source: str, size: int, tolerant: Tolerant) -> Iterator[Table]:
    """`chunks` without the rows that cannot be read; of the two ways it is the one in which these are fewer."""
    delimiter, said = find_delimiter(path, source, "\t", Notes(), tolerant)

    def tables(plain: bool) -> Iterator[Table]:
        find_delimiter(path, source, "\t", notes := Notes(), tolerant)
        rows = _plain if plain else partial(delimited, delimiter=delimiter)
        return rows_to_tables(rows(path, source, said=said, notes=notes, tolerant=tolerant), source, size, notes, tolerant=True)

    def unread(plain: bool) -> int:
        return sum(len(table.unread) for table in tables(plain))

    if delimiter != "\t":
        return tables(plain=False)
    try:
        broken = unread(plain=True)
    except BadInput as error:
        try:
            unread(plain=False)
        except BadInput:
            raise error from None
        return tables(plain=False)
    if broken:
        with suppress(BadInput):
            return tables(plain=broken <= unread(plain=False))
    return tables(plain=True)


def chunks(path: Path, source: str, size: int) -> Iterator[Table]:
    """Yield the same as tables of at most `size` rows; which of the two ways it is shows at its end only."""
    delimiter, said = find_delimiter(path, source, "\t", Notes())

    def tables(rows: Callable[[Path, str, bool, Notes], Rows]) -> Iterator[Table]:
        find_delimiter(path, source, "\t", notes := Notes())
        return rows_to_tables(rows(path, source, said, notes), source, size, notes)

    def quoted(path: Path, source: str, said: bool, notes: Notes) -> Rows:
        return delimited(path, source, delimiter, said, notes)

    if delimiter != "\t":
        return tables(quoted)
    try:
        for _ in tables(_plain):
            pass
    except BadInput as plain:
        try:
            for _ in tables(quoted):
                pass
        except BadInput:
            raise plain from None
        return tables(quoted)
    return tables(_plain)


def _plain(path: Path, source: str, said: bool, notes: Notes, tolerant: Tolerant | None = None) -> Rows:
    def rows() -> Rows:
        width = 0
        found = parse(path, source, delimiter="\t", quoting=csv.QUOTE_NONE, tolerant=tolerant)
        for number, (line, cells) in enumerate(found):
            if number == 0 and said:
                continue
            if isinstance(cells, BadInput):
                yield line, cells
                continue
            if line == 1 and any(len(cell) > 1 and cell[0] == cell[-1] == '"' for cell in cells):
                raise BadInput(f"{source} line 1: the header is quoted, expected quotes to pair up")
            width = width or len(cells)
            if error := _error(cells, width, f"{source} line {line}"):
                if tolerant is None:
                    raise error
                yield line, error
                continue
            yield line, [cell[1:-1].replace('""', '"') if QUOTED.fullmatch(cell) else cell for cell in cells]

    return narrowed(rows, notes)


def _error(cells: list[str], width: int, where: str) -> BadInput | None:
    """What keeps a line from being a row as it stands."""
    if any("\r" in cell and '"' in cell for cell in cells):
        return BadInput(f"{where}: a carriage return next to a quote, expected quotes to pair up")
    if len(cells) > width:  # empty ones at the end too: a tab in a quoted cell may have made them
        return BadInput(f"{where}: {len(cells)} cells found, expected {width} as in the header")
    return None


def is_tsv(lines: Sequence[str]) -> bool:
    """Whether lines of a file of some other suffix all have as many tabs, at least one."""
    counts = {line.count("\t") for line in lines if line.strip()}
    return len(counts) == 1 and counts != {0} and len(lines) > 1


formats.register("tsv")(Format((".tsv", ".tab"), read, chunks, content=is_tsv, tolerant=tolerant_chunks))
