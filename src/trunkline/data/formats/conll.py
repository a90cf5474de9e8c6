"""CoNLL column files: a token a line, its columns separated by a tab or by spaces, a blank line after each sentence.

The first column is the token, the last its tag (Tjong Kim Sang and De Meulder 2003); ``-DOCSTART-`` lines are dropped.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

from trunkline.data.formats import Format, formats, read_lines
from trunkline.data.table import Table
from trunkline.errors import BadInput

_Sentence = tuple[int, list[tuple[str, str]]]  # its first line, and its tokens with their tags


def read(path: Path, source: str) -> Table:
    """Return a table with the columns ``tokens`` and ``tags``; the line of a row is that of its first token."""
    return _table(_sentences(path, source), source)


def chunks(path: Path, source: str, size: int) -> Iterator[Table]:
    """Yield the same as tables of at most `size` rows."""
    sentences = _sentences(path, source)
    while part := list(islice(sentences, size)):
        yield _table(part, source)


def _table(sentences: Iterable[_Sentence], source: str) -> Table:
    rows = list(sentences)
    tokens, tags = [[token for token, _ in words] for _, words in rows], [[tag for _, tag in words] for _, words in rows]
    return Table(source, {"tokens": tokens, "tags": tags}, [line for line, _ in rows])


def _sentences(path: Path, source: str) -> Iterator[_Sentence]:
    """Yield the first line of each sentence, and its tokens with their tags."""
    words: list[tuple[str, str]] = []
    begins = width = 0
    for number, line in read_lines(path, source):
        line = line.rstrip("\r\n")
        # Only tab and space separate: a token may hold other blanks, such as the no-break space in "1 000".
        cells = line.rstrip("\t").split("\t") if "\t" in line.strip() else re.split(" +", line.strip(" \t"))
        if not line.strip(" \t") or cells[0] == "-DOCSTART-":
            if words:
                yield begins, words
            words = []
            continue
        width = width or len(cells)
        if len(cells) != width or width < 2:
            expected = f"expected {width} as above" if width > 1 else "expected a token and its tag"
            raise BadInput(f"{source} line {number}: {len(cells)} columns found, {expected}")
        if not words:
            begins = number
        words.append((cells[0].strip(" "), cells[-1].strip(" ")))
    if words:
        yield begins, words


formats.register("conll")(Format((".conll", ".bio", ".iob", ".iob2"), read, chunks))
