"""Output files that a user names: they may be links, pipes or devices, and what is at their place is the user's."""

from __future__ import annotations

import errno
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO

from trunkline.files import FULL, clear_leftovers, sync, temporary_beside, temporary_name, write_errors


@contextmanager
def output_file(path: Path) -> Iterator[IO[bytes]]:
    """Yield a file to write what a user asked to have at `path`.

    What is there stays until the block ends well. Links are followed, a file that is replaced passes on its mode, a new one
    gets what the umask leaves. Pipes and devices, `/dev/stdout` among them, get everything as it is written. Where the system
    can (Linux), the file has no name before it is whole, so that a kill leaves nothing behind; elsewhere the next writer of the
    same `path` clears it away.

    Raises:
        NotWritten: there is no place for it, or it may not be written.
    """
    with write_errors(path, FULL), ExitStack() as stack:
        with write_errors(path):
            target, file = _opened(path, stack)
        yield file
        with write_errors(path):
            file.flush()
            if target is None:
                return
            os.fsync(file.fileno())
            os.replace(_named(file, target, stack), target)
            sync(target.parent)


def replaced_by(path: Path) -> Path | None:
    """Return the regular file that `output_file` makes or replaces for `path`, links followed; None for a pipe or a device."""
    if _descriptor(path) is not None or (path.exists() and not path.is_file()):
        return None
    return Path(os.path.realpath(path))


def _opened(path: Path, stack: ExitStack) -> tuple[Path | None, IO[bytes]]:
    """The regular file that is to be replaced, if `path` means one, and the file to write into."""
    target = replaced_by(path)
    if target is None:
        descriptor = _descriptor(path)
        return None, stack.enter_context(open(path if descriptor is None else os.dup(descriptor), "wb"))
    path = target
    before = path.stat() if path.exists() else None
    if before is not None and not os.access(path, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    clear_leftovers(path)
    handle = _unnamed(path.parent)
    whole = handle if handle is not None else stack.enter_context(temporary_beside(path, "tmp", folder=False))
    file: IO[bytes] = stack.enter_context(open(whole, "w+b"))  # noqa: SIM115 - the stack closes it
    if before is not None:
        with suppress(OSError):  # only root may give files away
            os.fchown(file.fileno(), before.st_uid, before.st_gid)
        os.fchmod(file.fileno(), stat.S_IMODE(before.st_mode))
    return path, file


def _descriptor(path: Path) -> int | None:
    """The open file of this process that a path such as /dev/stdout or /dev/fd/3 means."""
    for _ in range(40):  # more links than any system follows
        folder = os.path.realpath(path.parent)
        if path.name.isdecimal() and folder in ("/dev/fd", "/proc/self/fd", f"/proc/{os.getpid()}/fd"):
            return int(path.name)
        if not path.is_symlink():
            return None
        path = path.parent / os.readlink(path)
    return None


def _unnamed(folder: Path) -> int | None:
    """The descriptor of a file on the disk of `folder` that has no name, where the system can make one."""
    with suppress(AttributeError, OSError):
        return os.open(folder, os.O_TMPFILE | os.O_RDWR, 0o666)
    return None


def _named(file: IO[bytes], path: Path, stack: ExitStack) -> Path:
    """The temporary name of `file` beside `path`, given to it now if it has none; it is gone when `stack` is closed."""
    if not isinstance(file.name, int):
        return Path(file.name)
    temporary = temporary_name(path, "tmp")
    stack.callback(temporary.unlink, missing_ok=True)
    try:
        folder = os.open(path.parent, os.O_RDONLY)
        stack.callback(os.close, folder)
        os.link(f"/proc/self/fd/{file.fileno()}", temporary, src_dir_fd=folder, follow_symlinks=True)
    except OSError:  # no /proc here, or a disk that gives names to new files only
        temporary = stack.enter_context(temporary_beside(path, "tmp", folder=False))
        file.seek(0)
        with open(temporary, "wb") as copy:
            shutil.copyfileobj(file, copy)
            os.fchmod(copy.fileno(), stat.S_IMODE(os.fstat(file.fileno()).st_mode))
            copy.flush()
            os.fsync(copy.fileno())
    return temporary
