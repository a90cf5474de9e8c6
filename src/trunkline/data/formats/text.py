"""Plain text, a text on each line: for texts that are only predicted. Blank lines are rows without a text."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from trunkline.data.formats import Format, formats
from trunkline.data.reading.lines import read_lines
from trunkline.data.reading.parts import parts
from trunkline.data.table import Table

SAID = "each line is read as one text."


def read(path: Path, source: str) -> Table:
    """Return a table with the column `text`."""
    return _table(read_lines(path, source), source)


def chunks(path: Path, source: str, size: int) -> Iterator[Table]:
    """Yield the same as tables of at most `size` rows."""
    for rows, _ in parts(read_lines(path, source), size):
        yield _table(rows, source)


def _table(rows: Iterable[tuple[int, str]], source: str) -> Table:
    lines = list(rows)
    texts = [line.rstrip("\r\n") for _, line in lines]
    return Table(source, {"text": texts}, [number for number, _ in lines], findings=(SAID,))


formats.register("text")(Format((), read, chunks))
