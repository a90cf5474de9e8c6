"""What the states stores take on disk: the need before a build, the stores that are there, and which to throw away."""

from __future__ import annotations

import logging
import os
import re
import shutil
import tempfile
import time
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import filelock

from trunkline.errors import BadInput, TrunklineError
from trunkline.states.checks import broken_shards, read_manifest
from trunkline.states.locks import InUse, unused
from trunkline.states.manifest import Manifest, bytes_per_token
from trunkline.states.uses import Use, read_uses

log = logging.getLogger(__name__)


class OverBudget(BadInput):
    """A store that would be larger than it may be; nothing has been written."""


def needed_bytes(tokens: int, hidden_size: int, layers: int, dtype: str = "bf16") -> int:
    """Bytes on disk of the states of `tokens` tokens in `layers` layers of width `hidden_size`."""
    return tokens * layers * bytes_per_token(hidden_size, dtype)


def readable(count: float) -> str:
    """A number of bytes for people, in powers of 1000: ``"1.9 GB"``."""
    unit, larger = "bytes", ["KB", "MB", "GB", "TB"]
    while count >= 999.5 and larger:
        count, unit = count / 1000, larger.pop(0)
    return f"{count:.0f} {unit}" if unit == "bytes" or count >= 99.5 else f"{count:.1f} {unit}"


def check_budget(manifest: Manifest, missing: list[list[int]], root: Path, budget_bytes: int | None) -> None:
    """Raise OverBudget if the layers in `missing`, a list for each shard, are more than may be written.

    Without a budget half of the free disk may be filled; with one, the whole store has to stay within it and the disk.
    """
    need = manifest.bytes_per_token * sum(
        shard.tokens * len(layers) for shard, layers in zip(manifest.shards, missing, strict=True)
    )
    if not need:
        return
    free = shutil.disk_usage(next(folder for folder in (root, *root.absolute().parents) if folder.exists())).free
    if budget_bytes is None:
        allowed, why = free // 2, f"half of the {readable(free)} that are free under {root}"
    else:
        there = sum(size for _, size, _ in manifest.all_files())
        allowed, why = budget_bytes - there, f"of a budget of {readable(budget_bytes)}"
        if free < allowed:
            allowed, why = free, f"what is free under {root}"
    if need > allowed:
        layers = len({layer for some in missing for layer in some})
        raise OverBudget(
            f"the states of {manifest.texts:,} texts ({manifest.tokens:,} tokens x {layers} layers x {manifest.hidden_size}"
            f" numbers in {manifest.dtype}) need {readable(need)} on disk, but {readable(max(allowed, 0))} are allowed ({why});"
            " read fewer layers, use training.states_dtype: int8 or training.states: live, or allow more with"
            " training.states_budget_gb"
        )


@dataclass(frozen=True)
class StoreInfo:
    """One store of a root; where `problem` is given, it cannot be used and the rest may be empty."""

    key: str
    path: Path
    bytes: int
    last_used: float  # seconds since 1970
    trunk: str = ""
    dtype: str = ""
    layers: tuple[int, ...] = ()
    texts: int = 0
    tokens: int = 0
    problem: str | None = None
    computed_in: str = ""  # precision of the trunk
    stack: str = ""
    created: float = 0.0  # seconds since 1970
    data: tuple[Use, ...] = ()  # the data sets that it has been read for


def list_stores(root: Path) -> list[StoreInfo]:
    """All stores under `root`, the most recently used first."""
    found = [_describe(path) for path in root.iterdir() if _is_store(path)] if root.is_dir() else []
    return sorted((info for info in found if info is not None), key=lambda info: (-info.last_used, info.key))


def _is_store(path: Path) -> bool:
    return re.fullmatch("[0-9a-f]{64}", path.name) is not None and path.is_dir()


def _describe(path: Path) -> StoreInfo | None:
    """What is known of the store at `path`, which another process may be building or removing; None where it is gone."""
    used = path / "used"
    try:
        sizes = [status.st_size for file in path.iterdir() if (status := _status(file))]
        last = (_status(used) or path.stat()).st_mtime
    except FileNotFoundError:
        return None
    except OSError as error:
        return StoreInfo(path.name, path, 0, 0.0, problem=f"{path}: cannot be read ({error.strerror})")
    try:
        manifest, _ = read_manifest(path)
        broken = broken_shards(path, manifest)
    except (TrunklineError, OSError) as error:
        return StoreInfo(path.name, path, sum(sizes), last, problem=str(error))
    layers = manifest.complete()
    problem = None if layers else "unfinished; building it again resumes"
    if broken:
        problem = f"{broken[0].what}; building it again computes that part again"
    created = _status(path / "lengths")
    return StoreInfo(
        key=path.name,
        path=path,
        bytes=sum(sizes),
        last_used=last,
        trunk=manifest.trunk,
        dtype=manifest.dtype,
        layers=layers,
        texts=manifest.texts,
        tokens=manifest.tokens,
        problem=problem,
        computed_in=str(manifest.key.get("computed_in", "")),
        stack=str(manifest.key.get("stack", "")),
        created=created.st_mtime if created else last,
        data=tuple(read_uses(path)),
    )


def _status(file: Path) -> os.stat_result | None:
    try:
        return file.stat()
    except FileNotFoundError:  # a temporary file of a build that has just been given its name
        return None


def prune(
    root: Path,
    *,
    keep_bytes: int | None = None,
    older_than_days: float | None = None,
    keys: Collection[str] = (),
    all: bool = False,
    dry_run: bool = False,
) -> list[StoreInfo]:
    """Remove stores, least recently used first, and return those removed. A store that is being built or read stays.

    Args:
        root (Path): the directory of the stores; nothing in it but stores is touched.
        keep_bytes (int): remove until the rest is at most this large.
        older_than_days (float): remove those not used for so long.
        keys (Collection[str]): remove these; the first digits of a key are enough if no other key begins with them.
        all (bool): remove every store.
        dry_run (bool): remove nothing; return those that would be.
    """
    if keep_bytes is None and older_than_days is None and not keys and not all:
        raise BadInput("prune: expected the stores to remove: a size to keep, an age in days, keys, or all")
    stores = list_stores(root)[::-1]
    doomed = {_by_prefix(key, stores).key for key in keys}
    left, removed = sum(info.bytes for info in stores), []
    for info in stores:
        aged = older_than_days is not None and info.last_used < time.time() - older_than_days * 86400
        over = keep_bytes is not None and left > keep_bytes
        if (all or aged or over or info.key in doomed) and _remove(info.path, dry_run):
            removed.append(info)
            left -= info.bytes
    return removed


def _by_prefix(key: str, stores: list[StoreInfo]) -> StoreInfo:
    found = [info for info in stores if info.key.startswith(key)]
    if len(found) != 1:
        raise BadInput(f"prune: {len(found) or 'no'} stores have a key that begins with {key!r}, expected one")
    return found[0]


# What a store, also one of a build that was killed, has in it.
_OWN = re.compile(r"store\.json|lengths|index|data|used|layer-\d+\.shard-\d+\.(states|scales)|\..+\.tmp")
_REMOVED = re.compile(r"\.[0-9a-f]{64}\..+\.removed")


def _remove(path: Path, dry_run: bool) -> bool:
    """Whether the store has been removed, or could be; if it stays, a warning says why."""
    try:
        with unused(path):
            if unknown := next((file.name for file in path.iterdir() if not _OWN.fullmatch(file.name) or file.is_dir()), None):
                log.warning("%s holds %s, which does not belong to a store, so it is kept", path, unknown)
                return False
            if dry_run:
                return True
            # Renamed first, so that a removal cut short leaves no half store; the next removal finishes it.
            doomed = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".removed", dir=path.parent))
            path.rename(doomed / path.name)
    except filelock.Timeout:
        log.warning("%s is being built, so it is kept", path)
        return False
    except InUse:
        log.warning("%s is being read, so it is kept", path)
        return False
    except OSError as error:
        log.warning("%s cannot be removed (%s), so it is kept", path, error.strerror or error)
        return False
    for left in path.parent.iterdir():
        if _REMOVED.fullmatch(left.name):
            shutil.rmtree(left, ignore_errors=True)
    return True
