"""JSON: an object a line (https://jsonlines.org), objects one after the other, an array of objects, or an object of columns.

A key that an object lacks is a missing value there. Files of annotation tools are recognised by their content and read through
annotations/, a file for each tool.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import chain, islice, pairwise
from pathlib import Path
from typing import Any

from trunkline.data.formats import Format, Piece, formats
from trunkline.data.formats.annotations import WRONG_TYPE, tool_of, tools
from trunkline.data.formats.json_columns import rows_within
from trunkline.data.reading.json_values import Value, json_values, layout_of, values_of_lines
from trunkline.data.reading.lines import byte_lines
from trunkline.data.reading.notes import Notes
from trunkline.data.reading.parts import parts
from trunkline.data.reading.tolerant import Tolerant
from trunkline.data.table import Table, Unread
from trunkline.errors import BadInput

_Row = tuple[int, dict[str, Any] | BadInput]  # the number of its line or of itself, and what it holds, or why it cannot be read

LOOKED_AT = 200  # values from which a tool is recognised
NAMES = {list: "a list", str: "a string", int: "a number", float: "a number", bool: "a truth value", type(None): "null"}


def read(path: Path, source: str) -> Table:
    """Return the table of a JSON file; its columns are the keys in order of first appearance."""
    values = json_values(path, source)
    head = list(islice(values, LOOKED_AT))
    if (within := _within(head, path, source)) is not None:
        head, values = list(enumerate(within, start=1)), iter(())
        numbered = False
    else:
        numbered = _on_lines(head)
    found = tool_of([value for _, value in head[:LOOKED_AT]])
    if found is not None:
        return _annotated(found, chain(head, values), source, numbered)
    if numbered:
        return _table(_objects(chain(head, values), source), source)
    return _table(_objects(enumerate((value for _, value in chain(head, values)), start=1), source, "row"), source, by_row=True)


def chunks(path: Path, source: str, size: int, tolerant: Tolerant | None = None) -> Iterator[Table]:
    """Yield the same as tables of at most `size` rows; a table has the columns that its own rows have.

    What is not read row by row, one object that holds all rows and files of annotation tools, is read whole. A `tolerant`
    reader leaves out lines that are no JSON object, as rows that cannot be read; what is broken in values that are not on lines
    of their own is raised.
    """
    head = _head(path, source, tolerant)
    if _within(head, path, source) is not None or tool_of([value for _, value in head]) is not None:
        table = read(path, source)
        if tolerant is not None:
            tolerant.rows = len(table)
        for start in range(0, len(table), size):
            yield table.select(range(start, min(start + size, len(table))))
        return
    numbered, values = _on_lines(head), json_values(path, source, tolerant)
    if not numbered:
        values = enumerate((value for _, value in values), start=1)
    for part, _ in parts(_objects(values, source, "line" if numbered else "row", tolerant is not None), size):
        yield _table(part, source, by_row=not numbered)


def pieces(path: Path, source: str, size: int) -> Iterator[Piece]:
    """Yield where each `size` rows of a file with an object a line lie in it, in bytes."""
    start = byte_lines(path, source)
    tolerant = Tolerant()
    head = _head(path, source, tolerant)
    if layout_of(path, source, tolerant) != "lines" or _within(head, path, source) is not None:
        raise BadInput(f"{source}: found JSON that is not an object a line, expected JSON lines")
    if (tool := tool_of([value for _, value in head])) is not None:
        raise BadInput(f"{source}: found annotations of {tool}, which are read as a whole; expected rows as JSON lines")
    with open(path, "rb") as file:
        file.seek(start)
        stop, first, rows = start, 1, 0
        for number, line in enumerate(file, start=1):
            if rows == size:
                yield Piece(start, stop, first)
                start, first, rows = stop, number, 0
            stop += len(line)
            if line[:1] == b"{" or not line.decode("utf-8", "surrogateescape").isspace():
                rows += 1
    if rows:
        yield Piece(start, stop, first)


def piece(path: Path, source: str, one: Piece) -> Table:
    """Return the rows of a piece; lines that are no JSON object are left out, as rows that cannot be read."""
    with open(path, "rb") as file:
        file.seek(one.start)
        text = file.read(one.stop - one.start).decode("utf-8", "surrogateescape")
    lines = enumerate((f"{line}\n" for line in text.removesuffix("\n").split("\n")), start=one.first)
    return _table(_objects(values_of_lines(lines, source, True), source, tolerant=True), source)


def _head(path: Path, source: str, tolerant: Tolerant | None) -> list[Value]:
    """The first values that can be read."""
    head: list[Value] = []
    with suppress(BadInput):  # it is raised again by the part that it is in
        found = json_values(path, source, tolerant)
        head.extend(islice((one for one in found if not isinstance(one[1], BadInput)), LOOKED_AT))
    return head


def _within(head: Sequence[Value], path: Path, source: str) -> list[Any] | None:
    """The rows within a file's only value; in a file that is called JSON lines, that value is a row."""
    if len(head) != 1 or ".json" not in [suffix.lower() for suffix in path.suffixes[-2:]]:
        return None
    return rows_within(head[0][1], source)


def _on_lines(head: Sequence[Value]) -> bool:
    """Whether values begin on lines of their own, so that the line tells which one is meant."""
    return all(one < other for (one, _), (other, _) in pairwise(head))


def _objects(values: Iterable[Value], source: str, unit: str = "line", tolerant: bool = False) -> Iterator[_Row]:
    """The values with their numbers; what is no object is its error where the reader is tolerant, else it is raised."""
    for number, value in values:
        if isinstance(value, dict | BadInput):
            yield number, value
            continue
        expected = "one JSON object a line" if unit == "line" else 'JSON objects, such as {"text": "...", "label": "..."}'
        error = BadInput(f"{source} {unit} {number}: found {NAMES[type(value)]}, expected {expected}")
        if not tolerant:
            raise error
        yield number, error


def _annotated(name: str, values: Iterable[Value], source: str, numbered: bool) -> Table:
    """The table of what a tool has exported."""
    tool, notes, rows = tools.get(name), Notes(), []
    for place, (line, value) in enumerate(values, start=1):
        number = line if numbered else place
        where = f"{source} {'line' if numbered else 'row'} {number}"
        try:
            row = tool.row(value, notes)
        except BadInput as error:
            raise error.at(where) from None
        except WRONG_TYPE:
            raise BadInput(f"{where}: found a value of a type that {name} does not write there, expected its export") from None
        if row is not None:
            rows.append((number, row))
    if left_out := set(tool.finish([row for _, row in rows], notes)):
        rows = [row for place, row in enumerate(rows) if place not in left_out]
    return _table(rows, source, by_row=not numbered, findings=notes.sentences)


def _table(rows: Iterable[_Row], source: str, *, by_row: bool = False, findings: tuple[str, ...] = ()) -> Table:
    columns: dict[str, list] = {}
    numbers: list[int] = []
    unread: list[Unread] = []
    for number, row in rows:
        if isinstance(row, BadInput):
            unread.append(Unread(len(numbers), f"{source} {'row' if by_row else 'line'} {number}", row))
            continue
        if row.keys() != columns.keys():
            for key in [key for key in row if key not in columns]:
                columns[key] = [None] * len(numbers)
            for key in columns.keys() - row.keys():
                row[key] = None
        for key, value in row.items():
            columns[key].append(value)
        numbers.append(number)
    lines, places = (None, numbers) if by_row else (numbers, None)
    return Table(source, columns, lines, rows=places, findings=findings, unread=tuple(unread))


def is_json(lines: Sequence[str]) -> bool:
    """Whether a file of some other suffix begins as JSON objects do."""
    start = "".join("".join(lines).split())
    return start.startswith(('{"', '[{"', '["', "[["))


formats.register("jsonl")(
    Format((".jsonl", ".ndjson", ".json"), read, chunks, content=is_json, tolerant=chunks, pieces=pieces, piece=piece)
)
