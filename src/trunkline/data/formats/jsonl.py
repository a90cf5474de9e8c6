"""JSON lines: one JSON object a line (https://jsonlines.org); a key that a line lacks is a missing value there."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from trunkline.data.formats import Format, formats, read_lines
from trunkline.data.table import Table
from trunkline.errors import BadInput

NAMES = {list: "a list", str: "a string", int: "a number", float: "a number", bool: "a truth value", type(None): "null"}


def read(path: Path, source: str) -> Table:
    """Return the table of a JSON lines file; its columns are the keys in order of first appearance."""
    return _table(_rows(path, source), source)


def chunks(path: Path, source: str, size: int) -> Iterator[Table]:
    """Yield the same as tables of at most `size` rows; a table has the columns that its own rows have."""
    rows = _rows(path, source)
    while part := list(islice(rows, size)):
        yield _table(part, source)


def _rows(path: Path, source: str) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in read_lines(path, source):
        if not line.isspace():
            yield number, _parse(line, f"{source} line {number}")


def _table(rows: Iterable[tuple[int, dict[str, Any]]], source: str) -> Table:
    columns: dict[str, list] = {}
    lines: list[int] = []
    for number, row in rows:
        if row.keys() != columns.keys():
            for key in [key for key in row if key not in columns]:
                columns[key] = [None] * len(lines)
            for key in columns.keys() - row.keys():
                row[key] = None
        for key, value in row.items():
            columns[key].append(value)
        lines.append(number)
    return Table(source, columns, lines)


def _parse(line: str, where: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise BadInput(f"{where} column {error.colno}: broken JSON ({error.msg}), expected one JSON object a line") from None
    except (ValueError, RecursionError) as error:  # numbers of thousands of digits, thousands of nested brackets
        raise BadInput(f"{where}: JSON that cannot be read ({type(error).__name__}), expected one JSON object a line") from None
    if not isinstance(row, dict):
        raise BadInput(f"{where}: found {NAMES[type(row)]}, expected one JSON object a line")
    return row


formats.register("jsonl")(Format((".jsonl", ".ndjson", ".json"), read, chunks))
