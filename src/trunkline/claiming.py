"""Whose a folder is until the file is there that marks it as Trunkline's."""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path


def foreign_entry(folder: Path, mark: str, begun: Collection[str] = ()) -> Path | None:
    """The first entry that no process leaves there which has begun to make the folder and has not marked it yet.

    Others may begin in the same moment, and a kill may fall between any two steps. So whoever finds such an entry looks for the
    mark once more: it may have come since, and other things after it.

    Args:
        folder: that exists.
        mark: the name of the file that is written, atomically, before anything that holds something.
        begun: names of what is made before the mark: empty files, and folders of nothing else, whose names end in "/".
    """
    temporary = re.compile(rf"\.{re.escape(mark)}\.trunkline-[0-9a-f]+\.tmp")
    for entry in sorted(folder.iterdir()):
        if temporary.fullmatch(entry.name) and not entry.is_dir():
            continue
        called = f"{entry.name}/" if entry.is_dir() else entry.name
        if called not in begun or not _holds_nothing(entry):
            return entry
    return None


def _holds_nothing(entry: Path) -> bool:
    if entry.is_symlink():
        return False
    if entry.is_dir():
        return all(map(_holds_nothing, entry.iterdir()))
    return entry.is_file() and not entry.stat().st_size
