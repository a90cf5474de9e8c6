"""Workbooks of Excel, one sheet with a header row, through openpyxl (the extra `xlsx`).

Texts are stored as texts, also those that a spreadsheet would take for a formula. What a cell cannot hold exactly is text:
numbers of more than 15 digits, times with a zone, lists and objects (as JSON), bytes (in base64). Line ends are LF.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

from trunkline.data.values.missing import is_missing
from trunkline.data.values.written import cell, encodable, with_lf
from trunkline.data.writing import Bytes, Cells, OutputFormat, writers
from trunkline.errors import BadInput, shown

MOST_ROWS, MOST_CHARACTERS = 1_048_576, 32_767  # of a sheet with its header, and of a cell
EXACT = 10**15  # smaller whole numbers are exact in a cell


class Workbook:
    def __init__(self, file: Bytes) -> None:
        try:
            import openpyxl
        except ImportError:
            raise BadInput(".xlsx needs openpyxl: pip install 'trunkline[xlsx]', or write .csv or .jsonl") from None
        self.file = file
        self.book = openpyxl.Workbook(write_only=True)
        self.sheet = self.book.create_sheet("predictions")
        self.header: dict[str, None] | None = None
        self.rows = 0

    def write(self, rows: Sequence[Cells], types: Mapping[str, Any]) -> None:
        if self.header is None:
            self.header = dict.fromkeys(name for row in rows for name in row)
            self.sheet.append([self._cell(0, name, name) for name in self.header])
        for row in rows:
            self.rows += 1
            if new := [name for name in row if name not in self.header]:
                raise BadInput(
                    f"row {self.rows}: column {shown(new[0])} is not among those of the first rows, expected all there, "
                    "or --format jsonl"
                )
            if self.rows >= MOST_ROWS:
                raise BadInput(
                    f"found more than {MOST_ROWS - 1:,} rows, more than a sheet holds; expected --format csv or jsonl"
                )
            self.sheet.append([self._cell(self.rows, name, row.get(name)) for name in self.header])

    def _cell(self, row: int, name: str, value: Any) -> Any:
        value = _held(value)
        if not isinstance(value, str):
            return value
        from openpyxl.cell import WriteOnlyCell
        from openpyxl.utils.exceptions import IllegalCharacterError

        if len(value) > MOST_CHARACTERS:
            raise BadInput(
                f"row {row}: column {shown(name)} has {len(value):,} characters, more than the {MOST_CHARACTERS:,} of a cell; "
                "expected --format csv or jsonl"
            )
        try:
            made = WriteOnlyCell(self.sheet, with_lf(encodable(value)))
        except IllegalCharacterError:
            raise BadInput(
                f"row {row}: column {shown(name)} has a control character, which no workbook can hold; expected --format jsonl"
            ) from None
        made.data_type = "s"
        return made

    def close(self) -> None:
        if self.header is None:
            self.sheet.append([])
        self.book.save(self.file)


def _held(value: Any) -> Any:
    """A value as a cell holds it: what openpyxl stores as it is, or text."""
    if isinstance(value, bool | str):
        return value
    if is_missing(value):
        return None
    if isinstance(value, int):
        return value if abs(value) < EXACT else str(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Decimal):
        return float(value) if value.is_finite() and Decimal(repr(float(value))) == value else str(value)
    if (isinstance(value, datetime | time) and value.tzinfo is None) or type(value) is date or isinstance(value, timedelta):
        return value
    return cell(value)


writers.register("xlsx")(OutputFormat("xlsx", (".xlsx",), Workbook, flat=True, text=False, lists=False, lf=True))
