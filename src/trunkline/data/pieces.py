"""Files divided into pieces that can be read apart from each other, by other processes and machines.

A piece has the rows that one of the chunks of the file has where it is read from its beginning (chunks.py), so whatever is
computed of a chunk is computed of the same rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trunkline.data.chunks import fitting
from trunkline.data.formats import Format, Piece, formats
from trunkline.data.formats.recognise import format_for
from trunkline.data.sources import is_token_file
from trunkline.data.table import Table
from trunkline.errors import BadInput

READ = ("parquet", "jsonl")  # formats that are read so


@dataclass(frozen=True)
class FilePiece:
    """Some rows of a file.

    path (str): of the file, absolute.
    source (str): how messages name it.
    format (str): one of READ.
    piece (Piece): where in it they are.
    """

    path: str
    source: str
    format: str
    piece: Piece

    def read(self) -> Table:
        """Return the rows; those that cannot be read are its `unread` ones."""
        known = formats.get(self.format)
        assert known.piece is not None
        try:
            return known.piece(Path(self.path), self.source, self.piece)
        except OSError as error:
            raise BadInput(
                f"{self.source}: cannot be read here ({error.strerror}), expected a file on a disk that all machines share"
            ) from None

    def plain(self) -> list[Any]:
        """As JSON, of which `of` makes it again."""
        return [self.path, self.source, self.format, list(self.piece)]

    @classmethod
    def of(cls, plain: list[Any]) -> FilePiece:
        path, source, name, piece = plain
        return cls(path, source, name, Piece(*piece))


def divided(source: str, size: int, format: str | None = None) -> list[FilePiece]:
    """Return the pieces of a file, or of all files of a folder in the order of their names, `size` rows each.

    Args:
        source: a file of Parquet or JSON lines, or a folder of such files; hidden ones and those that begin with _ are left
            out, as Spark, Arrow and Ray do.
        size: rows of a piece; fewer where lines are very long.
        format: of the files, where their suffix does not say it.

    Raises:
        BadInput: no such files, or one that has to be read from its beginning.
    """
    place = Path(source).expanduser()
    if place.is_dir():
        names = sorted(entry.name for entry in place.iterdir() if entry.is_file() and not entry.name.startswith((".", "_")))
        sources = [str(Path(source) / name) for name in names]
        if not sources:
            raise BadInput(f"{source}: found no file in it, expected files of Parquet or JSON lines")
    elif place.is_file():
        sources = [source]
    else:
        raise BadInput(f"{source}: no such file or folder, expected one of Parquet or JSON lines")
    return [piece for one in sources for piece in _of_file(one, size, format)]


def _of_file(source: str, size: int, format: str | None) -> list[FilePiece]:
    path = Path(source).expanduser().resolve()
    if path.stat().st_size == 0:
        raise BadInput(f"{source}: the file is empty, expected at least one row")
    known = format_for(path, source, format)
    if known.pieces is None:
        raise BadInput(f"{source}: found another format, expected Parquet or JSON lines, which can be read in pieces")
    if is_token_file(known, path, source):
        raise BadInput(f"{source}: found a token a row, which is read as a whole; expected a text a row")
    pieces = list(known.pieces(path, source, fitting(source, size)))
    if not pieces:
        raise BadInput(f"{source}: found no row, expected at least one")
    return [FilePiece(str(path), source, _name(known), piece) for piece in pieces]


def _name(known: Format) -> str:
    return next(name for name in READ if formats.get(name) is known)
