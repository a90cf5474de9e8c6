"""Computing what a store lacks: the trunk runs over a shard's batches and each layer goes to its file while it runs.

Nothing is held but one batch. The batches of a shard follow from the key alone (they never reach across shards and do not
depend on which layers or shards are there already), so a build that was killed ends with the bytes of one that was not.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from trunkline.errors import TrunklineError
from trunkline.files import atomic_file
from trunkline.states import manifest as m
from trunkline.states.budget import check_budget
from trunkline.states.live import LiveStates
from trunkline.states.quantise import quantise

if TYPE_CHECKING:
    from trunkline.inputs.text import Encoded
    from trunkline.trunk.load import Trunk

Progress = Callable[[int, int], None]  # tokens done, tokens to do


def complete(
    path: Path,
    trunk: Trunk,
    encoded: Encoded,
    parts: dict[str, str | int],
    wanted: list[int],
    budget_bytes: int | None,
    progress: Progress | None,
) -> set[tuple[int, int]]:
    """Write the `wanted` layers that the store at `path` lacks, beginning the store if need be. The caller holds its lock.

    Returns:
        set: (layer, shard) of everything that was written.
    """
    there = (path / "store.json").exists()
    manifest = m.read_manifest(path)[0] if there else m.plan(trunk, encoded, parts)
    missing = [manifest.missing(shard, wanted) for shard in range(len(manifest.shards))]
    check_budget(manifest, missing, path.parent, budget_bytes)
    if not there:
        manifest.create(path, encoded)
    for left in path.glob(".*.tmp"):  # of a build that was killed; nobody else writes here, as we hold the lock
        left.unlink()
    live = LiveStates(trunk, encoded)
    order, lengths = m.length_order(encoded.lengths), np.asarray(encoded.lengths)
    to_do = sum(shard.tokens for shard, layers in zip(manifest.shards, missing, strict=True) if layers)
    done = start = 0
    for number, (shard, layers) in enumerate(zip(manifest.shards, missing, strict=True)):
        sequences = order[start : start + shard.sequences]
        start += shard.sequences
        if not layers:
            continue
        with ExitStack() as stack:
            writers = {layer: _Writer(stack, path, layer, number, manifest.dtype) for layer in layers}
            for batch in _batches(sequences, lengths, int(parts["batch_tokens"])):
                if progress:
                    progress(done, to_do)
                live.feed(batch, layers, partial(_write, writers))
                done += int(lengths[batch].sum())
            entries = {layer: writer.close(shard.tokens) for layer, writer in writers.items()}
        manifest.record(number, entries)
        manifest.write(path)
    if progress:
        progress(done, to_do)
    return {(layer, number) for number, layers in enumerate(missing) for layer in layers}


def _write(writers: dict[int, _Writer], layer: int, rows: Tensor) -> None:
    writers[layer].write(rows)


def _batches(sequences: np.ndarray, lengths: np.ndarray, tokens: int) -> Iterator[np.ndarray]:
    """Cut `sequences`, which rise in length, into runs of at most `tokens` padded tokens (or of one sequence)."""
    start = 0
    for end in range(1, len(sequences) + 1):
        if end == len(sequences) or int(lengths[sequences[end]]) * (end + 1 - start) > tokens:
            yield sequences[start:end]
            start = end


class _Writer:
    """Writes and hashes the files of one layer of one shard while the pass runs; closing `stack` puts them in their place."""

    def __init__(self, stack: ExitStack, path: Path, layer: int, shard: int, dtype: str) -> None:
        self._layer, self._dtype, self._tokens = layer, dtype, 0
        names = [m.states_name(layer, shard)] + ([m.scales_name(layer, shard)] if dtype == "int8" else [])
        temporary = [stack.enter_context(atomic_file(path / name)) for name in names]
        self._files = [stack.enter_context(file.open("wb")) for file in temporary]
        self._hashes = [hashlib.sha256() for _ in names]

    def write(self, rows: Tensor) -> None:
        if self._dtype == "int8":
            numbers, scales = quantise(rows)
            finite, tensors = torch.isfinite(scales), [numbers, scales]
        else:
            tensors = [rows.to(m.DTYPES[self._dtype])]
            finite = torch.isfinite(tensors[0])
        if not finite.all():
            raise TrunklineError(f"the trunk's layer {self._layer} gives NaN or infinity; try dtype: fp32")
        self._tokens += len(rows)
        for tensor, file, digest in zip(tensors, self._files, self._hashes, strict=True):
            data = tensor.contiguous().view(torch.uint8).cpu().numpy().data
            file.write(data)
            digest.update(data)

    def close(self, tokens: int) -> m.LayerShard:
        """Return the checksums, having made sure that every token of the shard came by."""
        if self._tokens != tokens:
            raise TrunklineError(f"the trunk gave {self._tokens} tokens of layer {self._layer}, expected {tokens}")
        states, *scales = (digest.hexdigest() for digest in self._hashes)
        return m.LayerShard(states=states, scales=scales[0] if scales else None)
