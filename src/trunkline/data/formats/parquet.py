"""Parquet through pyarrow, and the columns of any Arrow table, label numbers of the `datasets` library named."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from trunkline.data.formats import Format, formats
from trunkline.data.table import Table
from trunkline.errors import BadInput


def read(path: Path, source: str) -> Table:
    """Return the table of a Parquet file."""
    try:
        table = pq.ParquetFile(path).read()
    except (pa.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0]
        raise BadInput(f"{source}: not a Parquet file that can be read ({reason}), expected a whole one") from None
    return Table(source, arrow_columns(table))


def chunks(path: Path, source: str, size: int) -> Iterator[Table]:
    """Yield the same as tables of at most `size` rows."""
    begin = 1
    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=size):
                columns = arrow_columns(pa.Table.from_batches([batch], file.schema_arrow))
                yield Table(source, columns, rows=range(begin, begin + len(batch)))
                begin += len(batch)
    except (pa.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0]
        raise BadInput(f"{source}: not a Parquet file that can be read ({reason}), expected a whole one") from None


def arrow_columns(table: pa.Table) -> dict[str, list]:
    """Return plain Python columns; a number that `datasets` calls a ClassLabel becomes its name, and -1 a missing value."""
    features: dict[str, Any] = {}
    if b"huggingface" in (table.schema.metadata or {}):
        from datasets import Features  # only where its metadata is there: the import takes a second

        features = Features.from_arrow_schema(table.schema)
    return {name: [_named(v, features.get(name)) for v in table.column(name).to_pylist()] for name in table.column_names}


def _named(value: Any, feature: Any) -> Any:
    if value is None or feature is None:
        return value
    if hasattr(feature, "int2str"):
        return None if value < 0 else feature.int2str(value)
    inner = getattr(feature, "feature", None)  # datasets' List(...)
    if inner is None and isinstance(feature, list):
        inner = feature[0]
    if isinstance(value, list):
        return value if inner is None else [_named(v, inner) for v in value]
    if isinstance(feature, dict) and isinstance(value, dict):
        return {key: _named(v, feature.get(key)) for key, v in value.items()}
    return value


formats.register("parquet")(Format((".parquet", ".pq"), read, chunks, gzipped=False))
