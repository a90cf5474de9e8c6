"""CoNLL column files: a token a line, its columns separated by a tab or by spaces, a blank line after each sentence.

The first column is the token, the last its tag (Tjong Kim Sang and De Meulder 2003); ``-DOCSTART-`` lines are dropped.
"""

from __future__ import annotations

import re
from pathlib import Path

from trunkline.data.formats import Format, formats, read_lines
from trunkline.data.table import Table
from trunkline.errors import BadInput


def read(path: Path, source: str) -> Table:
    """Return a table with the columns ``tokens`` and ``tags``; the line of a row is that of its first token."""
    sentences: list[list[str]] = []
    tags: list[list[str]] = []
    lines: list[int] = []
    width, inside = 0, False
    for number, line in read_lines(path, source):
        line = line.rstrip("\r\n")
        if not line.strip(" \t"):
            inside = False
            continue
        # Only tab and space separate: a token may hold other blanks, such as the no-break space in "1 000".
        cells = line.rstrip("\t").split("\t") if "\t" in line.strip() else re.split(" +", line.strip(" \t"))
        if cells[0] == "-DOCSTART-":
            inside = False
            continue
        width = width or len(cells)
        if len(cells) != width or width < 2:
            expected = f"expected {width} as above" if width > 1 else "expected a token and its tag"
            raise BadInput(f"{source} line {number}: {len(cells)} columns found, {expected}")
        if not inside:
            sentences.append([])
            tags.append([])
            lines.append(number)
            inside = True
        sentences[-1].append(cells[0].strip(" "))
        tags[-1].append(cells[-1].strip(" "))
    return Table(source, {"tokens": sentences, "tags": tags}, lines)


formats.register("conll")(Format((".conll", ".bio", ".iob", ".iob2"), read))
