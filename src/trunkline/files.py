"""Writing so that a kill at any moment leaves the old file or the new one, never half of one; safe names; hashing."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import math
import os
import re
import secrets
import shutil
import stat
import unicodedata
from collections.abc import Collection, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, Literal

from trunkline.errors import BadInput, TrunklineError

JSON_BYTES = 1 << 28  # the longest JSON file that is read into memory
PART_BYTES, PATH_BYTES = 255, 4095  # of a file's name, as most file systems have it, and of a whole path
NAME_BYTES = 200  # of a safe name: file systems take 255, and a stage or a temporary file adds something to it


def cache_dir() -> Path:
    """Keeps what can be computed again: $TRUNKLINE_CACHE, else $XDG_CACHE_HOME/trunkline, else ~/.cache/trunkline."""
    if own := os.environ.get("TRUNKLINE_CACHE"):
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "trunkline"


def safe_name(name: object, where: str) -> str:
    """Return `name` if it is fit to be a part of a path and of a tensor's name; `where` opens the message otherwise.

    Raises:
        BadInput: it is no string, empty, long, or has other characters than letters, digits and '_', and after the first
            '-', '.', '@' and '+', so that it could lead out of a folder, hide a file or break a terminal.
    """
    if not isinstance(name, str):
        raise BadInput(f"{where}: found {type(name).__name__}, expected a name")
    if not re.fullmatch(r"\w[\w.@+-]*", name):
        raise BadInput(
            f"{where}: found the name {name[:40]!r}, expected letters, digits and '_', then also '-', '.', '@' and '+'"
        )
    if len(name.encode()) > NAME_BYTES:
        raise BadInput(f"{where}: found a name of {len(name.encode())} bytes, expected at most {NAME_BYTES}")
    return name


def refuse_long(path: Path, where: str = "") -> None:
    """Raise BadInput for a path that no file can have; `where` opens the message."""
    opening = f"{where} " if where else ""
    for part in path.parts:
        if (size := len(os.fsencode(part))) > PART_BYTES:
            raise BadInput(f"{opening}{part[:40]!r}...: found a name of {size} bytes, expected at most {PART_BYTES}")
    if (size := len(os.fsencode(path))) > PATH_BYTES:
        raise BadInput(f"{opening}{str(path)[:40]!r}...: found a path of {size} bytes, expected at most {PATH_BYTES}")


def distinct_names(names: Iterable[str], where: str) -> None:
    """BadInput if two of the names are one on disks that tell neither case nor Unicode's forms of a character apart."""
    seen: dict[str, str] = {}
    for name in names:
        folded = unicodedata.normalize("NFKC", name).casefold()
        if (other := seen.setdefault(folded, name)) != name:
            raise BadInput(f"{where}: found {other!r} and {name!r}, which are one folder on some disks; expected other names")


class NotWritten(TrunklineError, OSError):
    """A file or a folder that could not be written, as the disk is full, say. What was there before is there still."""

    def __str__(self) -> str:
        return str(self.args[0])


@contextmanager
def write_errors(path: Path, numbers: Collection[int] | None = None) -> Iterator[None]:
    """Say in one sentence that `path` cannot be written, whichever library found that out.

    Args:
        path: as the message names it.
        numbers: the errors of the system that mean this; any by default.
    """
    try:
        yield
    except TrunklineError:
        raise
    except Exception as error:
        number = error.errno if isinstance(error, OSError) else None
        # What libraries in Rust (safetensors, tokenizers) make of it is an error of their own, with the number in its text.
        if number is None and (found := re.search(r"\(os error (\d+)\)|\bOs \{ code: (\d+)", str(error))):
            number = int(found[1] or found[2])
        if isinstance(error, BrokenPipeError) or number is None or (numbers is not None and number not in numbers):
            raise
        raise NotWritten(f"{path}: cannot be written ({os.strerror(number)})") from error


FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)  # only writing fails like this


def sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def temporary_name(path: Path, kind: Literal["tmp", "old"]) -> Path:
    return path.with_name(f".{path.name}.trunkline-{secrets.token_hex(4)}.{kind}")


def hold(handle: int) -> bool | None:
    """Hold an open file or folder until it is closed; False if somebody else does, None on a disk without locks."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


@contextmanager
def temporary_beside(path: Path, kind: Literal["tmp", "old"], *, folder: bool) -> Iterator[Path]:
    """Make a temporary file or folder beside `path` that nobody clears away within the block.

    Afterwards it is gone, and what was moved aside into it is back where nothing has taken its place.
    """
    while True:
        temporary = temporary_name(path, kind)
        if folder:
            temporary.mkdir()  # with the rights that the umask leaves, as the file
        else:
            os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        with suppress(FileNotFoundError):
            handle = os.open(temporary, os.O_RDONLY)
            if hold(handle) is not False and temporary.exists():
                break  # else somebody who clears this place was quicker than the lock
            os.close(handle)
    try:
        yield temporary
    finally:
        os.close(handle)
        _remove(temporary, path)


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; when the block ends well it is fsynced and renamed over `path`.

    For folders of Trunkline's own, whose only writer clears away what killed ones have left.
    """
    temporary = temporary_name(path, "tmp")
    with write_errors(path, FULL):
        try:
            with write_errors(path):
                path.parent.mkdir(parents=True, exist_ok=True)
                temporary.touch(exist_ok=False)  # with the rights that the umask leaves
            yield temporary
            with write_errors(path):
                sync(temporary)
                os.replace(temporary, path)
                sync(path.parent)
        finally:
            temporary.unlink(missing_ok=True)


@contextmanager
def atomic_directory(path: Path) -> Iterator[Path]:
    """Yield a temporary directory beside `path`; when the block ends well it takes the place of `path`, files fsynced.

    An older `path` is moved aside first and removed last, so one of the two is always whole on disk. Within a directory that is
    being written like this already, `path` itself is yielded.
    """
    if any(re.fullmatch(rf"\..+{_MARK}\.tmp", part) for part in path.parts):
        path.mkdir(parents=True, exist_ok=True)
        yield path
        return
    with write_errors(path, FULL), ExitStack() as stack:
        with write_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            clear_leftovers(path)
            temporary = stack.enter_context(temporary_beside(path, "tmp", folder=True))
        yield temporary
        with write_errors(path):
            left = stat.S_IMODE(temporary.stat().st_mode) & 0o666  # what the umask leaves, which safetensors does not ask for
            for file in temporary.rglob("*"):
                if file.is_file():
                    os.chmod(file, left)
                sync(file)
            sync(temporary)
            if path.exists():
                os.chmod(temporary, stat.S_IMODE(path.stat().st_mode))
                os.replace(path, stack.enter_context(temporary_beside(path, "old", folder=True)) / "was")
            os.replace(temporary, path)
            sync(path.parent)


def path_of(given: object, where: str, expected: str) -> Path:
    """Return a path that a program gives; BadInput for anything else, by its type: it may be data."""
    if isinstance(given, str | os.PathLike):
        return Path(given)
    raise BadInput(f"{where}: found {type(given).__name__}, expected {expected}")


def new_folder(path: Path) -> Path:
    """Return `path` in full if nothing is there that writing it as a whole would remove; BadInput otherwise."""
    full = path.expanduser().resolve()
    if full.exists() and (not full.is_dir() or any(full.iterdir())):
        raise BadInput(f"{path}: {'is not empty' if full.is_dir() else 'is a file'}; expected a new or empty folder")
    return full


# How a temporary name goes on behind the name it stands for; before the mark of this package there was none.
_MARK, _EARLIER = r"\.trunkline-[0-9a-f]{8}", r"\.[a-z0-9_]{8}"


def clear_leftovers(path: Path) -> None:
    """Clear away what killed writers of `path` have left beside it; what somebody is writing now stays.

    An older directory that was moved aside is put back where nothing has taken its place.
    """
    for left in _left(path.parent, re.escape(path.name), _MARK):
        if _abandoned(left):
            _remove(left, path)


def recover_directory(path: Path) -> None:
    """Put back the older directory if a kill fell between the two renames of `atomic_directory`, when nothing is at `path`."""
    for left in _left(path.parent, re.escape(path.name), _MARK):
        if left.suffix == ".old":
            _remove(left, path)
    for left in _left(path.parent, re.escape(path.name), _EARLIER):
        _put_back(left, path)


def put_back_unmarked(folder: Path) -> None:
    """Put back what versions before the mark have moved aside in `folder`, if nothing has taken its place; remove nothing."""
    for left in _left(folder, ".+", _EARLIER):
        _put_back(left, folder / re.sub(rf"^\.|{_EARLIER}\.(tmp|old)$", "", left.name))


def _put_back(left: Path, path: Path) -> None:
    with suppress(OSError):
        if left.suffix == ".old" and not path.exists() and (left / "was").is_dir():
            os.replace(left / "was", path)
            left.rmdir()  # unless somebody keeps more in it


def sweep(folder: Path) -> None:
    """Clear away what killed writers have left in `folder` (not below), whatever they were writing.

    Args:
        folder: in which nobody but the caller is to write now, but with a lock.
    """
    for left in _left(folder, ".+", _MARK):
        if _abandoned(left, without_locks=True):
            _remove(left, folder / re.sub(rf"^\.|{_MARK}\.(tmp|old)$", "", left.name))


def _abandoned(left: Path, *, without_locks: bool = False) -> bool:
    """Whether the writer of `left` is gone; `without_locks` is the answer on a disk that has none."""
    with suppress(OSError):
        handle = os.open(left, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            return without_locks if (found := hold(handle)) is None else found
        finally:
            os.close(handle)
    return False


def _left(folder: Path, name: str, mark: str) -> list[Path]:
    pattern = re.compile(rf"\.{name}{mark}\.(tmp|old)")
    try:
        return sorted(entry for entry in folder.iterdir() if pattern.fullmatch(entry.name))
    except OSError:
        return []


def _remove(left: Path, path: Path) -> None:
    """Remove what a writer of `path` has left, or put it back."""
    with suppress(OSError):
        if left.suffix == ".old" and not path.exists() and (left / "was").exists():
            os.replace(left / "was", path)
        if left.is_dir() and not left.is_symlink():
            shutil.rmtree(left, ignore_errors=True)
        else:
            left.unlink()


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
