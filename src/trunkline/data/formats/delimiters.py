"""What separates the cells of a delimited file: the suffix says it, and the first lines may say otherwise."""

from __future__ import annotations

import csv
import re
from itertools import islice
from pathlib import Path

from trunkline.data.reading.lines import read_lines
from trunkline.data.reading.notes import Notes
from trunkline.data.reading.tolerant import Tolerant

NAMES = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "vertical bars", "^": "carets", "~": "tildes"}
LOOKED_AT = 50  # lines
LONGEST_NAME = 30  # characters of a column's name, where a header has to be told from a line of text
_EXCEL = re.compile(r'"?sep=(.)"?[\r\n]*', re.IGNORECASE)


def find_delimiter(path: Path, source: str, expected: str, notes: Notes, tolerant: Tolerant | None = None) -> tuple[str, bool]:
    """Return what separates the cells, and whether the first line is only Excel's ``sep=;``.

    Another mark than the `expected` one is taken where that leaves the header whole or the rows uneven, and the other divides
    the header and every row that is looked at into the same number of cells. It is noted.
    """
    found = read_lines(path, source, quotes=expected != "\t", tolerant=tolerant)
    lines = [line for _, line in islice(found, LOOKED_AT)]
    if lines and (match := _EXCEL.fullmatch(lines[0])):
        notes.say(f"the cells are separated by {match[1]!r}, as the first line declares.")
        return match[1], True
    if _width(lines, expected):
        return expected, False
    header = next((line for line in lines if line.strip()), "")
    for mark in NAMES:
        if mark != expected and mark in header and _width(lines, mark):
            notes.say(f"the cells are separated by {NAMES[mark]} instead of {NAMES[expected]}.")
            return mark, False
    return expected, False


def is_csv(lines: list[str]) -> bool:
    """Whether lines of a file of some other suffix have a header of short names and rows of as many cells."""
    for mark in ",;|":
        header = lines[0].strip().split(mark) if lines else []
        if all(0 < len(name) <= LONGEST_NAME and name.count(" ") < 3 for name in header) and _width(lines, mark):
            return True
    return False


def _width(lines: list[str], mark: str) -> int:
    """The number of cells of the header if every row has as many, and at least two; otherwise 0."""
    rows = [
        row for row in csv.reader((re.sub("[\r\n]", " ", line.rstrip("\r\n")) + "\n" for line in lines), delimiter=mark) if row
    ]
    if len(lines) == LOOKED_AT:
        rows = rows[:-1]  # it may go on
    if len(rows) < 2 or len(rows[0]) < 2:
        return 0
    even = all(len(row) == len(rows[0]) or (not any(row[len(rows[0]) :]) and len(row) > len(rows[0])) for row in rows)
    return len(rows[0]) if even else 0
