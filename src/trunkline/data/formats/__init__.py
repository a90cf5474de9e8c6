"""File formats, a file each: which suffixes it has and how its bytes become a `Table`."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from trunkline.data.table import Table
from trunkline.errors import BadInput
from trunkline.registry import Registry


@dataclass(frozen=True)
class Format:
    """A way to read a file.

    suffixes (tuple[str, ...]): lower-case file suffixes, dot included.
    read (Callable[[Path, str], Table]): path and the name that messages use to the table.
    chunks (Callable[[Path, str, int], Iterator[Table]]): the same a number of rows at a time, so that memory stays flat.
    gzipped (bool): whether each suffix followed by ``.gz`` is read too.
    """

    suffixes: tuple[str, ...]
    read: Callable[[Path, str], Table]
    chunks: Callable[[Path, str, int], Iterator[Table]]
    gzipped: bool = True


formats: Registry[Format] = Registry("data format", __name__)


def all_suffixes() -> list[str]:
    """Every suffix that some format reads, ``.gz`` forms included, sorted."""
    known = [formats.get(name) for name in formats.names()]
    return sorted({s + gz for one in known for s in one.suffixes for gz in (("", ".gz") if one.gzipped else ("",))})


def format_of(path: Path) -> Format | None:
    """Return the format that a file name stands for, or None."""
    name = path.name.lower()
    for known in map(formats.get, formats.names()):
        if name.endswith(known.suffixes) or (known.gzipped and name.endswith(tuple(s + ".gz" for s in known.suffixes))):
            return known
    return None


def read_lines(path: Path, source: str) -> Iterator[tuple[int, str]]:
    """Yield (1-based number, text with its line end) of each line of a UTF-8 file, gzip undone, byte-order mark dropped.

    A line ends at a line feed only, so other separators inside JSON strings or cells do no harm. Raises BadInput with
    the line for bytes that are not UTF-8 and for a damaged gzip file.
    """
    number = 0
    try:
        with gzip.open(path, "rb") if path.name.lower().endswith(".gz") else open(path, "rb") as file:
            for raw in file:
                number += 1
                if number == 1:
                    raw = raw.removeprefix(b"\xef\xbb\xbf")
                yield number, raw.decode("utf-8")
    except UnicodeDecodeError as error:
        byte = f"0x{error.object[error.start]:02x}"
        raise BadInput(
            f"{source} line {number}: byte {error.start + 1} of the line ({byte}) is not UTF-8, expected UTF-8"
        ) from None
    except gzip.BadGzipFile:
        if number == 0:
            raise BadInput(f"{source}: not a gzip file, though its name ends in .gz; expected a gzip file") from None
        raise BadInput(f"{source}: the gzip file is damaged after line {number}, expected a whole one") from None
    except (EOFError, zlib.error) as error:
        raise BadInput(f"{source}: the gzip file is damaged after line {number} ({error}), expected a whole one") from None
