"""Predictions that are done, kept beside an output file until it is whole, so that a run that was killed is resumed.

The folder `.NAME.trunkline-parts` beside the output NAME holds `manifest.json`, which says of which branches and options the
predictions are, and `part-N.json.gz` with those of the N-th chunk of rows. A part also holds the sha256 of what was read, so it
is used for the same texts only. The output itself is written anew from its first row when a run is resumed: what takes the time
is the pass of the trunk, and so every format is resumed alike, with the bytes of a run that was not killed.
"""

from __future__ import annotations

import gzip
import json
import os
import re
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from trunkline.errors import BadInput, TrunklineError
from trunkline.files import atomic_file, hold, sweep, write_errors

MARK = "trunkline parts"  # of the manifest: the folder is one that Trunkline has made
MANIFEST = "manifest.json"
_PART = re.compile(r"part-\d{8}\.json\.gz")


class Parts:
    """The finished parts of one output; nobody else writes there until it is closed.

    Args:
        output: the file that is to be written; its folder exists.
        identity: what the predictions depend on besides the texts, as JSON, by what messages call it.
        say: told, in a sentence, when parts that are there are of no use.

    Raises:
        BadInput: there is something of the folder's name that Trunkline has not written.
        TrunklineError: another process is predicting into the same file.
    """

    def __init__(self, output: Path, identity: Mapping[str, Any], say: Callable[[str], None]) -> None:
        self.output, self.say = output, say
        self.folder = output.with_name(f".{output.name}.trunkline-parts")
        self._manifest = {"format": MARK, "schema": 1, **identity}
        self._found: set[str] = set()  # those that may be used
        self._made: set[str] = set()  # of them those of this run
        self._ours = False  # whether the folder is one that may be written into
        self._handle: int | None = self._hold()
        try:
            self._open()
        except BaseException:
            self.close()
            raise

    def find(self, number: int, read: str) -> list[Any] | None:
        """Return the predictions of chunk `number` (from 0), if they were made of what has this sha256."""
        if self._name(number) not in self._found:
            return None
        try:
            with gzip.open(self.folder / self._name(number), "rt", encoding="utf-8") as file:
                part = json.load(file)
            if part["read"] == read:
                return list(part["answers"])
        except (OSError, EOFError, zlib.error, ValueError, KeyError, TypeError):
            part = None  # damaged: it is computed again
        if part is not None:
            place = f"from part {number + 1} on " if number else ""
            self.say(f"{self.folder}: the parts that are done are {place}of another input, so they are not used")
        self._found &= self._made  # one sentence is enough, and nothing behind it is likely to be of this input
        return None

    def is_earlier(self, number: int) -> bool:
        """Whether a part that was found is of an earlier run."""
        return self._name(number) not in self._made

    def keep(self, number: int, read: str, answers: list[Any]) -> None:
        """Keep the predictions of a chunk; once this returns they outlast a kill."""
        part = json.dumps({"read": read, "answers": answers}).encode()
        with atomic_file(self.folder / self._name(number)) as path:
            path.write_bytes(gzip.compress(part, compresslevel=1, mtime=0))
        self._made.add(self._name(number))
        self._found.add(self._name(number))

    def remove(self) -> None:
        """Remove what was kept, and the folder if nobody else has put anything there."""
        self._clear()
        self._remove_folder()

    def close(self) -> None:
        """Let others write there; a folder without parts is removed."""
        if self._handle is None:
            return
        try:
            if self._ours and not self._parts():
                self._remove_folder()
        finally:
            os.close(self._handle)
            self._handle = None

    @staticmethod
    def _name(number: int) -> str:
        return f"part-{number:08}.json.gz"

    def _hold(self) -> int:
        """Make the folder, if it is not there, and hold it before anything is read or written: another process that begins at
        the same moment finds it held.
        """
        while True:
            try:
                with write_errors(self.folder), suppress(FileExistsError):
                    self.folder.mkdir()
                handle = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            except FileNotFoundError:  # another process has removed it, as it was done
                continue
            except OSError as error:
                if isinstance(error, TrunklineError):
                    raise
                raise self._foreign() from None
            if hold(handle) is False:
                os.close(handle)
                raise TrunklineError(f"{self.output}: another process is predicting into this file")
            with suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(handle), os.lstat(self.folder)):
                    return handle
            os.close(handle)  # it was removed before it was held

    def _open(self) -> None:
        there = self._read_manifest()
        self._ours = True
        if there is not None:
            other = [what for what, value in self._manifest.items() if there.get(what) != value]
            if not other:
                self._found = self._parts()
                return
            self.say(f"{self.folder}: the parts that are done are of other {' and '.join(other)}, so they are not used")
        self._clear()
        with atomic_file(self.folder / MANIFEST) as path:
            path.write_text(json.dumps(self._manifest, indent=2), encoding="utf-8")

    def _read_manifest(self) -> dict[str, Any] | None:
        """The manifest of earlier parts; None where the folder is empty: new, or of a run killed at its start or end."""
        there = None
        with suppress(OSError, ValueError):
            there = json.loads((self.folder / MANIFEST).read_text(encoding="utf-8"))
        if there is not None and not (isinstance(there, dict) and there.get("format") == MARK):
            raise self._foreign()
        sweep(self.folder)
        if there is None and any(self.folder.iterdir()):
            raise self._foreign()
        return there

    def _foreign(self) -> BadInput:
        return BadInput(
            f"{self.folder}: found what Trunkline has not written, where it keeps finished parts of {self.output.name}; "
            "expected nothing of that name, or another output"
        )

    def _parts(self) -> set[str]:
        return {path.name for path in self.folder.iterdir() if _PART.fullmatch(path.name)}

    def _remove_folder(self) -> None:
        self._ours = False  # from now on it may be another process's
        (self.folder / MANIFEST).unlink(missing_ok=True)
        with suppress(OSError):  # somebody has put something there
            self.folder.rmdir()

    def _clear(self) -> None:
        for name in sorted(self._parts(), reverse=True):
            (self.folder / name).unlink(missing_ok=True)
        self._found.clear()


@contextmanager
def parts_beside(output: Path, identity: Mapping[str, Any], say: Callable[[str], None]) -> Iterator[Parts]:
    """Yield the finished parts of an output; they are removed when the block ends well, and kept otherwise."""
    parts = Parts(output, identity, say)
    try:
        yield parts
        parts.remove()
    finally:
        parts.close()
