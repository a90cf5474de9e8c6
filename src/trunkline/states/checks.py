"""Reading a store's manifest, and finding what of the store is not as it was written."""

from __future__ import annotations

import hashlib
import os
import stat
import time
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
from pydantic import ValidationError

from trunkline.errors import BadInput, TrunklineError
from trunkline.files import check_regular, read_object, sha256_file
from trunkline.states.manifest import DTYPES, FORMAT, Manifest, plan_shards, store_key

SETTLED = 2_000_000_000  # nanoseconds after which a file's time tells whether it was written again
_right: dict[Path, tuple[str | int, ...]] = {}  # by file, the checksum that it had, and how the system then described it

BUILD_AGAIN = "build it again, and the broken parts are computed again"


class Corrupt(TrunklineError):
    """A store that is not as it was written. Building it again mends it."""

    def __init__(self, path: Path, what: str) -> None:
        super().__init__(f"{path}: {what}; {BUILD_AGAIN}")
        self.what = what


class Broken(NamedTuple):
    """A shard of a layer that has to be computed again, and why."""

    layer: int
    shard: int
    what: str


def read_manifest(path: Path) -> tuple[Manifest, np.ndarray]:
    """Read and check `store.json` and `lengths` of the store at `path`; no file of states is looked at.

    Returns:
        tuple: the manifest and the lengths int32 (S,).

    Raises:
        BadInput: there is no store at `path`.
        Corrupt: one of the two is not as it was written.
        TrunklineError: it is of a newer format.
    """
    if not (path / "store.json").exists():
        raise BadInput(f"{path}: not a states store (it has no store.json)")
    try:
        found = read_object(path / "store.json")
    except BadInput as error:
        raise Corrupt(path, f"store.json is corrupt ({str(error).partition(': ')[2]})") from None
    version = found.get("format")
    if isinstance(version, int) and version > FORMAT:
        raise TrunklineError(
            f"{path}: written by a newer Trunkline (format {version}, this one reads {FORMAT}); upgrade, "
            "or delete this directory"
        )
    try:
        manifest = Manifest.model_validate(found)
    except ValidationError as error:
        where = ".".join(map(str, error.errors(include_input=False, include_url=False)[0]["loc"])) or "the top level"
        raise Corrupt(path, f"store.json is corrupt (at {where})") from None
    if store_key(manifest.key) != path.resolve().name:
        raise Corrupt(path, "a store built for another trunk or corpus (its name is not the key in its store.json)")
    return manifest, _read_lengths(path, manifest)


def _read_lengths(path: Path, manifest: Manifest) -> np.ndarray:
    sizes = [manifest.key.get(name) for name in ("hidden_size", "shard_bytes")]
    if manifest.key.get("dtype") not in DTYPES or not all(isinstance(size, int) and size > 0 for size in sizes):
        raise Corrupt(path, "store.json is corrupt (at key)")
    try:
        check_regular(path / "lengths")
        data = (path / "lengths").read_bytes()
    except (BadInput, OSError):
        raise Corrupt(path, "corrupt (the file lengths is missing or cannot be read)") from None
    if hashlib.sha256(data).hexdigest() != manifest.lengths:
        raise Corrupt(path, "corrupt (the file lengths has another checksum than store.json says)")
    lengths = np.frombuffer(data[: len(data) // 4 * 4], dtype="<i4")
    if len(data) % 4 or (lengths < 0).any() or not lengths.any():
        raise Corrupt(path, "corrupt (the file lengths holds no lengths)")
    planned = plan_shards(lengths, manifest.bytes_per_token, int(manifest.key["shard_bytes"]))
    if manifest.shards != planned or any(len(shards) != len(planned) for shards in manifest.layers.values()):
        raise Corrupt(path, "corrupt (the shard table of store.json does not fit its lengths)")
    entries = [entry for shards in manifest.layers.values() for entry in shards if entry is not None]
    if any((entry.scales is None) == (manifest.dtype == "int8") for entry in entries):
        raise Corrupt(path, "corrupt (int8 and its scales do not go together in store.json)")
    return lengths


def broken_shards(
    path: Path, manifest: Manifest, hashed: Collection[int] = (), shards: Collection[int] | None = None
) -> list[Broken]:
    """What is missing or has another size, and of the layers `hashed` (all shards, or those given) also what has another
    checksum, in order."""
    every = [(int(layer), shard) for layer in manifest.layers for shard in range(len(manifest.shards))]
    found = [Broken(*job, what) for job in every if (what := _sizes(path, manifest, *job))]
    known = {(one.layer, one.shard) for one in found}
    jobs = [job for job in every if job[0] in hashed and job not in known and (shards is None or job[1] in shards)]
    with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:  # hashing leaves the interpreter's lock
        whats = pool.map(lambda job: hashes(path, manifest, *job), jobs)
        found += [Broken(*job, what) for job, what in zip(jobs, whats, strict=True) if what]
    return sorted(found)


def _sizes(path: Path, manifest: Manifest, layer: int, shard: int) -> str | None:
    for name, size, _ in manifest.files(layer, shard):
        try:
            status = (path / name).stat()
        except OSError:
            return f"{name} is missing"
        if not stat.S_ISREG(status.st_mode):
            return f"{name} is no file"
        if status.st_size != size:
            return f"{name} has {status.st_size} bytes, expected {size}"
    return None


def hashes(path: Path, manifest: Manifest, layer: int, shard: int) -> str | None:
    """What is wrong with the checksums of a layer's shard; None where they are right.

    A file whose checksum was right before in this process, and that the system has not seen written since, is not read again.
    """
    for name, _, expected in manifest.files(layer, shard):
        file = path / name
        try:
            status = file.stat()
            stamp = (expected, status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
            if _right.get(file) == stamp:
                continue
            found = sha256_file(file)
        except FileNotFoundError:
            return f"{name} was removed while the store was in use"
        if found != expected:
            return f"{name} has changed since it was written"
        # Of a file that was just written, another write could have the same time.
        if time.time_ns() - max(status.st_mtime_ns, status.st_ctime_ns) > SETTLED:
            _right[file] = stamp
    return None
