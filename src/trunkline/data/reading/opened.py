"""Files as bytes, compression undone: .gz, .bz2, .xz, .zst, and .zip archives that hold one file."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from trunkline.data.reading.tolerant import Tolerant
from trunkline.errors import BadInput

ZIP = ".zip"


def _zstandard(file: IO[bytes]) -> IO[bytes]:
    import pyarrow as pa

    return io.BufferedReader(pa.CompressedInputStream(pa.PythonFile(file, "r"), "zstd"))


_OPEN: dict[str, Callable[[Any], Any]] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open, ".zst": _zstandard}
COMPRESSED = tuple(_OPEN)


@contextmanager
def opened(path: Path, source: str, tolerant: Tolerant | None = None) -> Iterator[IO[bytes]]:
    """Open a file for reading, decompressed by its suffix; `tolerant` is told how much of it is read.

    Raises:
        BadInput: its contents are not what its suffix says, or end too early. Errors while reading within the ``with`` are
            turned into it too.
    """
    suffix = path.suffix.lower()
    kind = {".gz": "gzip", ZIP: "zip"}.get(suffix, suffix.removeprefix("."))
    try:
        with open(path, "rb") as packed:
            if tolerant is not None:
                tolerant.watch(packed)
            if suffix == ZIP:
                with zipfile.ZipFile(packed) as archive, archive.open(_only_member(archive, source)) as file:
                    yield file
            elif suffix in _OPEN:
                with _OPEN[suffix](packed) as file:
                    yield file
            else:
                yield packed
    except (gzip.BadGzipFile, lzma.LZMAError, zipfile.BadZipFile, zlib.error, EOFError):
        raise _damaged(path, source, kind) from None
    except RuntimeError:
        if suffix == ZIP:  # how zipfile says it
            raise BadInput(f"{source}: the zip archive is encrypted, expected one without password; unpack it first") from None
        raise
    except OSError as error:
        if suffix in COMPRESSED and error.errno is None:  # bz2 and Arrow raise a plain OSError for broken data
            raise _damaged(path, source, kind) from None
        raise


def _damaged(path: Path, source: str, kind: str) -> BadInput:
    magic = {"gzip": b"\x1f\x8b", "bz2": b"BZh", "xz": b"\xfd7zXZ", "zst": b"\x28\xb5\x2f\xfd", "zip": b"PK"}[kind]
    with open(path, "rb") as file:
        whole = file.read(len(magic)) == magic
    if not whole:
        return BadInput(f"{source}: not a {kind} file, though its name ends in {path.suffix}; expected a {kind} file")
    return BadInput(f"{source}: the {kind} file is damaged or cut off, expected a complete one")


def member_name(path: Path, source: str) -> str:
    """Return the name of the one file in a zip archive; BadInput where there is none or there are several."""
    try:
        with zipfile.ZipFile(path) as archive:
            return _only_member(archive, source).filename.rpartition("/")[2]
    except zipfile.BadZipFile:
        raise _damaged(path, source, "zip") from None


def _only_member(archive: zipfile.ZipFile, source: str) -> zipfile.ZipInfo:
    members = [
        one for one in archive.infolist() if not one.is_dir() and not one.filename.startswith(("__MACOSX/", ".", "META-INF/"))
    ]
    if len(members) != 1:
        raise BadInput(f"{source}: found {len(members)} files in the zip archive, expected one; unpack it and name the file")
    return members[0]
