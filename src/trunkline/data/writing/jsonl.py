"""JSON lines, an object a row (https://jsonlines.org), and one JSON array of the same objects."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from trunkline.data.values.written import plain
from trunkline.data.writing import Bytes, Cells, OutputFormat, writers


def encoded(row: Cells) -> bytes:
    """Return a row as one line of JSON in UTF-8, without its end; halves of surrogate pairs become JSON's escapes."""
    return json.dumps(plain(row), ensure_ascii=False, allow_nan=False).encode("utf-8", "backslashreplace")


class JsonLines:
    def __init__(self, file: Bytes) -> None:
        self.file = file

    def write(self, rows: Sequence[Cells], types: Mapping[str, Any]) -> None:
        self.file.write(b"".join(encoded(row) + b"\n" for row in rows))
        self.file.flush()  # who reads a pipe sees each piece when it is there

    def close(self) -> None:
        pass


class JsonArray:
    def __init__(self, file: Bytes) -> None:
        self.file, self.between = file, b"[\n"

    def write(self, rows: Sequence[Cells], types: Mapping[str, Any]) -> None:
        for row in rows:
            self.file.write(self.between + encoded(row))
            self.between = b",\n"

    def close(self) -> None:
        self.file.write(b"[]\n" if self.between.startswith(b"[") else b"\n]\n")


writers.register("jsonl")(OutputFormat("jsonl", (".jsonl", ".ndjson"), JsonLines, flat=False, text=True, lists=True))
writers.register("json")(OutputFormat("json", (".json",), JsonArray, flat=False, text=True, lists=True))
