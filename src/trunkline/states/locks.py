"""Who may write, read and remove a store: one writer at a time, any number of readers, and no removal under either of them."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import filelock

from trunkline.errors import TrunklineError
from trunkline.states.handles import HeldFile


class InUse(Exception):
    """Somebody reads the store."""


def lock_of(path: Path) -> filelock.FileLock:
    """The lock of whoever writes or removes the store at `path`. It lies beside it, as it has to outlive the directory."""
    return filelock.FileLock(path.parent / f".{path.name}.lock")


def use(path: Path) -> HeldFile | None:
    """Claim the store at `path` for reading, until what is returned is closed; None where that cannot be done.

    The lock is a shared one of the file `used`, so that it works on a disk that is read-only and ends with the process.

    Raises:
        TrunklineError: somebody is removing the store.
    """
    removed = TrunklineError(f"{path}: another process is removing this store; run again, and it is computed again")
    try:
        file = _open(path / "used")
    except OSError:  # no such file on a disk that is read-only
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        gone = not os.path.samestat(os.fstat(file.fileno()), (path / "used").stat())
    except BlockingIOError:
        raise removed from None
    except FileNotFoundError:
        gone = True
    except OSError:  # a file system without such locks
        return None
    if gone:
        raise removed
    return file


@contextmanager
def unused(path: Path) -> Iterator[None]:
    """Hold the store at `path` for removal; InUse if somebody reads it, filelock.Timeout if somebody builds it."""
    with lock_of(path).acquire(timeout=0):
        try:
            file = _open(path / "used")
        except FileNotFoundError:  # nobody has opened it yet
            yield
            return
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise InUse from None
            yield


def _open(path: Path) -> HeldFile:
    return HeldFile(os.open(path, os.O_RDONLY | os.O_NONBLOCK))  # never waits, whatever is there
