"""Audio clips as data have them: names of files in a column, or samples in memory.

To whatever handles rows of data a clip is a text, its name; only the processor of a trunk that reads audio opens it. So all
that is done with a column of texts is done with one of clips: splits, duplicates, blanks.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np

from trunkline.data.table import Table
from trunkline.errors import BadInput

EXPECTED = "the name of an audio file, a one-dimensional array of samples, or {'array': samples, 'sampling_rate': Hz}"


class Clip(str):
    """One clip: a string that is the absolute path of its file or, of samples in memory, a name by their digest.

    Attributes:
        place: how messages name it.
        samples: float32 (n,), read-only; None of a file.
        rate: Hz, of samples in memory where it was given.
    """

    place: str
    samples: np.ndarray | None
    rate: int | None

    @classmethod
    def of_file(cls, name: str, folder: Path) -> Clip:
        """The clip in a file; a relative name is looked for in `folder`. Nothing is read."""
        path = Path(name)
        with suppress(RuntimeError):  # there is no such user: it is a name like others
            path = path.expanduser()
        clip = cls(os.path.abspath(folder / path))
        clip.place, clip.samples, clip.rate = str(clip), None, None
        return clip

    @classmethod
    def of(cls, given: Any, place: str, folder: Path = Path()) -> Clip:
        """The clip that a program gives, in any of the forms of EXPECTED; `place` is how messages name it.

        Raises:
            BadInput: something else; samples that are not one channel of floats.
        """
        if isinstance(given, Clip):
            return given
        if isinstance(given, str | os.PathLike):
            name = os.fspath(given)
            if what := _no_name(name):
                raise BadInput(f"{place}: found {what}, expected {EXPECTED}")
            return cls.of_file(name, folder)
        rate = None
        if isinstance(given, Mapping) and {"array", "sampling_rate"} <= given.keys():
            given, rate = given["array"], given["sampling_rate"]
            if isinstance(rate, bool) or not isinstance(rate, int | float | np.number) or rate != int(rate) or rate <= 0:
                raise BadInput(f"{place}: found {type(rate).__name__} as the sampling rate, expected a whole number of Hz")
        try:
            array = np.asarray(given)
        except (TypeError, ValueError, RuntimeError):  # a tensor elsewhere, a list of lists of other lengths
            array = np.empty(0, object)
        if array.dtype.kind not in "iuf" or array.ndim == 0:
            raise BadInput(f"{place}: found {type(given).__name__}, expected {EXPECTED}")
        if array.ndim != 1:
            raise BadInput(f"{place}: found an array of {array.ndim} dimensions, expected one channel: one dimension")
        if array.dtype.kind != "f":
            raise BadInput(f"{place}: found samples of type {array.dtype}, expected floats between -1 and 1")
        samples = np.array(array, dtype=np.float32)
        samples.setflags(write=False)
        digest = blake2b(samples.astype("<f4").tobytes(), digest_size=16, person=str(rate or "").encode()[:16]).hexdigest()
        clip = cls(f"clip {digest}")
        clip.place, clip.samples, clip.rate = place, samples, None if rate is None else int(rate)
        return clip

    @property
    def path(self) -> Path:
        """Of its file."""
        return Path(str(self))

    @property
    def stamp(self) -> tuple[int, int] | None:
        """Size and time of its file, which change when the file does; None of what is no file."""
        if self.samples is not None:
            return None
        try:
            status = self.path.stat()
        except OSError:
            return None
        return status.st_size, status.st_mtime_ns

    def __reduce__(self) -> tuple[Any, ...]:
        return _again, (str(self), self.place, self.samples, self.rate)


def _again(name: str, place: str, samples: np.ndarray | None, rate: int | None) -> Clip:
    clip = Clip(name)
    clip.place, clip.samples, clip.rate = place, samples, rate
    return clip


def clips(table: Table, name: str, where: str = "data.audio") -> list[Clip]:
    """Return a column as clips; file names are relative to the data file that has them. No file is opened.

    Raises:
        BadInput: a value that is no file name and no clip.
    """
    values = table.column(name, where)

    def parse() -> list[Clip]:
        found = []
        for row, value in enumerate(values):
            if not isinstance(value, Clip) and (what := _no_name(value)):
                raise BadInput(f"{table.where(row)}: {table.named(name)} holds {what}, expected the name of an audio file")
            if not isinstance(value, Clip):
                value = Clip.of_file(value, _folder(table, row))
                value.place = f"{value} ({table.where(row)})"
            found.append(value)
        return found

    return table.parsed(("clips", name), parse)


def _no_name(value: object) -> str:
    """What a value is that cannot be the name of a file; empty if it can."""
    if not isinstance(value, str):
        return "nothing" if value is None else type(value).__name__
    if not value.strip():
        return "a blank string"
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", value):
        return "a URL"
    try:
        return "a string with a NUL character" if b"\0" in os.fsencode(value) else ""
    except UnicodeEncodeError:
        return "a string with a lone surrogate"


def _folder(table: Table, row: int) -> Path:
    """Where the file of a row's table is; the working directory, if it is no file."""
    source = table.files[row] if table.files is not None else table.source
    for name in (source, source.rpartition(":")[0]):  # such as a sheet of a workbook
        if name:
            path = Path(name).expanduser()
            if path.is_dir():
                return path
            if path.is_file():
                return path.parent
    return Path()
