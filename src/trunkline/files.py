"""Writing so that a kill at any moment leaves the old file or the new one, never half of one; safe names; hashing."""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import shutil
import stat
import tempfile
import unicodedata
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from trunkline.errors import BadInput

JSON_BYTES = 1 << 28  # the longest JSON file that is read into memory
NAME_BYTES = 200  # of a safe name: file systems take 255, and a stage or a temporary file adds something to it


def cache_dir() -> Path:
    """Keeps what can be computed again: $TRUNKLINE_CACHE, else $XDG_CACHE_HOME/trunkline, else ~/.cache/trunkline."""
    if own := os.environ.get("TRUNKLINE_CACHE"):
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "trunkline"


def safe_name(name: object, where: str) -> str:
    """Return `name` if it is fit to be a part of a path and of a tensor's name; `where` opens the message otherwise.

    Raises:
        BadInput: it is no string, empty, long, or has other characters than letters, digits, '_', '-' and '.' (the last two not
            first), so that it could lead out of a folder, hide a file or break a terminal.
    """
    if not isinstance(name, str):
        raise BadInput(f"{where}: found {type(name).__name__}, expected a name")
    if not re.fullmatch(r"\w[\w.-]*", name):
        raise BadInput(
            f"{where}: found the name {name[:40]!r}, expected letters, digits, '_', '-' and '.', the last two not first"
        )
    if len(name.encode()) > NAME_BYTES:
        raise BadInput(f"{where}: found a name of {len(name.encode())} bytes, expected at most {NAME_BYTES}")
    return name


def distinct_names(names: Iterable[str], where: str) -> None:
    """BadInput if two of the names are one on disks that tell neither case nor Unicode's forms of a character apart."""
    seen: dict[str, str] = {}
    for name in names:
        folded = unicodedata.normalize("NFKC", name).casefold()
        if (other := seen.setdefault(folded, name)) != name:
            raise BadInput(f"{where}: found {other!r} and {name!r}, which are one folder on some disks; expected other names")


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; when the block ends well it is fsynced and renamed over `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        os.chmod(temporary, 0o644)
        _sync(temporary)
        os.replace(temporary, path)
        _sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_directory(path: Path) -> Iterator[Path]:
    """Yield a temporary directory beside `path`; when the block ends well it takes the place of `path`, files fsynced.

    An older `path` is moved aside first and removed last, so one of the two is always whole on disk.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent))
    try:
        yield temporary
        os.chmod(temporary, 0o755)
        for file in temporary.rglob("*"):
            _sync(file)
        _sync(temporary)
        old = None
        if path.exists():
            old = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".old", dir=path.parent))
            os.replace(path, old / "was")
        os.replace(temporary, path)
        _sync(path.parent)
        if old is not None:
            shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def recover_directory(path: Path) -> None:
    """Put back the older directory if a kill fell between the two renames of `atomic_directory`, when nothing is at `path`."""
    if not path.exists():
        for old in sorted(path.parent.glob(f".{path.name}.*.old/was")):
            os.replace(old, path)
            old.parent.rmdir()
            return


def sweep(path: Path) -> None:
    """Clear away what killed writers have left below the directory `path`, in which nobody is writing now.

    An older directory that was moved aside is put back where nothing has taken its place.
    """
    for old in list(path.rglob(".*.old")):
        recover_directory(old.with_name(old.name[1:].rsplit(".", 2)[0]))
        shutil.rmtree(old, ignore_errors=True)
    for left in list(path.rglob(".*.tmp")):
        if left.is_dir():
            shutil.rmtree(left, ignore_errors=True)
        else:
            left.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write `text` to `path` atomically, as UTF-8 with its line ends untouched."""
    with atomic_file(path) as temporary:
        temporary.write_bytes(text.encode("utf-8"))


def write_json(path: Path, value: Any) -> None:
    """Write `value` to `path` atomically as indented JSON; NaN and infinity are refused, as JSON has no such numbers."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def check_regular(path: Path) -> None:
    """Raise BadInput if what lies at `path` is no regular file: opening a FIFO or a device could wait for ever."""
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise BadInput(f"{path}: cannot be read ({error.strerror})") from None
    if not stat.S_ISREG(mode):
        kind = "folder" if stat.S_ISDIR(mode) else "FIFO" if stat.S_ISFIFO(mode) else "device or socket"
        raise BadInput(f"{path}: found a {kind}, expected a file")


def read_object(path: Path) -> dict[str, Any]:
    """Return the JSON object in a file; BadInput if there is none that can be read.

    JSON is read as it is defined: NaN, infinity, numbers too large for a float and halves of surrogate pairs are refused.
    """
    check_regular(path)
    if (size := path.stat().st_size) > JSON_BYTES:
        raise BadInput(f"{path}: found a file of {size} bytes, expected JSON of at most {JSON_BYTES}")
    try:
        described = json.loads(path.read_bytes().decode("utf-8"), parse_constant=_finite, parse_float=_finite)
        json.dumps(described, ensure_ascii=False).encode("utf-8")
    except (ValueError, OSError, RecursionError) as error:
        raise BadInput(f"{path}: cannot be read as JSON ({type(error).__name__})") from None
    if not isinstance(described, dict):
        raise BadInput(f"{path}: found {type(described).__name__}, expected an object")
    return described


def _finite(text: str) -> float:
    if not math.isfinite(value := float(text)):
        raise ValueError("not a number that JSON has")
    return value


def sha256_file(path: Path) -> str:
    """Return the sha256 of a file's bytes as 64 hex digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def directory_bytes(path: Path) -> int:
    """Bytes of all files below `path`."""
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
