"""Parquet through pyarrow: columns that come from Arrow keep their type, the first rows set that of the others."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from trunkline.data.values.written import encodable, plain
from trunkline.data.writing import Bytes, Cells, OutputFormat, writers
from trunkline.errors import BadInput, shown

GROUP_ROWS, GROUP_BYTES = 1 << 16, 1 << 25  # of which a row group has about one


class ParquetRows:
    """Writes rows to a Parquet file, some at a time; the first ones set its columns and their types.

    They are held until there are enough for a row group: readers are slow on small ones, and the file's end describes each.

    Args:
        file (Bytes): where to write.
    """

    def __init__(self, file: Bytes) -> None:
        self.file = file
        self.writer: pq.ParquetWriter | None = None
        self.rows = 0
        self._held: list[pa.Table] = []

    def write(self, rows: Sequence[Cells], types: Mapping[str, Any]) -> None:
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
        self.rows += len(rows)
        self._held.append(table)
        if sum(map(len, self._held)) >= GROUP_ROWS or sum(part.nbytes for part in self._held) >= GROUP_BYTES:
            self._write_group()

    def close(self) -> None:
        """Write what ends the file."""
        if self.writer is None:
            self.writer = pq.ParquetWriter(self.file, pa.schema([]))
        self._write_group()
        self.writer.close()

    def _write_group(self) -> None:
        if self._held and self.writer is not None:
            self.writer.write_table(pa.concat_tables(self._held))
            self._held.clear()


def _array(values: list[Any], kind: Any) -> pa.Array:
    """The values as Arrow has them; as text where they are of several types, or of one that Parquet has not."""
    for wanted in (kind, None):
        try:
            made = _made(values, wanted)
        except (pa.ArrowException, TypeError, ValueError, OverflowError):
            continue
        if wanted is None and pa.types.is_null(made.type):  # later rows may hold anything
            return pa.array(values, type=pa.string())
        if not any(pa.types.is_struct(part) and part.num_fields == 0 for part in _parts(made.type)):
            return made
    return _made([_fit(value, pa.string()) for value in values], pa.string())


def _parts(kind: pa.DataType) -> Iterator[pa.DataType]:
    """A type and all types in it."""
    yield kind
    for place in range(kind.num_fields):
        yield from _parts(kind.field(place).type)


def _made(values: list[Any], kind: Any) -> pa.Array:
    try:
        made = pa.array(values, type=kind)
    except UnicodeEncodeError:  # a lone surrogate: rare, so texts are looked through only then
        made = pa.array([encodable(value) for value in values], type=kind)
    if kind is not None and any(pa.types.is_struct(part) for part in _parts(kind)) and any(_has_more(v, kind) for v in values):
        raise ValueError("a key that the type has not, which pyarrow leaves out without a word")
    return made


def _has_more(value: Any, kind: pa.DataType) -> bool:
    """Whether an object in a value has a key that its type does not have."""
    if pa.types.is_struct(kind) and isinstance(value, Mapping):
        fields = {kind.field(place).name: kind.field(place).type for place in range(kind.num_fields)}
        return any(key not in fields or _has_more(part, fields[key]) for key, part in value.items())
    if isinstance(value, list) and (
        pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    ):
        return any(_has_more(part, kind.value_type) for part in value)
    return False


def _fit(value: Any, kind: Any) -> Any:
    if value is None or isinstance(value, str) or not pa.types.is_string(kind):
        return value
    text = plain(value)
    return text if text is None or isinstance(text, str) else json.dumps(text, ensure_ascii=False)


writers.register("parquet")(OutputFormat("parquet", (".parquet", ".pq"), ParquetRows, flat=True, text=False, lists=True))
