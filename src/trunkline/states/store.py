"""The states store: layer states computed once, on disk, read back by layer and batch.

`build_store` runs the trunk over a corpus and `StatesStore` is the feed that training reads instead of the trunk.
The files are described in manifest.py.

The checksums of the layers that a run asks for are compared when `build_store` finds them built, and what is broken is computed
again; in a store that is merely opened, a shard's are compared when the first row of it is read. So nothing corrupt is ever
trained on: sha256 runs at 1.4 GB/s on one core, which is one to two seconds for 16,000 tweets x 7 layers, once. Rows are read
in place from the system's cache of the files (preadv), one call for rows that lie end to end, and not through a memory map: the
pages of a map count as resident memory until it is given up, and faulting them in again costs more than the call. An epoch of
350,000 tokens x 7 layers x 384 in shuffled batches took 0.50 s of processor time with preadv and nothing resident, 0.58 s and
350 MB with maps given up every 32 MB, and 0.40 s with maps that are kept and the whole store resident.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import filelock
import numpy as np
import torch
from torch import Tensor

from trunkline.errors import BadInput, TrunklineError
from trunkline.files import cache_dir
from trunkline.states import manifest as m
from trunkline.states.budget import check_budget
from trunkline.states.checks import BUILD_AGAIN, Corrupt, broken_shards, hashes, read_manifest
from trunkline.states.fill import Fill, Progress, complete, fill_here
from trunkline.states.handles import Handles, HeldFile
from trunkline.states.live import ReceiveRows
from trunkline.states.locks import lock_of, use
from trunkline.states.quantise import dequantise

if TYPE_CHECKING:
    from trunkline.inputs.encoded import Encoded
    from trunkline.trunk.load import Trunk

log = logging.getLogger(__name__)

BATCH_TOKENS = 4096


class Run(NamedTuple):
    """Rows that lie end to end both in the batch and in one shard."""

    shard: int
    first: int  # row of the shard
    start: int  # rows start:stop of the batch
    stop: int


class StatesStore:
    """A feed that reads the states from disk. Made by `open` or `build_store`.

    Attributes:
        path (Path): its directory, named by its key.
        layers (tuple): the layers that are there whole, rising.
        hidden_size (int): K.
        dtype (str): of the numbers on disk: bf16, fp32 or int8.
        lengths (ndarray): int32 (S,), tokens of each sequence of the corpus.
    """

    def __init__(self, path: Path, manifest: m.Manifest, lengths: np.ndarray, claim: HeldFile | None = None) -> None:
        self.path, self.manifest, self.lengths = path, manifest, lengths
        self._claim = claim  # held for as long as the store is used, so that nobody removes it
        self.layers, self.hidden_size, self.dtype = manifest.complete(), manifest.hidden_size, manifest.dtype
        order = m.length_order(lengths)
        self._first = np.empty(len(lengths), dtype=np.int64)  # row of each sequence's first token, through all shards
        self._first[order] = np.cumsum(lengths[order], dtype=np.int64) - lengths[order]
        self._shard_starts = np.cumsum([0] + [shard.tokens for shard in manifest.shards])
        self._files = Handles()
        self._sound: set[tuple[int, int]] = set()  # (layer, shard) whose checksums have been compared

    @classmethod
    def open(cls, path: str | Path, *, trunk: Trunk | None = None, encoded: Encoded | None = None) -> StatesStore:
        """Open the store at `path`; with a trunk or a corpus given, refuse a store that was made of another.

        Raises:
            BadInput: no store there, or one built for another trunk or corpus.
            TrunklineError: corrupt, unfinished, of a newer format or being removed. Checksums of the states are compared when
                first read.
        """
        path = Path(path)
        if (path / "store.json").exists():
            with suppress(OSError):  # a store on a disk that only others may write is as good
                (path / "used").touch()
        claim = use(path)
        manifest, lengths = read_manifest(path)
        if broken := broken_shards(path, manifest):
            raise Corrupt(path, f"corrupt ({broken[0].what})")
        given: dict[str, object] = {}
        if trunk is not None:
            given |= {**asdict(trunk.fingerprint), "stack": trunk.stack}
        if encoded is not None:
            given |= {"texts": encoded.digest()}
        for part, value in given.items():
            if manifest.key.get(part, value) != value:  # stores of older versions know less of their trunk
                raise BadInput(f"{path}: a store of another trunk or corpus (its {part} differ); build one for this")
        if not manifest.complete():
            raise TrunklineError(f"{path}: no layer of this store is finished; build it again to resume")
        return cls(path, manifest, lengths, claim)

    def feed(self, sequences: np.ndarray, layers: Collection[int], receive: ReceiveRows) -> None:
        """Read the states of `sequences` (B,) and hand them over by layer, on the CPU: bf16, or fp32 from an fp32 store.

        The rows (N, K) are the receiver's own. Layers that are not asked for are not opened.
        """
        if absent := sorted(set(layers) - set(self.layers)):
            raise TrunklineError(
                f"{self.path}: has no layer {absent[0]} (it has {list(self.layers)}); build it with that layer"
            )
        sequences = np.asarray(sequences)
        lengths = self.lengths[sequences].astype(np.int64)
        hand_over([(self, self.locate(sequences, np.cumsum(lengths) - lengths))], int(lengths.sum()), layers, receive)

    def locate(self, sequences: np.ndarray, starts: np.ndarray) -> list[Run]:
        """Return where the rows of `sequences` (B,) lie, shard after shard; `starts` (B,) are their first rows in the batch."""
        if not len(sequences):
            return []
        firsts, lengths = self._first[sequences], self.lengths[sequences].astype(np.int64)
        shards = self._shard_of(sequences)
        joined = (firsts[1:] == (firsts + lengths)[:-1]) & (starts[1:] == (starts + lengths)[:-1]) & (shards[1:] == shards[:-1])
        heads = np.concatenate([[0], np.flatnonzero(~joined) + 1])
        tails = np.append(heads[1:] - 1, len(sequences) - 1)
        columns = shards[heads], (firsts - self._shard_starts[shards])[heads], starts[heads], (starts + lengths)[tails]
        by_shard = np.argsort(shards[heads], kind="stable")  # each of its files is opened once a batch
        return [Run(*run) for run in zip(*(column[by_shard].tolist() for column in columns), strict=True)]

    def _shard_of(self, sequences: np.ndarray) -> np.ndarray:
        return np.searchsorted(self._shard_starts, self._first[sequences], side="right") - 1

    def read(self, name: Callable[[int, int], str], layer: int, runs: list[Run], out: Tensor) -> None:
        """Fill the rows `runs` of `out` (N, ...) from the files of one layer that are called `name(layer, shard)`."""
        data = out.view(torch.uint8).numpy().reshape(-1).data
        width = len(data) // len(out) if len(out) else 0
        read, opened = 0, None
        for shard, first, start, stop in runs:  # the hot loop of training: 1 to 2 microseconds a run besides the copying
            if shard != opened:
                opened, file = shard, self._open(name, layer, shard)
                handle = file.fileno()
            read += os.preadv(handle, (data[start * width : stop * width],), first * width)
        if read != width * sum(run.stop - run.start for run in runs):
            raise TrunklineError(f"{self.path}: layer {layer} has changed since it was opened; {BUILD_AGAIN}")

    def _open(self, name: Callable[[int, int], str], layer: int, shard: int) -> HeldFile:
        if (layer, shard) not in self._sound:
            self._verify(layer, shard)
        path = self.path / name(layer, shard)
        with self._gone(path.name):
            return self._files.open(path)

    @contextmanager
    def _gone(self, name: str) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError:
            raise TrunklineError(f"{self.path}: {name} was removed while the store was in use; build the store again") from None

    def verify(self, layers: Collection[int] | None = None, sequences: np.ndarray | None = None) -> None:
        """Compare the checksums of `layers` (all by default), where `sequences` (all by default) lie; raise Corrupt
        naming the first bad file."""
        wanted = self.layers if layers is None else layers
        shards = range(len(self.manifest.shards)) if sequences is None else np.unique(self._shard_of(sequences)).tolist()
        if broken := broken_shards(self.path, self.manifest, hashed=wanted, shards=shards):
            raise Corrupt(self.path, f"corrupt ({broken[0].what})")
        self._sound |= {(layer, shard) for layer in wanted for shard in shards}

    def _verify(self, layer: int, shard: int) -> None:
        if what := hashes(self.path, self.manifest, layer, shard):
            raise Corrupt(self.path, f"corrupt ({what})")
        self._sound.add((layer, shard))


def hand_over(parts: list[tuple[StatesStore, list[Run]]], total: int, layers: Collection[int], receive: ReceiveRows) -> None:
    """Read a batch of `total` rows, of which each store has some, and hand it over by layer. The stores have one dtype."""
    width, dtype = parts[0][0].hidden_size, parts[0][0].dtype
    for layer in sorted(set(layers)):
        states = torch.empty(total, width, dtype=m.DTYPES[dtype])
        for store, runs in parts:
            store.read(m.states_name, layer, runs, states)
        if dtype == "int8":
            scales = torch.empty(total)
            for store, runs in parts:
                store.read(m.scales_name, layer, runs, scales)
            states = dequantise(states, scales)
        receive(layer, states)


def build_store(
    trunk: Trunk,
    encoded: Encoded,
    root: Path | None = None,
    layers: Collection[int] | None = None,
    dtype: str = "bf16",
    batch_tokens: int = BATCH_TOKENS,
    budget_bytes: int | None = None,
    progress: Progress | None = None,
    fill: Fill = fill_here,
) -> StatesStore:
    """Return the store of `encoded` with at least `layers`, computing what is missing of it.

    A killed build resumes at the first missing shard and ends with the same bytes: the batches are fixed by the
    key. What is there but broken (missing, of another size or checksum) is computed again, with a warning. Two processes
    that build one store take turns.

    Args:
        trunk (Trunk): whose states.
        encoded (Encoded): the corpus, encoded by that trunk.
        root (Path): the directory of the stores; by default `states` in the cache.
        layers (Collection[int]): 0 is the embedding output, i the output of block i; all by default.
        dtype (str): bf16, fp32 or int8, on disk.
        batch_tokens (int): padded tokens of a batch while building; part of the key.
        budget_bytes (int): what the whole store may take on disk; by default half of the free space may be filled.
        progress (Callable): called with tokens done and tokens to do, from 0.
        fill (Fill): fills the shards that are missing.

    Raises:
        OverBudget: before anything is written.
        TrunklineError: a store of a newer format is in the way, the disk is full, or the trunk gives numbers that are not
            finite.
    """
    wanted = wanted_layers(trunk, layers)
    parts = m.key_parts(trunk, encoded, dtype, batch_tokens)
    root = cache_dir() / "states" if root is None else Path(root)
    path = root / m.store_key(parts)
    if not _is_built(path, wanted):  # tried without the lock, so that a finished store may be on a disk that is read-only
        try:
            root.mkdir(parents=True, exist_ok=True)
            with _turn(path):
                complete(path, trunk, encoded, parts, wanted, budget_bytes, progress, fill)
        except OSError as error:
            cause = error.__cause__ if isinstance(error.__cause__, OSError) else error
            raise TrunklineError(
                f"{path}: cannot write the states store ({cause.strerror or cause}); finished parts are kept, and the next "
                "build resumes"
            ) from error
    store = StatesStore.open(path)
    # Hashed a moment ago, on their way to the disk or when they were found there.
    store._sound |= {(layer, shard) for layer in wanted for shard in range(len(store.manifest.shards))}
    return store


def check_room(
    trunk: Trunk,
    encoded: Encoded,
    root: Path,
    layers: Collection[int] | None = None,
    dtype: str = "bf16",
    batch_tokens: int = BATCH_TOKENS,
    budget_bytes: int | None = None,
) -> None:
    """Raise OverBudget where `build_store` with these arguments would, now. Nothing is computed or written."""
    parts, wanted = m.key_parts(trunk, encoded, dtype, batch_tokens), wanted_layers(trunk, layers)
    try:
        manifest, _ = read_manifest(root / m.store_key(parts))
    except (BadInput, Corrupt):
        manifest = m.plan(trunk, encoded, parts)
    check_budget(manifest, [manifest.missing(shard, wanted) for shard in range(len(manifest.shards))], root, budget_bytes)


def wanted_layers(trunk: Trunk, layers: Collection[int] | None) -> list[int]:
    """The layers in order, all where `None` is given; BadInput where the trunk has no such."""
    wanted = sorted(set(range(trunk.num_layers + 1) if layers is None else layers))
    if not wanted or wanted[0] < 0 or wanted[-1] > trunk.num_layers:
        raise BadInput(f"states of layers {wanted}: expected some of 0 to {trunk.num_layers}")
    return wanted


def _is_built(path: Path, wanted: Collection[int]) -> bool:
    """Whether all shards of the `wanted` layers are there, with their checksums."""
    try:
        manifest, _ = read_manifest(path)
    except (BadInput, Corrupt):
        return False
    return set(wanted) <= set(manifest.complete()) and not broken_shards(path, manifest, hashed=wanted)


@contextmanager
def _turn(path: Path) -> Iterator[None]:
    lock = lock_of(path)
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        log.warning("another process builds %s; waiting for it", path)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()
