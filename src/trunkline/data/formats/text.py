"""Plain text, a text on each line: for texts that are only predicted. Blank lines are rows without a text."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from trunkline.data.formats import Format, formats
from trunkline.data.reading.lines import read_lines
from trunkline.data.reading.parts import parts
from trunkline.data.reading.tolerant import Tolerant, not_utf8
from trunkline.data.table import Table, Unread

SAID = "each line is read as one text."


def read(path: Path, source: str) -> Table:
    """Return a table with the column `text`."""
    return _table(read_lines(path, source), source)


def chunks(path: Path, source: str, size: int) -> Iterator[Table]:
    """Yield the same as tables of at most `size` rows."""
    for rows, _ in parts(read_lines(path, source), size):
        yield _table(rows, source)


def tolerant_chunks(path: Path, source: str, size: int, tolerant: Tolerant) -> Iterator[Table]:
    """`chunks`, but a line that is not UTF-8 is left out as a row that cannot be read."""
    for rows, _ in parts(read_lines(path, source, tolerant=tolerant), size):
        yield table_of_lines(rows, source, (SAID,))


def _table(rows: Iterable[tuple[int, str]], source: str) -> Table:
    lines = list(rows)
    texts = [line.rstrip("\r\n") for _, line in lines]
    return Table(source, {"text": texts}, [number for number, _ in lines], findings=(SAID,))


def table_of_lines(rows: Iterable[tuple[int, str]], source: str, findings: tuple[str, ...] = ()) -> Table:
    """The table of lines that were decoded with "surrogateescape"; those that are not UTF-8 are rows that cannot be read."""
    texts: list[str] = []
    numbers: list[int] = []
    unread: list[Unread] = []
    for number, line in rows:
        where = f"{source} line {number}"
        if error := not_utf8(line, where):
            unread.append(Unread(len(texts), where, error))
        else:
            texts.append(line.rstrip("\r\n"))
            numbers.append(number)
    return Table(source, {"text": texts}, numbers, findings=findings, unread=tuple(unread))


formats.register("text")(Format((), read, chunks, tolerant=tolerant_chunks))
