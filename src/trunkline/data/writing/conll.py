"""CoNLL column files: a word and its predicted tag a line, a tab between them, a blank line after each text."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from trunkline.data.values.written import encodable
from trunkline.data.writing import Bytes, Cells, OutputFormat, writers
from trunkline.errors import BadInput

_APART = re.compile(r"[\t\r\n\v\f\x1c-\x1e\x85\u2028\u2029]")  # what would divide a line, or end it


class Conll:
    """Writes rows that have `tokens` and as many `tags`; one without tokens has no line.

    Args:
        file (Bytes): where to write.
    """

    def __init__(self, file: Bytes) -> None:
        self.file = file
        self.rows = 0

    def write(self, rows: Sequence[Cells], types: Mapping[str, Any]) -> None:
        parts = []
        for row in rows:
            self.rows += 1
            for token in row["tokens"]:
                if not token.strip() or _APART.search(token):
                    raise BadInput(
                        f"row {self.rows}: a word is blank or has a tab or a line end in it, which no column file can hold; "
                        "expected --format jsonl"
                    )
            lines = [f"{token}\t{tag}\n" for token, tag in zip(row["tokens"], row["tags"], strict=True)]
            parts.append("".join(lines) + "\n" if lines else "")
        self.file.write(encodable("".join(parts)).encode("utf-8"))
        self.file.flush()

    def close(self) -> None:
        pass


writers.register("conll")(OutputFormat("conll", (".conll",), Conll, flat=False, text=True, lists=True, tagged=True))
