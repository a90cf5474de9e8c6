"""Files as text: UTF-8, or UTF-16 and UTF-32 where their byte order shows; lines end at LF, CRLF or, in old files, at CR."""

from __future__ import annotations

import codecs
import io
import re
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from trunkline.data.reading.opened import COMPRESSED, ZIP, opened
from trunkline.data.reading.tolerant import Tolerant, is_mostly_utf8
from trunkline.errors import BadInput

HEAD = 1 << 16  # bytes from which encoding and line ends are told
_MARKS = (  # the longer ones first: UTF-32's begins with UTF-16's
    (codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF32_LE, "utf-32"), (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"),
)  # fmt: skip
_QUOTED_OR_END = re.compile(r'"[^"]*"|\r*\n|\r')


def read_lines(path: Path, source: str, *, quotes: bool = False, tolerant: Tolerant | None = None) -> Iterator[tuple[int, str]]:
    """Yield (1-based number, text with its line end) of each line; compression undone, byte-order mark dropped.

    A line ends at a line feed only, so other separators inside JSON strings or cells do no harm; or at a carriage return
    only, where the first line does. Raises BadInput for a damaged file, and with the line for bytes that are not UTF-8.

    Args:
        path (Path): of the file.
        source (str): how messages name it.
        quotes (bool): line ends between double quotes do not count as that of the first line.
        tolerant (Tolerant | None): where it is given, bytes that are not UTF-8 are escaped (see `not_utf8`), if they are few.
    """
    with reading(path, source, quotes=quotes, tolerant=tolerant) as file:
        yield from enumerate(file, start=1)


def read_blocks(path: Path, source: str, size: int = 1 << 20, *, tolerant: Tolerant | None = None) -> Iterator[str]:
    """Yield the text of a file in blocks of `size` characters, for files that may consist of one long line."""
    with reading(path, source, tolerant=tolerant) as file:
        while block := file.read(size):
            yield block


@contextmanager
def reading(path: Path, source: str, *, quotes: bool = False, tolerant: Tolerant | None = None) -> Iterator[io.TextIOWrapper]:
    """Open a file as text; what cannot be decoded while it is read within the ``with`` becomes a BadInput that says where."""
    with opened(path, source) as raw:
        head = raw.read(HEAD)
    encoding = _encoding(head)
    start = codecs.getincrementaldecoder(encoding)("replace").decode(head)
    newline = _line_end(start, quotes)
    escapes = tolerant is not None and encoding.startswith("utf-8") and is_mostly_utf8(head, len(head) == HEAD)
    errors = "surrogateescape" if escapes else "strict"
    try:
        with (
            opened(path, source, tolerant) as raw,
            io.TextIOWrapper(raw, encoding, errors=errors, newline=newline) as file,
        ):
            yield file
    except UnicodeDecodeError:
        raise _undecodable(path, source, encoding, newline) from None


def byte_lines(path: Path, source: str) -> int:
    """Return where the first line of a file begins, in bytes, if lines can be read from any place of it.

    Raises:
        BadInput: it is compressed, in another encoding than UTF-8, or its lines end at carriage returns only.
    """
    if path.suffix.lower() in (*COMPRESSED, ZIP):
        raise BadInput(f"{source}: found a compressed file, expected one that can be read from any place; unpack it")
    with opened(path, source) as raw:
        head = raw.read(HEAD)
    encoding = _encoding(head)
    if not encoding.startswith("utf-8") or not is_mostly_utf8(head, len(head) == HEAD):
        raise BadInput(f"{source}: found another encoding than UTF-8, expected UTF-8; {_converted(path, source)}")
    if _line_end(head.decode("utf-8", "replace"), quotes=False) == "\r":
        raise BadInput(f"{source}: found lines that end at carriage returns, expected line feeds")
    return len(codecs.BOM_UTF8) if encoding == "utf-8-sig" else 0


def _encoding(head: bytes) -> str:
    for mark, encoding in _MARKS:
        if head.startswith(mark):
            return encoding
    sample = head[:512]
    zeros = [sample[first::2].count(0) for first in (0, 1)]
    if len(sample) >= 8 and max(zeros) > len(sample) * 0.4 and not min(zeros):  # every other byte: mostly ASCII
        return "utf-16-le" if zeros[1] else "utf-16-be"
    return "utf-8"


def _line_end(text: str, quotes: bool) -> str:
    if quotes:
        ends = (match[0] for match in _QUOTED_OR_END.finditer(text) if match[0][0] != '"')
        return "\r" if next(ends, "\n") == "\r" else "\n"
    return "\r" if "\r" in text and "\n" not in text else "\n"


def _converted(path: Path, source: str) -> str:
    """How a file in another encoding becomes one in UTF-8."""
    suffix = path.suffix.lower()
    if suffix in (*COMPRESSED, ZIP):
        return "unpack it, save the file as UTF-8 and pack it again"
    save = "save the file as UTF-8"
    if suffix in (".csv", ".tsv", ".txt"):
        save += " (in Excel: Save as, CSV UTF-8)"
    old, new = shlex.quote(source), shlex.quote(str(Path(source).with_name(f"{path.stem}-utf8{path.suffix}")))
    return f"{save}, or convert it, e.g. from that of older Windows programs: iconv -f WINDOWS-1252 -t UTF-8 {old} > {new}"


def _undecodable(path: Path, source: str, encoding: str, newline: str) -> BadInput:
    """The error for the first line that is not in the encoding; the decoder that read the file works block by block."""
    if not encoding.startswith("utf-8"):
        return BadInput(f"{source}: begins as {encoding.upper()} but is not whole, expected UTF-8; save it again as UTF-8")
    with opened(path, source) as raw:
        lines: Iterator[bytes] = iter(raw) if newline == "\n" else iter(raw.read().split(b"\r"))
        for number, line in enumerate(lines, start=1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError as error:
                byte = f"0x{line[error.start]:02x}"
                found = f"{source} line {number}: byte {error.start + 1} of the line ({byte}) is not UTF-8"
                return BadInput(f"{found}; {_converted(path, source)}")
    return BadInput(f"{source}: ends within a character, expected UTF-8")
