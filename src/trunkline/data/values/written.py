"""Values as they are written: what JSON lines, CSV and Parquet make of values of any type, which are passed through unread.

Parquet keeps every type. In JSON and CSV, times are ISO 8601, decimal numbers and durations their text, bytes base64; JSON has
null for a number that is not finite, and CSV holds lists and objects as JSON. A missing value, NaN too, is null or an empty
cell.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Iterable, Mapping
from datetime import date, time
from typing import Any

import pyarrow as pa

from trunkline.data.columns import clean
from trunkline.data.values.missing import is_missing

# What predictions consist of: their types are known, also where the first rows have none of them.
_SPAN = {"start": pa.int64(), "end": pa.int64(), "label": pa.string(), "text": pa.string(), "score": pa.float64()}
PREDICTED = {
    "label": pa.string(),
    "score": pa.float64(),
    "confidence": pa.float64(),
    "abstained": pa.bool_(),
    "left_out": pa.int64(),
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
    if is_missing(value):  # Decimal's NaN, pandas' NA and NaT, which is a date
        return None
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
    return value if isinstance(value, float) and not is_missing(value) else plain(value)


def with_lf(text: str) -> str:
    """Return a text with LF as its only line end, as what reads XML makes of it."""
    return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text


def spans_with_lf(spans: Iterable[Mapping[str, Any]], text: str) -> list[dict[str, Any]]:
    """Return the spans of `text` as those of `with_lf(text)`."""
    own, found = with_lf(text), []
    for span in spans:
        start, end = (place - text.count("\r\n", 0, place) for place in (span["start"], span["end"]))
        found.append({**span, "start": start, "end": end, "text": own[start:end]})
    return found


def encodable(value: Any) -> Any:
    """Return a value whose texts can be written as UTF-8: lone surrogates become U+FFFD, so that offsets in them stay."""
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, Mapping):
        return {encodable(key): encodable(part) for key, part in value.items()}
    return [encodable(part) for part in value] if isinstance(value, list | tuple) else value
