"""Comma- and tab-separated values with a header row (RFC 4180): cells with separators, quotes or line ends are quoted."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from trunkline.data.values.written import cell, encodable
from trunkline.data.writing import Bytes, Cells, OutputFormat, writers
from trunkline.errors import BadInput, shown


class _Lines(io.StringIO):
    """Lines that end at LF. csv quotes a CR in a cell only while lines end at CRLF (until Python 3.13)."""

    def write(self, line: str) -> int:
        return super().write(line.removesuffix("\r\n") + "\n")


class Separated:
    def __init__(self, file: Bytes, separator: str) -> None:
        self.file, self.separator = file, separator
        self.header: dict[str, None] | None = None  # the names of the columns, in order
        self.rows = 0

    def write(self, rows: Sequence[Cells], types: Mapping[str, Any]) -> None:
        flat = [{name: cell(value) for name, value in row.items()} for row in rows]
        text = _Lines()
        if self.header is None:
            self.header = dict.fromkeys(name for row in flat for name in row)
            csv.writer(text, delimiter=self.separator).writerow(self.header)
        for row, cells in enumerate(flat, start=self.rows + 1):
            if new := [name for name in cells if name not in self.header]:
                raise BadInput(
                    f"row {row}: column {shown(new[0])} is not in the header already written, which has the columns of the "
                    "first rows; expected all columns there, or --format jsonl"
                )
        self.rows += len(flat)
        csv.DictWriter(text, self.header, delimiter=self.separator).writerows(flat)
        self.file.write(encodable(text.getvalue()).encode("utf-8"))
        self.file.flush()

    def close(self) -> None:
        pass


writers.register("csv")(OutputFormat("csv", (".csv",), partial(Separated, separator=","), flat=True, text=True, lists=False))
writers.register("tsv")(
    OutputFormat("tsv", (".tsv", ".tab"), partial(Separated, separator="\t"), flat=True, text=True, lists=False)
)
