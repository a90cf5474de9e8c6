"""File formats, a file each: which suffixes it has and how its bytes become a `Table`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from trunkline.data.reading.opened import COMPRESSED, ZIP
from trunkline.data.reading.tolerant import Tolerant
from trunkline.data.table import Table
from trunkline.registry import Registry


class Piece(NamedTuple):
    """Rows of a file that can be read without those before them.

    start, stop (int): where they lie: bytes of a text, from 0, or rows of a table.
    first (int): the number of its first line or row, from 1.
    """

    start: int
    stop: int
    first: int


@dataclass(frozen=True)
class Format:
    """A way to read a file.

    suffixes (tuple[str, ...]): lower-case file suffixes, dot included.
    read (Callable[[Path, str], Table]): path and the name that messages use to the table.
    chunks (Callable[[Path, str, int], Iterator[Table]]): the same a number of rows at a time, so that memory stays flat.
    compressed (bool): whether it is text, which is read compressed too (``.gz``, ``.zst``, ...).
    content (Callable[[list[str]], bool] | None): whether the first lines of a file that has no suffix of any format are of
        this one; None for formats that are no text.
    tolerant (Callable[[Path, str, int, Tolerant], Iterator[Table]] | None): `chunks` that do not stop at a row that cannot be
        read, which is among the `unread` of its table; None where no row can be told from the next then.
    count (Callable[[Path], int] | None): the number of rows, where that is known without reading them.
    part (Callable[[Path, str, str], Table] | None): path, the name that messages use and that of a part, such as a sheet, to
        its table; None where files have no parts. The source is ``FILE:PART`` then.
    pieces (Callable[[Path, str, int], Iterator[Piece]] | None): path, the name that messages use and a number of rows to the
        pieces of a file, each the rows of one of the tolerant `chunks` of that size; BadInput for a file that has to be read
        from its beginning. None where all have to be.
    piece (Callable[[Path, str, Piece], Table] | None): reads one of them, as the tolerant `chunks` do.
    """

    suffixes: tuple[str, ...]
    read: Callable[[Path, str], Table]
    chunks: Callable[[Path, str, int], Iterator[Table]]
    compressed: bool = True
    content: Callable[[list[str]], bool] | None = None
    tolerant: Callable[[Path, str, int, Tolerant], Iterator[Table]] | None = None
    count: Callable[[Path], int] | None = None
    part: Callable[[Path, str, str], Table] | None = None
    pieces: Callable[[Path, str, int], Iterator[Piece]] | None = None
    piece: Callable[[Path, str, Piece], Table] | None = None


formats: Registry[Format] = Registry("data format", __name__)


def all_suffixes() -> list[str]:
    """Every suffix that some format reads, ``.gz`` forms included, sorted."""
    known = [formats.get(name) for name in formats.names()]
    return sorted({s + gz for one in known for s in one.suffixes for gz in (("", ".gz") if one.compressed else ("",))})


def format_of(path: Path) -> Format | None:
    """Return the format that a file name stands for, or None."""
    name = path.name.lower()
    bare = next((name.removesuffix(end) for end in (*COMPRESSED, ZIP) if name.endswith(end)), None)
    for known in map(formats.get, formats.names()):
        if name.endswith(known.suffixes) or (known.compressed and bare is not None and bare.endswith(known.suffixes)):
            return known
    return None
