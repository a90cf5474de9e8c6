"""Which sequences a store holds: a digest of each, so that a sequence is found again in whatever corpus it stands.

The file `index` lies beside a store's `lengths`: the sha256 (32 bytes) of the store's key and of what follows, then the digest
(16 bytes, `Encoded.digests`) of each sequence, in the corpus' order. It follows from the corpus. Stores of version 0.1 lack it:
it is written when the same corpus is read again.
"""

from __future__ import annotations

import hashlib
from contextlib import suppress
from pathlib import Path

import filelock
import numpy as np

from trunkline.errors import TrunklineError
from trunkline.files import atomic_file, check_regular
from trunkline.states.locks import lock_of

NAME = "index"


def write_index(path: Path, digests: np.ndarray) -> None:
    """Write the index of the store at `path`, atomically; the caller holds its lock."""
    data = np.ascontiguousarray(digests, dtype="<u8").tobytes()
    with atomic_file(path / NAME) as temporary:
        temporary.write_bytes(_checksum(path, data) + data)


def ensure_index(path: Path, digests: np.ndarray) -> None:
    """Write the index of a store that has none, if that can be done now."""
    if read_index(path, len(digests)) is None:
        with suppress(OSError, TrunklineError, filelock.Timeout), lock_of(path).acquire(timeout=0):
            write_index(path, digests)


def read_index(path: Path, sequences: int) -> np.ndarray | None:
    """uint64 (sequences, 2): the digests of the sequences in the store at `path`; None where they are not known."""
    try:
        check_regular(path / NAME)
        data = (path / NAME).read_bytes()
    except (TrunklineError, OSError):
        return None
    if len(data) != 32 + 16 * sequences or data[:32] != _checksum(path, data[32:]):
        return None
    return np.frombuffer(data, dtype="<u8", offset=32).reshape(-1, 2)


def find(index: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Look up digests: for each of `wanted` (Q, 2) its first row in `index` (S, 2), int64 (Q,), -1 where there is none."""
    if not len(index):
        return np.full(len(wanted), -1, dtype=np.int64)
    order = np.argsort(index[:, 0], kind="stable")
    at = order[np.searchsorted(index[:, 0], wanted[:, 0], sorter=order).clip(max=len(index) - 1)]
    # Two digests with the same half are one, or the second is not found: then its states are computed once more.
    return np.where((index[at] == wanted).all(axis=1), at, -1)


def _checksum(path: Path, data: bytes) -> bytes:
    return hashlib.sha256(path.resolve().name.encode() + data).digest()
