"""Keys that clients show: from a file, which is read again when it changes, and from the environment."""

from __future__ import annotations

import hashlib
import hmac
import logging
import os
import re
from collections.abc import Iterable
from pathlib import Path

from trunkline.errors import BadInput, TrunklineError
from trunkline.files import check_regular

log = logging.getLogger("trunkline.serving")

SHORTEST = 8  # characters of a key
LARGEST = 1 << 20  # bytes of a file of keys
_COMMENT = re.compile(r"(^|\s)#.*")  # a key may have a # in it

Digests = tuple[bytes, ...]
_Version = tuple[int, int, int]


class Keys:
    """Some keys, of which only sha256 digests are kept.

    Args:
        file: one key a line; a # at the beginning of a line, or behind a blank, begins a comment. It is read again
            whenever it has changed, so keys are exchanged without a restart. A file that cannot be read any more leaves the
            keys as they were; one without keys leaves none, and then nobody is let in.
        more: keys besides those of the file.
        where: what messages call `more`.

    Raises:
        BadInput: a file that cannot be read or holds no key; a key that is too short, or that a header cannot hold.
    """

    def __init__(self, file: Path | None = None, more: Iterable[str] = (), where: str = "keys") -> None:
        self.file = file
        self._more = tuple(_digest(_checked(key, where)) for key in more)
        self._version: _Version | None = None
        self._failed: str | None = None  # why the file could not be read, where that has been logged
        self._from_file: Digests = ()
        if file is not None:
            check_regular(file)
            self._version, self._from_file = _version(file), _read(file)
            if not self._from_file:
                raise BadInput(f"{file}: found no key, expected one a line")

    @property
    def given(self) -> bool:
        """Whether there were any at the start: from then on nobody is let in without one."""
        return self.file is not None or bool(self._more)

    def hold(self, key: str) -> bool:
        """Whether `key` is one of them, in a time that does not depend on which."""
        digest, found = _digest(key), False
        for known in self._current():
            found |= hmac.compare_digest(digest, known)
        return found

    def _current(self) -> Digests:
        if self.file is not None:
            try:
                version = _version(self.file)
                if version != self._version:
                    self._from_file = _read(self.file)
                    log.info("read the keys again: there are %d now", len(self._from_file) + len(self._more))
                    self._version, self._failed = version, None
            except (OSError, TrunklineError) as error:  # whose sentences name the file and the line, and repeat no key
                sentence = (
                    str(error) if isinstance(error, TrunklineError) else f"{self.file}: cannot be read ({error.strerror})"
                )
                if sentence != self._failed:
                    log.error("the keys stay as they were: %s", sentence)
                self._version, self._failed = None, sentence
        return self._from_file + self._more


def from_environment(name: str) -> list[str]:
    """The keys in an environment variable, divided by blanks, commas or line ends."""
    return os.environ.get(name, "").replace(",", " ").split()


def _version(file: Path) -> _Version:
    found = file.stat()
    return found.st_mtime_ns, found.st_size, found.st_ino


def _read(file: Path) -> Digests:
    check_regular(file)
    if file.stat().st_size > LARGEST:
        raise BadInput(f"{file}: found more than {LARGEST} bytes, expected a key a line")
    try:
        lines = file.read_text("utf-8-sig").splitlines()
    except (UnicodeDecodeError, OSError) as error:
        raise BadInput(f"{file}: cannot be read ({type(error).__name__}); expected a key a line") from None
    keys = {number: _COMMENT.sub("", line).strip() for number, line in enumerate(lines, start=1)}
    return tuple(_digest(_checked(key, f"{file} line {number}")) for number, key in keys.items() if key)


def _checked(key: str, where: str) -> str:
    if len(key) < SHORTEST or not key.isascii() or not key.isprintable() or " " in key:
        raise BadInput(
            f"{where}: found a key of {len(key)} characters, expected {SHORTEST} or more, visible ones of ASCII without blanks"
        )
    return key


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()
