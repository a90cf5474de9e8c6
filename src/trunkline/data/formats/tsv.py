"""Tab-separated values with a header row, in both ways in which they are written.

Most corpora write a row as a line and mean nothing by a quote (NSMC, GLUE); spreadsheets and data-frame libraries quote a
cell that holds a tab, a line end or a quote. A file is read as plain lines; it is read with quotes if its header is
quoted or its lines do not all have as many cells as the header. In plain lines a cell that is quoted and has its inner
quotes doubled, which is how such a library writes a quote, is unquoted.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from pathlib import Path

from trunkline.data.formats import Format, formats
from trunkline.data.formats.csv import parse, rows_to_table, rows_to_tables
from trunkline.data.table import Table
from trunkline.errors import BadInput

QUOTED = re.compile(r'"(?=.*"".)(?:[^"]|"")*"', re.DOTALL)


def read(path: Path, source: str) -> Table:
    """Return the table of a TSV file; every cell is a string, or None where empty."""
    try:
        return rows_to_table(_plain(path, source), source)
    except BadInput as plain:
        try:
            return rows_to_table(parse(path, source, delimiter="\t"), source)
        except BadInput:
            raise plain from None


def chunks(path: Path, source: str, size: int) -> Iterator[Table]:
    """Yield the same as tables of at most `size` rows; which of the two ways it is shows at its end only."""
    try:
        for _ in rows_to_tables(_plain(path, source), source, size):
            pass
    except BadInput as plain:
        try:
            for _ in rows_to_tables(parse(path, source, delimiter="\t"), source, size):
                pass
        except BadInput:
            raise plain from None
        return rows_to_tables(parse(path, source, delimiter="\t"), source, size)
    return rows_to_tables(_plain(path, source), source, size)


def _plain(path: Path, source: str) -> Iterator[tuple[int, list[str]]]:
    for line, cells in parse(path, source, delimiter="\t", quoting=csv.QUOTE_NONE):
        if line == 1 and any(len(cell) > 1 and cell[0] == cell[-1] == '"' for cell in cells):
            raise BadInput(f"{source} line 1: the header is quoted, expected quotes to pair up")
        yield line, [cell[1:-1].replace('""', '"') if QUOTED.fullmatch(cell) else cell for cell in cells]


formats.register("tsv")(Format((".tsv", ".tab"), read, chunks))
