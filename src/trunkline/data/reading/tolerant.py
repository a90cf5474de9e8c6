"""Reading that does not stop at a row that cannot be read: the reader gives the row's error in its place."""

from __future__ import annotations

import os
import re
from typing import IO

from trunkline.errors import BadInput

_ESCAPED = re.compile("[\udc80-\udcff]")  # bytes that are not UTF-8, as "surrogateescape" decodes them; JSON's escapes are none
MOST, LINES = 20, 1  # a file is in another encoding if one line of MOST is not UTF-8 and more than LINES are, or all


class Tolerant:
    """What a reader is given that shall not stop at a bad row; it knows how much of the source has been read.

    rows (int | None): of the source in all, where a reader knows it.
    """

    def __init__(self) -> None:
        self.rows: int | None = None
        self._file: IO[bytes] | None = None
        self._size = 0

    def watch(self, file: IO[bytes]) -> None:
        """Take the position in `file`, compressed or not, for how much has been read."""
        self._file, self._size = file, os.fstat(file.fileno()).st_size

    def share(self, done: int) -> float | None:
        """Return the share of the source, from 0 to 1, that is read when `done` rows of it are; None where that is unknown."""
        if self.rows is not None:
            return min(1.0, done / self.rows) if self.rows else 1.0
        if self._file is None or not self._size:
            return None
        return 1.0 if self._file.closed else min(1.0, self._file.tell() / self._size)


def not_utf8(text: str, where: str) -> BadInput | None:
    """Return the error for a line or a row that was decoded with "surrogateescape" and has bytes that are not UTF-8."""
    if text.isascii() or not (match := _ESCAPED.search(text)):
        return None
    byte = len(text[: match.start()].encode("utf-8", "surrogateescape")) + 1
    return BadInput(f"{where}: byte {byte} of the line (0x{ord(match[0]) - 0xDC00:02x}) is not UTF-8, expected UTF-8")


def is_mostly_utf8(head: bytes, cut: bool) -> bool:
    """Whether so few of a file's first lines are not UTF-8 that these are damaged, and not the file in another encoding.

    Args:
        head: how the file begins.
        cut: whether it goes on, so that the last line may end within a character.
    """
    lines = head.split(b"\n")[: -1 if cut else None]
    bad = sum(1 for line in lines if _ESCAPED.search(line.decode("utf-8", "surrogateescape")))
    if bad == 0 or b"\0" in head:  # with NULs it is no text at all
        return bad == 0
    return (bad <= LINES and bad < len(lines)) or bad * MOST < len(lines)
