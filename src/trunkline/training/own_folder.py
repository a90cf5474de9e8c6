"""What the folders of runs and of students share: a mark, a lock, and errors for a folder that is another's."""

from __future__ import annotations

import fcntl
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trunkline.claiming import foreign_entry
from trunkline.errors import TRAIN_AGAIN, BadInput, TrunklineError
from trunkline.files import read_object, write_errors, write_json

LOCK = ".lock"
ANOTHER_FOLDER = "give another folder"


@dataclass(frozen=True)
class OwnFolder:
    """A kind of folder.

    Args:
        what: what is trained in it, as messages call that.
        mark: the file that is written before any other.
        marked: its content.
        named: how messages call such a folder.
        other: how they call one with another identity.
        is_own: tells whether a folder is of this kind.
    """

    what: str
    mark: str
    marked: Mapping[str, Any]
    named: str
    other: str
    is_own: Callable[[Path], bool]

    def refuse_other(self, path: Path) -> None:
        """Raise BadInput if `path` is neither a new or empty folder nor one of this kind. Nothing is written."""
        expected = f"expected a new or empty folder, or that of a {self.what}"
        if path.exists() and not path.is_dir():
            raise BadInput(f"{path}: is a file; {expected}")
        other = foreign_entry(path, self.mark, (LOCK,)) if path.is_dir() else None
        if other is not None and not self.is_own(path):
            raise BadInput(f"{path}: is not {self.named}, but contains {other.name!r}; {expected}")

    @contextmanager
    def claimed(self, path: Path) -> Iterator[None]:
        """Hold the folder for this process alone while the block runs; make and mark it if it is new.

        Raises:
            BadInput: it holds other things; nothing in it was touched.
            TrunklineError: another process holds it.
        """
        self.refuse_other(path)
        with write_errors(path):
            path.mkdir(parents=True, exist_ok=True)
        with open(path / LOCK, "a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise TrunklineError(f"{path}: another process is training this {self.what}") from None
            if not (path / self.mark).exists():
                write_json(path / self.mark, dict(self.marked))
            yield

    def check_identity(self, path: Path, states: Iterable[Path], identity: str) -> None:
        """Raise BadInput unless each file of `states`, which say how far a training got, has this identity."""
        for file in states:
            try:
                found = read_object(file).get("identity")
            except BadInput as error:
                error.option = TRAIN_AGAIN
                raise
            if found != identity:
                raise self.another(path)

    def another(self, path: Path) -> BadInput:
        """The error for a folder with another identity."""
        return BadInput(f"{path}: contains {self.other}", option=f"{ANOTHER_FOLDER}, or {TRAIN_AGAIN}")
