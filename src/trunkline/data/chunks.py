"""A source in chunks of rows, for work that goes through it once: a file, lines of a stream, or texts at hand.

Rows that cannot be read are no end of it, where the next one can be found (`Table.unread`).
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import IO

from trunkline.data.columns import clean
from trunkline.data.formats.text import table_of_lines
from trunkline.data.reading.lines import HEAD
from trunkline.data.reading.opened import opened
from trunkline.data.reading.tolerant import Tolerant
from trunkline.data.sources import read_chunks
from trunkline.data.table import Table
from trunkline.errors import BadInput

BYTES, FEWEST = 1 << 24, 64  # of a chunk: its bytes, by the first lines of its file, and its rows all the same


@dataclass(frozen=True)
class Chunk:
    """Some rows, and the share of the source (from 0 to 1) that is read when they are; None where that is unknown."""

    table: Table
    share: float | None = None

    def __len__(self) -> int:
        """The rows of the source, those that cannot be read too."""
        return len(self.table) + len(self.table.unread)


class Chunks:
    """A source to go through in chunks.

    Args:
        begin: begins to read it.
        again: whether it can be read once more from its beginning.
    """

    def __init__(self, begin: Callable[[], Iterator[Chunk]], again: bool = False) -> None:
        self._begin, self.again = begin, again
        self._first: tuple[Chunk | None, Iterator[Chunk]] | None = None

    def first(self) -> Chunk | None:
        """Return the first chunk, None where there is none; it is among those that are gone through next all the same.

        Raises:
            BadInput: what is wrong with the source, or with its beginning.
        """
        if self._first is None:
            found = self._begin()
            self._first = next(found, None), found
        return self._first[0]

    def __iter__(self) -> Iterator[Chunk]:
        first = self.first()
        assert self._first is not None
        rest, self._first = self._first[1], None
        return itertools.chain([] if first is None else [first], rest)


def file_chunks(source: str, size: int, *, format: str | None = None, otherwise: str | None = None) -> Chunks:
    """A source as `read_chunks` reads it, `size` rows at a time."""
    return Chunks(partial(_of_file, source, size, format, otherwise), again=True)


def _of_file(source: str, size: int, format: str | None, otherwise: str | None) -> Iterator[Chunk]:
    tolerant, done = Tolerant(), 0
    for table in read_chunks(source, fitting(source, size), format=format, otherwise=otherwise, tolerant=tolerant):
        done += len(table) + len(table.unread)
        yield Chunk(table, tolerant.share(done))


def fitting(source: str, size: int) -> int:
    """Return `size`, or fewer rows, FEWEST at least, where a file begins with lines so long that they take more than BYTES."""
    path = Path(source).expanduser()
    try:
        if not path.is_file():
            return size
        with opened(path, source) as file:
            head = file.read(HEAD)
    except (OSError, BadInput):  # said where it is read
        return size
    return min(size, max(FEWEST, BYTES * (head.count(b"\n") or 1) // (len(head) or 1)))


def text_chunks(texts: Sequence[str], source: str) -> Chunks:
    """Texts that are at hand, as one chunk."""
    return Chunks(lambda: iter([Chunk(Table(source, {"text": [clean(text) for text in texts]}), 1.0)]), again=True)


def line_chunks(file: IO[bytes], size: int, source: str) -> Chunks:
    """Lines of a stream, each a text, `size` at a time."""
    return Chunks(partial(_of_lines, file, size, source))


def _of_lines(file: IO[bytes], size: int, source: str) -> Iterator[Chunk]:
    numbered = ((number, line.decode("utf-8", "surrogateescape")) for number, line in enumerate(file, start=1))
    while lines := list(itertools.islice(numbered, size)):
        table = table_of_lines(lines, source)
        if lines[0][0] == 1 and all(map(_is_object, table.columns["text"][:FEWEST])):
            told = "its lines are JSON objects, and each is read as one text; save them as a .jsonl file and use --input FILE."
            table = replace(table, findings=(told,))
        yield Chunk(table)


def _is_object(line: str) -> bool:
    if not line.startswith("{"):
        return False
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False
