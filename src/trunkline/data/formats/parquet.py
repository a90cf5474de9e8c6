"""Parquet through pyarrow, and the columns of any Arrow table, label numbers of the `datasets` library named."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import accumulate
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from trunkline.data.formats import Format, Piece, formats
from trunkline.data.table import Table
from trunkline.errors import BadInput, shown


def read(path: Path, source: str) -> Table:
    """Return the table of a Parquet file."""
    with _reading(source):
        table = pq.ParquetFile(path).read()
    refuse_twice(table.column_names, source)
    columns, types = arrow_columns(table)
    return Table(source, columns, types=types)


def chunks(path: Path, source: str, size: int) -> Iterator[Table]:
    """Yield the same as tables of at most `size` rows."""
    begin = 1
    with _reading(source), pq.ParquetFile(path) as file:
        refuse_twice(file.schema_arrow.names, source)
        for batch in file.iter_batches(batch_size=size):
            columns, types = arrow_columns(pa.Table.from_batches([batch], file.schema_arrow))
            yield Table(source, columns, rows=range(begin, begin + len(batch)), types=types)
            begin += len(batch)


def pieces(path: Path, source: str, size: int) -> Iterator[Piece]:
    """Yield which rows each of those tables has."""
    with _reading(source), pq.ParquetFile(path) as file:
        refuse_twice(file.schema_arrow.names, source)
        rows = file.metadata.num_rows
    for start in range(0, rows, size):
        yield Piece(start, min(start + size, rows), start + 1)


def piece(path: Path, source: str, one: Piece) -> Table:
    """Return the rows of a piece; of the file only the row groups that they are in are read."""
    with _reading(source), pq.ParquetFile(path) as file:
        ends = list(accumulate(file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)))
        groups = range(bisect_right(ends, one.start), bisect_left(ends, one.stop) + 1)
        before = ends[groups[0] - 1] if groups[0] else 0
        table = file.read_row_groups(groups).slice(one.start - before, one.stop - one.start)
    columns, types = arrow_columns(table)
    return Table(source, columns, rows=range(one.first, one.first + len(table)), types=types)


@contextmanager
def _reading(source: str) -> Iterator[None]:
    """Say in one sentence what Arrow finds wrong with a file."""
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0]
        raise BadInput(f"{source}: not a Parquet file that can be read ({reason}), expected a complete one") from None


def count(path: Path) -> int:
    """Return the number of rows of a Parquet file, as its end says it."""
    return pq.read_metadata(path).num_rows


def refuse_twice(names: list[str], source: str) -> None:
    """Raise BadInput for a name that two columns have."""
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise BadInput(f"{source}: column {shown(twice[0])} is there twice, expected each name once")


def arrow_columns(table: pa.Table) -> tuple[dict[str, list], dict[str, Any]]:
    """Return plain Python columns, and the Arrow types of those that hold what the file holds.

    A number that `datasets` calls a ClassLabel becomes its name, and -1 a missing value. Values that Python has no type for,
    such as dates after the year 9999, stay Arrow's.
    """
    features: dict[str, Any] = {}
    if b"huggingface" in (table.schema.metadata or {}):
        from datasets import Features  # only where its metadata is there: the import takes a second

        features = Features.from_arrow_schema(table.schema)
    columns = {name: [named_numbers(v, features.get(name)) for v in _values(table.column(name))] for name in table.column_names}
    return columns, {field.name: field.type for field in table.schema if field.name not in features}


def _values(column: pa.ChunkedArray) -> list[Any]:
    try:
        return column.to_pylist()
    except (ValueError, OverflowError, pa.ArrowException):
        return [value if value.is_valid else None for chunk in column.chunks for value in chunk]


def named_numbers(value: Any, feature: Any) -> Any:
    """Return a value with the numbers that a feature of `datasets` calls ClassLabel as their names, -1 as None."""
    if value is None or feature is None:
        return value
    if hasattr(feature, "int2str"):
        return None if value < 0 else feature.int2str(value)
    inner = getattr(feature, "feature", None)  # datasets' List(...)
    if inner is None and isinstance(feature, list):
        inner = feature[0]
    if isinstance(value, list):
        return value if inner is None else [named_numbers(v, inner) for v in value]
    if isinstance(feature, dict) and isinstance(value, dict):
        return {key: named_numbers(v, feature.get(key)) for key, v in value.items()}
    return value


formats.register("parquet")(
    Format((".parquet", ".pq"), read, chunks, compressed=False, count=count, pieces=pieces, piece=piece)
)
