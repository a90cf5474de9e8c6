"""The files that stores keep open between batches: all stores of a process together stay well below its limit of open files."""

from __future__ import annotations

import io
import resource
import threading
import weakref
from collections import OrderedDict
from pathlib import Path
from typing import Any

_live: weakref.WeakSet[Handles] = weakref.WeakSet()
_lock = threading.Lock()


def most_open() -> int:
    """How many files may be open for all stores together: at most 256, at most a quarter of the process's limit."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 256 if soft == resource.RLIM_INFINITY else max(8, min(256, soft // 4))


class HeldFile(io.FileIO):
    """A file open for reading that is closed when nobody holds it any more: that is its rule, and needs no ResourceWarning.

    Args:
        file: its path, or the number of an open file, which is then its own.
    """

    def __init__(self, file: Any) -> None:
        super().__init__(file, "rb")

    def __del__(self) -> None:
        self.close()


class Handles:
    """The open files of one store, the least recently used of them closed first. An equal share of `most_open` is its own."""

    def __init__(self) -> None:
        self._files: OrderedDict[Path, HeldFile] = OrderedDict()
        self._own = threading.Lock()
        with _lock:
            _live.add(self)
            others = list(_live)
        for other in others:  # whose shares are smaller from now on
            other._keep(_share())

    def open(self, path: Path) -> HeldFile:
        """The file at `path`, open for reading. It is closed when it is pushed out and nobody holds it any more."""
        with self._own:
            file = self._files.pop(path, None) or HeldFile(path)
            self._files[path] = file
        self._keep(_share())
        return file

    def _keep(self, count: int) -> None:
        with self._own:
            while len(self._files) > count:
                self._files.popitem(last=False)


def _share() -> int:
    with _lock:
        return max(1, most_open() // max(1, len(_live)))
