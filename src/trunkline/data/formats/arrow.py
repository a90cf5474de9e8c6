"""Arrow and Feather files through pyarrow: the file layout, and the stream layout that `datasets` keeps its caches in."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.ipc as ipc

from trunkline.data.formats import Format, formats
from trunkline.data.formats.parquet import arrow_columns, refuse_twice
from trunkline.data.table import Table
from trunkline.errors import BadInput


def read(path: Path, source: str) -> Table:
    """Return the table of an Arrow or Feather file."""
    with _told(source):
        table = _whole(path)
    refuse_twice(table.column_names, source)
    columns, types = arrow_columns(table)
    return Table(source, columns, types=types)


def _whole(path: Path) -> pa.Table:
    with pa.memory_map(str(path)) as file:
        start = file.read(8)
        if start.startswith(b"FEA1"):  # the first version of Feather, which is no Arrow file
            return feather.read_table(path)
        file.seek(0)
        return ipc.open_file(file).read_all() if start.startswith(b"ARROW1") else ipc.open_stream(file).read_all()


def chunks(path: Path, source: str, size: int) -> Iterator[Table]:
    """Yield the same as tables of at most `size` rows; what of the file is in memory is up to the operating system."""
    with _told(source):
        table = _whole(path)
    refuse_twice(table.column_names, source)
    for start in range(0, len(table), size):
        columns, types = arrow_columns(table.slice(start, size))
        yield Table(source, columns, rows=range(start + 1, min(start + size, len(table)) + 1), types=types)


@contextmanager
def _told(source: str) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        reason = str(error).partition("\n")[0]
        raise BadInput(f"{source}: not an Arrow file that can be read ({reason}), expected a complete one") from None


formats.register("arrow")(Format((".arrow", ".feather", ".ipc"), read, chunks, compressed=False))
