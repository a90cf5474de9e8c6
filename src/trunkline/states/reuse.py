"""Layer states of a corpus from several stores: each sequence is computed once, in whatever data set it stands.

A state depends on the trunk and on the tokens of its own sequence, so what one store holds serves every corpus with that
sequence: other splits of the same file, other folds, more or fewer rows. `find_stored` looks the sequences of a corpus up in
the stores that are there, `open_states` computes those that no store has into a new store, and `JoinedStates` reads them all.

Which sequences are padded together moves a state by rounding. So a corpus with a store of its own is read from that, and a run
notes which stores it reads: resuming reads the same ones.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from trunkline.errors import TrunklineError
from trunkline.files import cache_dir
from trunkline.states import manifest as m
from trunkline.states.budget import needed_bytes
from trunkline.states.checks import Corrupt, read_manifest
from trunkline.states.fill import Fill, Progress, fill_here
from trunkline.states.index import ensure_index, find, read_index
from trunkline.states.live import ReceiveRows
from trunkline.states.store import BATCH_TOKENS, StatesStore, build_store, hand_over, wanted_layers

if TYPE_CHECKING:
    from trunkline.inputs.encoded import Encoded
    from trunkline.trunk.load import Trunk

log = logging.getLogger(__name__)

LEAST_SHARE = 0.01  # a store that adds fewer of the sequences than this is left out: opening and checking it costs more
_APART = ("format", "texts", "batch_tokens", "shard_bytes")  # parts of a key that do not say what a state is but for rounding


@dataclass(frozen=True)
class Stored:
    """Where the sequences of a corpus are stored.

    Attributes:
        encoded: the corpus, of S sequences.
        stores: open, so that nobody removes them.
        number: int32 (S,), which of `stores` holds a sequence; -1: none.
        place: int64 (S,), its number there.
    """

    encoded: Encoded
    stores: tuple[StatesStore, ...]
    number: np.ndarray
    place: np.ndarray

    @property
    def keys(self) -> list[str]:
        """The names of the stores, in the order in which they were looked at."""
        return [store.path.name for store in self.stores]

    @property
    def missing(self) -> np.ndarray:
        """int64: the sequences that no store holds."""
        return np.flatnonzero(self.number < 0)

    @property
    def lacking(self) -> Encoded | None:
        """The sequences that no store holds as a corpus of their own, each once; the whole corpus where nothing is stored."""
        if not self.stores:
            return self.encoded
        missing = self.missing
        if not len(missing):
            return None
        _, first = np.unique(self.encoded.digests[missing], axis=0, return_index=True)
        return self.encoded.select(missing[np.sort(first)])

    def without(self, broken: Collection[int]) -> Stored:
        """The same, with some of the stores left out."""
        kept = [number for number in range(len(self.stores)) if number not in broken]
        new = np.full(len(self.stores) + 1, -1, dtype=np.int32)  # the last is for -1
        new[kept] = np.arange(len(kept))
        return Stored(self.encoded, tuple(self.stores[number] for number in kept), new[self.number], self.place)


class JoinedStates:
    """A feed that reads the states of a corpus from one or several stores.

    Attributes:
        keys (list[str]): the names of the stores, in the order in which they are asked.
        layers (tuple[int, ...]): those that all stores have.
        lengths (ndarray): int64 (S,), tokens of each sequence of the corpus.
    """

    def __init__(self, stored: Stored) -> None:
        self._stored = stored
        self.keys, self.stores = stored.keys, stored.stores
        self.hidden_size, self.dtype = stored.stores[0].hidden_size, stored.stores[0].dtype
        self.layers = tuple(sorted(set.intersection(*(set(store.layers) for store in stored.stores))))
        self.lengths = np.asarray(stored.encoded.lengths, dtype=np.int64)

    def feed(self, sequences: np.ndarray, layers: Collection[int], receive: ReceiveRows) -> None:
        """Read the states of `sequences` (B,) and hand them over by layer, as `StatesStore.feed` does."""
        if absent := sorted(set(layers) - set(self.layers)):
            raise TrunklineError(f"states: layer {absent[0]} is not stored ({list(self.layers)} are)")
        sequences = np.asarray(sequences)
        lengths, number, place = self.lengths[sequences], self._stored.number[sequences], self._stored.place[sequences]
        starts = np.cumsum(lengths) - lengths
        parts = []
        for which, store in enumerate(self.stores):
            if len(own := np.flatnonzero(number == which)):
                parts.append((store, store.locate(place[own], starts[own])))
        hand_over(parts or [(self.stores[0], [])], int(lengths.sum()), layers, receive)

    def bytes(self, layers: int) -> int:
        """What the states of the corpus in so many layers take on disk."""
        return needed_bytes(int(self.lengths.sum()), self.hidden_size, layers, self.dtype)


def find_stored(
    trunk: Trunk,
    encoded: Encoded,
    root: Path | None = None,
    layers: Collection[int] | None = None,
    dtype: str = "bf16",
    batch_tokens: int = BATCH_TOKENS,
    only: Sequence[str] | None = None,
) -> Stored:
    """Look up which sequences of `encoded` are stored with `layers`. Nothing is computed, and no checksum compared.

    Where a store of this very corpus was made, or begun, only that one is looked at.

    Args:
        trunk, encoded, root, layers, dtype, batch_tokens: as `build_store` takes them.
        only: names of stores to look at in this order; by default all, those with most of the sequences first.
    """
    wanted, root = wanted_layers(trunk, layers), cache_dir() / "states" if root is None else Path(root)
    parts = m.key_parts(trunk, encoded, dtype, batch_tokens)
    own = m.store_key(parts)
    if only is None and (root / own / "store.json").exists():
        only = [own]
    count = len(encoded.lengths)
    found: dict[str, np.ndarray] = {}  # by key, the place of each sequence in the store
    for key in _keys(root) if only is None else only:
        at = np.arange(count) if key == own else _places(root / key, parts, encoded, wanted)
        if at is not None and (at >= 0).any():
            found[key] = at
    stores: list[StatesStore] = []
    number, place = np.full(count, -1, dtype=np.int32), np.full(count, -1, dtype=np.int64)
    least = 1 if only is not None else max(1, round(LEAST_SHARE * count))
    while found:
        new = {key: int(((at >= 0) & (number < 0)).sum()) for key, at in found.items()}
        key = next(iter(found)) if only is not None else min(found, key=lambda key: (-new[key], key))
        at = found.pop(key)
        if new[key] < least:
            if only is not None:
                continue
            break
        if store := _opened(root / key, wanted):
            mine = (at >= 0) & (number < 0)
            number[mine], place[mine] = len(stores), at[mine]
            stores.append(store)
    return Stored(encoded, tuple(stores), number, place)


def open_states(
    trunk: Trunk,
    stored: Stored,
    root: Path | None = None,
    layers: Collection[int] | None = None,
    dtype: str = "bf16",
    batch_tokens: int = BATCH_TOKENS,
    budget_bytes: int | None = None,
    progress: Progress | None = None,
    fill: Fill = fill_here,
) -> JoinedStates:
    """Return the states of a corpus: what is stored after its checksums have been compared, the rest computed into a new store.

    Args:
        stored: of `find_stored` with the same arguments.
        trunk, root, layers, dtype, batch_tokens, budget_bytes, progress, fill: as `build_store` takes them.

    Raises:
        OverBudget, TrunklineError: as `build_store`.
    """
    wanted, encoded = wanted_layers(trunk, layers), stored.encoded
    stored = stored.without([number for number in range(len(stored.stores)) if not _sound(stored, number, wanted)])
    stores, number, place = stored.stores, stored.number.copy(), stored.place.copy()
    if (lacking := stored.lacking) is not None:
        new = build_store(trunk, lacking, root, wanted, dtype, batch_tokens, budget_bytes, progress, fill)
        missing = stored.missing
        at = np.arange(len(missing)) if lacking is encoded else find(lacking.digests, encoded.digests[missing])
        number[missing], place[missing] = len(stores), at
        stores = (*stores, new)
    elif len(stores) == 1 and stores[0].manifest.key["texts"] == encoded.digest():
        ensure_index(stores[0].path, encoded.digests)
    return JoinedStates(Stored(encoded, stores, number, place))


def _keys(root: Path) -> list[str]:
    return sorted(path.name for path in root.iterdir() if re.fullmatch("[0-9a-f]{64}", path.name)) if root.is_dir() else []


def _places(path: Path, parts: dict[str, str | int], encoded: Encoded, wanted: Collection[int]) -> np.ndarray | None:
    """Where the sequences of `encoded` lie in the store at `path`, -1 for those that it does not hold; None if it does not have
    these layers of this trunk."""
    try:
        manifest, lengths = read_manifest(path)
    except (TrunklineError, OSError):
        return None
    if any(manifest.key.get(part) != value for part, value in parts.items() if part not in _APART):
        return None
    if not set(wanted) <= set(manifest.complete()):
        return None
    index = read_index(path, len(lengths))
    return None if index is None else find(index, encoded.digests)


def _opened(path: Path, wanted: Collection[int]) -> StatesStore | None:
    """The store at `path`, if it is whole and has the layers; its checksums are compared later."""
    try:
        store = StatesStore.open(path)
    except (TrunklineError, OSError):
        return None
    return store if set(wanted) <= set(store.layers) else None


def _sound(stored: Stored, number: int, wanted: list[int]) -> bool:
    """Whether what would be read of one of the stores is as it was written; if not, a warning says so."""
    store = stored.stores[number]
    try:
        store.verify(wanted, stored.place[stored.number == number])
    except Corrupt as error:
        log.warning("%s: %s; it is not read", store.path, error.what)
        return False
    return True
