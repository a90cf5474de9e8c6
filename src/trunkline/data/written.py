"""Rows as they are written: what JSON lines, CSV and Parquet make of values of any type, which are passed through unread.

Parquet keeps every type. In JSON and CSV, times are ISO 8601, decimal numbers and durations their text, bytes base64; JSON has
null for a number that is not finite, and CSV holds lists and objects as JSON.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping, Sequence
from datetime import date, time
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from trunkline.errors import BadInput, shown

# What predictions consist of: their types are known, also where the first rows have none of them.
_SPAN = {"start": pa.int64(), "end": pa.int64(), "label": pa.string(), "text": pa.string(), "score": pa.float64()}
PREDICTED = {
    "label": pa.string(),
    "score": pa.float64(),
    "value": pa.float64(),
    "labels": pa.list_(pa.string()),
    "spans": pa.list_(pa.struct(list(_SPAN.items()))),
}


def plain(value: Any) -> Any:
    """Return a value as JSON can hold it."""
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [plain(part) for part in value]
    if isinstance(value, date | time):  # datetime is a date
        return value.isoformat()
    if isinstance(value, bytes):
        return base64.b64encode(value).decode("ascii")
    if isinstance(value, pa.Scalar):  # what Python has no type for
        return value.cast(pa.string()).as_py()
    return str(value)


def cell(value: Any) -> Any:
    """Return a value as a cell of CSV holds it."""
    if isinstance(value, Mapping | list | tuple):
        return json.dumps(plain(value), ensure_ascii=False)
    return value if isinstance(value, float) else plain(value)


def encodable(value: Any) -> Any:
    """Return a value whose texts can be written as UTF-8: lone surrogates become their escapes, such as ``\\ud800``."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode("utf-8")
    if isinstance(value, Mapping):
        return {encodable(key): encodable(part) for key, part in value.items()}
    return [encodable(part) for part in value] if isinstance(value, list | tuple) else value


class ParquetRows:
    """Writes rows to a Parquet file, some at a time; the first ones set its columns and their types.

    Args:
        file (IO[bytes]): where to write.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self.file = file
        self.writer: pq.ParquetWriter | None = None
        self.rows = 0

    def write(self, rows: Sequence[Mapping[str, Any]], types: Mapping[str, Any]) -> None:
        """Write rows, some columns of known types; BadInput for what does not fit the columns that the first rows have set."""
        if self.writer is None:
            names = dict.fromkeys(name for row in rows for name in row)
            if broken := [name for name in names if encodable(name) != name]:
                raise BadInput(f"column {shown(broken[0])} has a name that is not Unicode, expected another, or --format jsonl")
            arrays = {name: _array([row.get(name) for row in rows], types.get(name)) for name in names}
            table = pa.table(arrays)
            self.writer = pq.ParquetWriter(self.file, table.schema)
        else:
            schema = self.writer.schema
            known = set(schema.names)
            for number, row in enumerate(rows, start=self.rows + 1):
                if new := next((name for name in row if name not in known), None):
                    raise BadInput(
                        f"row {number}: column {shown(new)} is not among those of the first rows, expected all columns there"
                    )
            arrays = {}
            for kind in schema:
                try:
                    values = [_fit(row.get(kind.name), kind.type) for row in rows]
                    arrays[kind.name] = _made(values, kind.type)
                except (pa.ArrowException, TypeError, ValueError, OverflowError):
                    raise BadInput(
                        f"rows {self.rows + 1:,} to {self.rows + len(rows):,}: column {shown(kind.name)} holds values that are "
                        f"not of the type of the first rows ({str(kind.type)[:40]}), expected one type, or --format jsonl"
                    ) from None
            table = pa.table(arrays, schema=schema)
        self.writer.write_table(table)
        self.rows += len(rows)

    def close(self) -> None:
        """Write what ends the file."""
        if self.writer is None:
            self.writer = pq.ParquetWriter(self.file, pa.schema([]))
        self.writer.close()


def _array(values: list[Any], kind: Any) -> pa.Array:
    """The values as Arrow has them; as text where they are of several types."""
    for wanted in (kind, None):
        try:
            made = _made(values, wanted)
            unknown = wanted is None and pa.types.is_null(made.type)  # later rows may hold anything
            return pa.array(values, type=pa.string()) if unknown else made
        except (pa.ArrowException, TypeError, ValueError, OverflowError):
            continue
    return _made([_fit(value, pa.string()) for value in values], pa.string())


def _made(values: list[Any], kind: Any) -> pa.Array:
    try:
        return pa.array(values, type=kind)
    except UnicodeEncodeError:  # a lone surrogate: rare, so texts are looked through only then
        return pa.array([encodable(value) for value in values], type=kind)


def _fit(value: Any, kind: Any) -> Any:
    if value is None or isinstance(value, str) or not pa.types.is_string(kind):
        return value
    text = plain(value)
    return text if isinstance(text, str) else json.dumps(text, ensure_ascii=False)
