"""Compiled graphs on disk: whether one is as it was written, and which are removed when another is made.

Graphs are made for one version of the libraries, and for one set of layers, so that many are never opened again.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import secrets
import shutil
import time
from pathlib import Path
from typing import Any

import filelock

from trunkline.errors import BadInput
from trunkline.files import directory_bytes, read_object, sha256_file

log = logging.getLogger(__name__)

DESCRIPTION = "graph.json"
UNUSED_DAYS = 30
LARGEST = 10_000_000_000  # bytes of all graphs together
DAY = 86_400

_KEY = r"[0-9a-f]{64}"
# What a process that was killed leaves: a graph on its way, and the exported one that it was made from.
_LEFT = re.compile(rf"\.{_KEY}\.trunkline-[0-9a-f]{{8}}\.(tmp|old)|trunkline-[a-z0-9_]{{8}}")


def sound(path: Path, parts: dict[str, Any]) -> bool:
    """Whether the graph at `path` was made of these parts, and its files are as they were written; it is noted as used then."""
    if not (path / DESCRIPTION).is_file():
        return False
    try:
        described = read_object(path / DESCRIPTION)
        files = dict(described["files"])
        good = described["made_of"] == parts and {file.name for file in path.iterdir()} == {*files, DESCRIPTION}
        good = good and all(sha256_file(path / name) == digest for name, digest in files.items())
    except (BadInput, KeyError, OSError, TypeError, ValueError):
        good = False
    if not good:
        log.warning("%s: corrupt; it is compiled again", path)
        return False
    with contextlib.suppress(OSError):  # of a cache that is read only
        os.utime(path / DESCRIPTION)
    return True


def prune(root: Path, keep: Path) -> list[Path]:
    """Remove graphs that were not used for UNUSED_DAYS, and the least recently used beyond LARGEST bytes in all.

    Args:
        root: the folder of graphs; what else lies there stays.
        keep: a graph that stays.

    Returns:
        What was removed.
    """
    now, removed = time.time(), []
    with contextlib.suppress(OSError):
        for path in root.iterdir():
            if _LEFT.fullmatch(path.name) and path.is_dir() and now - path.stat().st_mtime > DAY:
                shutil.rmtree(path, ignore_errors=True)
    found = [(used, path) for path in root.glob("*") if path != keep and (used := _last_used(path)) is not None]
    total = directory_bytes(keep) + sum(directory_bytes(path) for _, path in found)
    for used, path in sorted(found):
        if now - used <= UNUSED_DAYS * DAY and total <= LARGEST:
            break
        size = directory_bytes(path)
        if _remove(path):
            removed.append(path)
            total -= size
    return removed


def _last_used(path: Path) -> float | None:
    """Seconds since 1970; None of what is no graph."""
    if not re.fullmatch(_KEY, path.name):
        return None
    try:
        files = {*dict(read_object(path / DESCRIPTION)["files"]), DESCRIPTION}
        if {file.name for file in path.iterdir()} - files:  # something of somebody else
            return None
        return (path / DESCRIPTION).stat().st_mtime
    except (BadInput, KeyError, OSError, TypeError, ValueError):
        return None


def _remove(path: Path) -> bool:
    lock = path.with_name(f"{path.name}.lock")
    try:
        with filelock.FileLock(lock, timeout=0):
            aside = path.with_name(f".{path.name}.trunkline-{secrets.token_hex(4)}.old")  # a whole graph or none
            path.rename(aside)
            shutil.rmtree(aside, ignore_errors=True)
            lock.unlink(missing_ok=True)
        return True
    except (filelock.Timeout, OSError):  # it is being made, or is open where open files cannot be moved
        return False
