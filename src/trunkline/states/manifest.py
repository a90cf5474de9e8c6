"""What a states store says about itself: `store.json`, its key, how a corpus is cut into shards, and the file names.

A store is a directory named by its key. In it:

    store.json                     the key's parts, the shard table, the sha256 of every file
    lengths                        int32 (S,): tokens of each sequence, in the corpus' order
    index                          a digest of each sequence (index.py), by which other corpora find it
    layer-LL.shard-NNNN.states     the rows (tokens, K) of one layer, little-endian bf16, fp32 or int8
    layer-LL.shard-NNNN.scales     float32 (tokens,), only beside int8
    data                           a line of JSON for each data set and split that a fit has read from the store (uses.py)
    used                           an empty file whose time is that of the last use; its readers hold a lock on it

Sequences lie in order of length (equal lengths in the corpus' order), so a length-grouped batch is nearly contiguous.
Everything here follows from the key's parts and the corpus alone: two builds of one key write the same files.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field

from trunkline.errors import BadInput
from trunkline.files import atomic_file, write_json

if TYPE_CHECKING:
    from trunkline.inputs.encoded import Encoded
    from trunkline.trunk.load import Trunk

FORMAT = 1
SHARD_BYTES = 64 << 20  # of one layer at most: few files, yet a killed build loses little
DTYPES = {"bf16": torch.bfloat16, "fp32": torch.float32, "int8": torch.int8}


def key_parts(trunk: Trunk, encoded: Encoded, dtype: str, batch_tokens: int) -> dict[str, str | int]:
    """Return all that a store's bytes depend on. How tokens are batched is among it: padding moves a state by rounding."""
    if dtype not in DTYPES:
        raise BadInput(f"states dtype {dtype!r}: expected one of {', '.join(DTYPES)}")
    return {
        "format": FORMAT,
        "weights": trunk.fingerprint.weights,
        "tokenizer": trunk.fingerprint.tokenizer,
        "config": trunk.fingerprint.config,
        "tokenizer_settings": trunk.fingerprint.tokenizer_settings,
        "stack": trunk.stack,
        "computed_in": trunk.computed_in,
        "texts": encoded.digest(),
        "dtype": dtype,
        "hidden_size": trunk.hidden_size,
        "batch_tokens": batch_tokens,
        "shard_bytes": SHARD_BYTES,
    }


def store_key(parts: dict[str, str | int]) -> str:
    """Return the store's name: the sha256, as 64 hex digits, of the parts as canonical JSON."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def bytes_per_token(hidden_size: int, dtype: str) -> int:
    """Bytes on disk of one token's state of one layer, the int8 scale included."""
    return hidden_size * DTYPES[dtype].itemsize + (4 if dtype == "int8" else 0)


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class Shard(_Strict):
    """A run of sequences in the store's order, and the tokens in them."""

    sequences: int
    tokens: int


class LayerShard(_Strict):
    """sha256 of the files of one layer and shard."""

    states: str
    scales: str | None = None


class Manifest(_Strict):
    """`store.json`. `layers` maps a layer to its shards' checksums, None for a shard that is not built yet."""

    format: int
    key: dict[str, str | int]
    trunk: str
    num_layers: int
    texts: int
    sequences: int
    tokens: int
    lengths: str
    shards: list[Shard]
    layers: dict[Annotated[str, Field(pattern=r"^(0|[1-9][0-9]*)$")], list[LayerShard | None]]

    @property
    def dtype(self) -> str:
        """Of the numbers on disk: bf16, fp32 or int8."""
        return str(self.key["dtype"])

    @property
    def hidden_size(self) -> int:
        """K."""
        return int(self.key["hidden_size"])

    @property
    def bytes_per_token(self) -> int:
        """Of one layer, on disk."""
        return bytes_per_token(self.hidden_size, self.dtype)

    def complete(self) -> tuple[int, ...]:
        """The layers of which every shard is there, rising."""
        return tuple(sorted(int(layer) for layer, shards in self.layers.items() if None not in shards))

    def missing(self, shard: int, layers: list[int]) -> list[int]:
        """Those of `layers` that `shard` does not have yet."""
        return [layer for layer in layers if self.layers.get(str(layer), [None] * len(self.shards))[shard] is None]

    def record(self, shard: int, files: dict[int, LayerShard]) -> None:
        """Note the files of a shard that has been written."""
        for layer, entry in files.items():
            self.layers.setdefault(str(layer), [None] * len(self.shards))[shard] = entry
        # Rising layers, whatever the order they were asked for in: the file's bytes then depend on its content only.
        self.layers = dict(sorted(self.layers.items(), key=lambda item: int(item[0])))

    def forget(self, layer: int, shard: int) -> None:
        """Note that a shard of a layer has to be computed again."""
        self.layers[str(layer)][shard] = None

    def files(self, layer: int, shard: int) -> list[tuple[str, int, str]]:
        """(name, bytes, sha256) of each file of a layer's shard; empty where it is not built."""
        entry = self.layers[str(layer)][shard]
        if entry is None:
            return []
        tokens = self.shards[shard].tokens
        names = [(states_name(layer, shard), tokens * self.hidden_size * DTYPES[self.dtype].itemsize, entry.states)]
        return names + ([(scales_name(layer, shard), tokens * 4, entry.scales)] if entry.scales else [])

    def all_files(self) -> list[tuple[str, int, str]]:
        """`files` of everything that is built."""
        return [file for layer in self.layers for shard in range(len(self.shards)) for file in self.files(int(layer), shard)]

    def create(self, path: Path, encoded: Encoded) -> None:
        """Make the directory of a new store: its lengths and a `store.json` without layers."""
        path.mkdir(parents=True, exist_ok=True)
        with atomic_file(path / "lengths") as temporary:
            temporary.write_bytes(lengths_on_disk(encoded).tobytes())
        self.write(path)

    def write(self, path: Path) -> None:
        """Write `store.json` of the store at `path`, atomically."""
        write_json(path / "store.json", self.model_dump(mode="json", exclude_none=False))


def states_name(layer: int, shard: int) -> str:
    """File name of one layer's rows of one shard."""
    return f"layer-{layer:02d}.shard-{shard:04d}.states"


def scales_name(layer: int, shard: int) -> str:
    """File name of the int8 scales beside `states_name`."""
    return f"layer-{layer:02d}.shard-{shard:04d}.scales"


def length_order(lengths: np.ndarray) -> np.ndarray:
    """Sequence numbers (S,) in the order in which a store holds them: by length, equal ones as in the corpus."""
    return np.argsort(lengths, kind="stable")


def plan_shards(lengths: np.ndarray, token_bytes: int, shard_bytes: int) -> list[Shard]:
    """Cut the sequences, in the store's order, into the fewest shards of `shard_bytes`, as equal as whole sequences allow."""
    ends = np.cumsum(lengths[length_order(lengths)], dtype=np.int64)
    tokens = int(ends[-1])
    count = min(-(-tokens * token_bytes // shard_bytes), tokens)
    cuts = np.unique(np.searchsorted(ends, tokens * np.arange(1, count + 1) // count))  # the last sequence of each shard
    sequences = np.diff(cuts, prepend=-1)
    rows = np.diff(ends[cuts], prepend=0)
    return [Shard(sequences=int(s), tokens=int(r)) for s, r in zip(sequences, rows, strict=True)]


def lengths_on_disk(encoded: Encoded) -> np.ndarray:
    """The lengths int32 (S,) as the file `lengths` holds them."""
    return np.ascontiguousarray(encoded.lengths, dtype="<i4")


def plan(trunk: Trunk, encoded: Encoded, parts: dict[str, str | int]) -> Manifest:
    """Return the manifest of a store that nothing has been written of."""
    lengths = lengths_on_disk(encoded)
    if not lengths.sum():
        raise BadInput("the corpus has no tokens, so there are no states to store")
    return Manifest(
        format=FORMAT,
        key=parts,
        trunk=str(trunk.name),
        num_layers=trunk.num_layers,
        texts=encoded.n_texts,
        sequences=len(lengths),
        tokens=int(lengths.sum()),
        lengths=hashlib.sha256(lengths.tobytes()).hexdigest(),
        shards=plan_shards(lengths, bytes_per_token(trunk.hidden_size, str(parts["dtype"])), int(parts["shard_bytes"])),
        layers={},
    )
