"""Which data sets a store has been read for: a line of JSON for each of them and each split, in the file `data` of the store.

They are names that people know the data by, for `states info`; nothing depends on them, and no text is in them.
"""

from __future__ import annotations

import json
from contextlib import suppress
from datetime import date
from pathlib import Path
from typing import NamedTuple

from trunkline.errors import BadInput
from trunkline.files import check_regular

NAME = "data"
MOST_BYTES = 1 << 20


class Use(NamedTuple):
    """A split of a data set that a fit has read from the store, and the day of the first time."""

    data: str
    split: str
    since: str


def note_use(path: Path, data: str, split: str) -> None:
    """Note that the store at `path` was read for a split of a data set, if that can be done and is not noted yet."""
    known = read_uses(path)
    if any((use.data, use.split) == (data, split) for use in known):
        return
    line = json.dumps({"data": data, "split": split, "since": date.today().isoformat()}) + "\n"
    # Appended at once, so that two processes do not take each other's lines away. A disk that is read-only is as good.
    if (path / NAME).exists() and not (path / NAME).is_file():
        return
    with suppress(OSError), open(path / NAME, "a", encoding="utf-8") as file:
        if file.tell() + len(line) <= MOST_BYTES:
            file.write(line)


def read_uses(path: Path) -> list[Use]:
    """What is noted of the store at `path`, oldest first; lines that cannot be read are passed over."""
    try:
        check_regular(path / NAME)
        lines = (path / NAME).read_bytes()[:MOST_BYTES].splitlines()
    except (BadInput, OSError):
        return []
    found = []
    for line in lines:
        with suppress(ValueError, TypeError, KeyError, RecursionError):
            said = json.loads(line)
            use = Use(said["data"], said["split"], said["since"])
            if all(isinstance(part, str) for part in use):
                found.append(use)
    return found
