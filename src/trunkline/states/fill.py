"""Computing what a store lacks: the trunk runs over a shard's batches and each layer goes to its file while it runs.

Nothing is held but one batch. `fill_shard` is a pure function of a shard: the batches follow from the key alone (they never
reach across shards and do not depend on which layers or shards are there already), and it writes the files of its own shard
only. So shards can be filled in any order and by several processes, and a build that was killed ends with the bytes of one
that was not.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from torch import Tensor

from trunkline.errors import TrunklineError
from trunkline.files import atomic_file
from trunkline.states import manifest as m
from trunkline.states.budget import check_budget
from trunkline.states.checks import Corrupt, broken_shards, read_manifest
from trunkline.states.index import read_index, write_index
from trunkline.states.live import LiveStates
from trunkline.states.quantise import quantise

if TYPE_CHECKING:
    from trunkline.inputs.encoded import Encoded
    from trunkline.trunk.load import Trunk

log = logging.getLogger(__name__)

Progress = Callable[[int, int], None]  # tokens done, tokens to do


@dataclass(frozen=True)
class Job:
    """One shard to fill: its number, its sequences in the store's order, and the layers that it lacks."""

    number: int
    sequences: np.ndarray
    layers: tuple[int, ...]
    dtype: str
    batch_tokens: int


class Fill(Protocol):
    """Fills shards, here or elsewhere."""

    def __call__(
        self, trunk: Trunk, encoded: Encoded, path: Path, jobs: Sequence[Job], count: Callable[[int], None]
    ) -> Iterator[tuple[Job, dict[int, m.LayerShard]]]:
        """Yield each job when it is done, in whatever order, with the checksums that `fill_shard` returns; `count` is called
        with the tokens that are done."""


def complete(
    path: Path,
    trunk: Trunk,
    encoded: Encoded,
    parts: dict[str, str | int],
    wanted: list[int],
    budget_bytes: int | None,
    progress: Progress | None,
    fill: Fill,
) -> None:
    """Write what the store at `path` lacks of the `wanted` layers, beginning the store if need be. The caller holds its lock.

    What is broken is computed again, with a warning.
    """
    manifest, begun = _begin(path, trunk, encoded, parts, wanted)
    missing = [manifest.missing(shard, wanted) for shard in range(len(manifest.shards))]
    check_budget(manifest, missing, path.parent, budget_bytes)
    if begun:
        manifest.write(path)
    else:
        manifest.create(path, encoded)
    for left in path.glob(".*.tmp"):  # of a build that was killed; nobody else writes here, as we hold the lock
        left.unlink()
    if read_index(path, len(encoded.lengths)) is None:
        write_index(path, encoded.digests)
    lengths = np.asarray(encoded.lengths)
    todo = list(_jobs(manifest, lengths, missing, int(parts["batch_tokens"])))
    total, done = sum(int(lengths[job.sequences].sum()) for job in todo), 0

    def count(tokens: int) -> None:
        nonlocal done
        done += tokens
        if progress:
            progress(done, total)

    count(0)
    for job, files in fill(trunk, encoded, path, todo, count):
        manifest.record(job.number, files)
        manifest.write(path)


def fill_here(
    trunk: Trunk, encoded: Encoded, path: Path, jobs: Sequence[Job], count: Callable[[int], None]
) -> Iterator[tuple[Job, dict[int, m.LayerShard]]]:
    """Fill shards one after the other, in this process."""
    for job in jobs:
        yield job, fill_shard(trunk, encoded, path, job, count)


def _begin(
    path: Path, trunk: Trunk, encoded: Encoded, parts: dict[str, str | int], wanted: list[int]
) -> tuple[m.Manifest, bool]:
    """The manifest of what is there and sound, and whether the store has been begun."""
    if not (path / "store.json").exists():
        return m.plan(trunk, encoded, parts), False
    try:
        manifest, _ = read_manifest(path)
    except Corrupt as error:
        log.warning("%s: %s; it is computed again", path, error.what)
        return m.plan(trunk, encoded, parts), False
    for one in broken_shards(path, manifest, hashed=wanted):
        log.warning("%s: %s; it is computed again", path, one.what)
        manifest.forget(one.layer, one.shard)
    return manifest, True


def _jobs(manifest: m.Manifest, lengths: np.ndarray, missing: list[list[int]], batch_tokens: int) -> Iterator[Job]:
    order, start = m.length_order(lengths), 0
    for number, (shard, layers) in enumerate(zip(manifest.shards, missing, strict=True)):
        sequences = order[start : start + shard.sequences]
        start += shard.sequences
        if layers:
            yield Job(number, sequences, tuple(layers), manifest.dtype, batch_tokens)


def fill_shard(
    trunk: Trunk, encoded: Encoded, path: Path, job: Job, count: Callable[[int], None] = lambda tokens: None
) -> dict[int, m.LayerShard]:
    """Compute one shard's layers into their files in the directory `path`; the bytes depend on trunk, corpus and job alone.

    Args:
        trunk: whose states.
        encoded: the corpus.
        path: the directory of the store, which exists.
        job: the shard.
        count: called with the tokens of each batch when it is done.

    Returns:
        dict: by layer the checksums, for the manifest.
    """
    live, lengths = LiveStates(trunk, encoded), np.asarray(encoded.lengths)
    with ExitStack() as stack:
        writers = {layer: _Writer(stack, path, layer, job.number, job.dtype) for layer in job.layers}
        for batch in _batches(job.sequences, lengths, job.batch_tokens):
            live.feed(batch, job.layers, partial(_write, writers))
            count(int(lengths[batch].sum()))
        return {layer: writer.close(int(lengths[job.sequences].sum())) for layer, writer in writers.items()}


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
        self._files = [stack.enter_context(atomic_file(path / name)) for name in names]
        self._hashes = [hashlib.sha256() for _ in names]

    def write(self, rows: Tensor) -> None:
        if self._dtype == "int8":
            numbers, scales = quantise(rows)
            finite, tensors = torch.isfinite(scales), [numbers, scales]
        else:
            tensors = [rows.to(m.DTYPES[self._dtype])]
            finite = torch.isfinite(tensors[0])
        if not finite.all():
            raise TrunklineError(f"the trunk's layer {self._layer} contains NaN or infinity; try dtype: fp32")
        self._tokens += len(rows)
        for tensor, file, digest in zip(tensors, self._files, self._hashes, strict=True):
            data = tensor.contiguous().view(torch.uint8).cpu().numpy().data
            # Not kept open: a process may have fewer files than a trunk layers. Buffered, as a raw file may write a part only.
            with open(file, "ab") as opened:
                opened.write(data)
            digest.update(data)

    def close(self, tokens: int) -> m.LayerShard:
        """Return the checksums, having made sure that every token of the shard came by."""
        if self._tokens != tokens:
            raise TrunklineError(f"the trunk returned {self._tokens} tokens of layer {self._layer}, expected {tokens}")
        states, *scales = (digest.hexdigest() for digest in self._hashes)
        return m.LayerShard(states=states, scales=scales[0] if scales else None)
