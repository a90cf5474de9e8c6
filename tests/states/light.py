"""A trunk light enough to fill large stores and to be killed many times: its states are sines of the token numbers.

With `padding`, a state also depends a little on how far its batch was padded, as real ones do by rounding: a build that
batched differently the second time would write other bytes.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import time
from contextlib import ExitStack
from pathlib import Path
from unittest import mock

import numpy as np
import torch

from trunkline.allocator import M_MMAP_THRESHOLD
from trunkline.inputs.encoded import Encoded
from trunkline.states import fill
from trunkline.states.store import StatesStore, build_store
from trunkline.trunk.fingerprint import Fingerprint


class LightTrunk:
    name, stack, dtype = "light", "encoder", "fp32"
    compiled = None

    @property
    def computed_in(self):
        return self.dtype

    def __init__(self, layers=3, hidden=8, weights="w", tokenizer="t", padding=0.0, seconds=0.0):
        self.num_layers, self.hidden_size, self.padding, self.seconds = layers, hidden, padding, seconds
        self.fingerprint = Fingerprint(weights, tokenizer, config="c", tokenizer_settings="s")
        self.passes = 0

    def collate(self, encoded, sequences):
        lengths = encoded.lengths[sequences]
        mask = torch.arange(int(lengths.max())) < torch.from_numpy(lengths)[:, None]
        ids = torch.zeros(mask.shape, dtype=torch.long)
        spans = [encoded.ids[encoded.offsets[s] : encoded.offsets[s + 1]] for s in sequences]
        ids[mask] = torch.from_numpy(np.concatenate(spans).astype(np.int64))
        return {"input_ids": ids, "attention_mask": mask.long()}


def light_state(ids, layer, hidden):
    """(…, hidden) float32: what the light trunk makes of token numbers, but for the padding."""
    columns = torch.arange(1, hidden + 1, dtype=torch.float32)
    return torch.sin(torch.as_tensor(ids, dtype=torch.float32)[..., None] * columns + layer)


def light_pass(trunk, inputs, layers, receive):
    trunk.passes += 1
    time.sleep(trunk.seconds)
    for layer in sorted(layers):
        ids = inputs["input_ids"]
        receive(layer, light_state(ids, layer, trunk.hidden_size) + ids.shape[1] * trunk.padding)


def light_corpus(lengths, seed=0) -> Encoded:
    offsets = np.concatenate([[0], np.cumsum(np.asarray(lengths, dtype=np.int64))])
    ids = np.random.default_rng(seed).integers(1, 1000, offsets[-1], dtype=np.int32)
    return Encoded(ids, offsets, None, np.arange(len(lengths), dtype=np.int32), None, None)


def light_build(trunk, encoded, root, shard_bytes=None, **options) -> StatesStore:
    """build_store with the light pass in place of the real one's and, where given, small shards."""
    with ExitStack() as stack:
        stack.enter_context(mock.patch("trunkline.states.live.run_layers", light_pass))
        if shard_bytes:
            stack.enter_context(mock.patch("trunkline.states.manifest.SHARD_BYTES", shard_bytes))
        return build_store(trunk, encoded, Path(root), **options)


def feed(source, sequences, layers) -> dict[int, torch.Tensor]:
    """All that one call of feed hands over; its order is checked here."""
    found: dict[int, torch.Tensor] = {}
    source.feed(np.asarray(sequences), layers, lambda layer, rows: found.__setitem__(layer, rows.clone()))
    assert list(found) == sorted(layers)
    return found


def content(path: Path) -> dict[str, bytes]:
    """Every file of a store but the one that says when it was used."""
    return {file.name: file.read_bytes() for file in Path(path).iterdir() if file.name != "used"}


# What other processes run; these are started by multiprocessing, so they have to be found by name.

LENGTHS = np.random.default_rng(5).integers(2, 20, 90)
BUILD = {"shard_bytes": 1500, "layers": [0, 2, 3], "dtype": "int8", "batch_tokens": 40}


def reference_build(root, seconds=0.0):
    trunk = LightTrunk(padding=1 / 512, seconds=seconds)
    return light_build(trunk, light_corpus(LENGTHS), root, **BUILD), trunk


def fill_light(trunk, encoded, path, job):
    with mock.patch("trunkline.states.live.run_layers", light_pass):
        return fill.fill_shard(trunk, encoded, path, job)


def build_and_report(root, seconds, pipe):
    _, trunk = reference_build(root, seconds)
    pipe.send(trunk.passes)


def build_and_die(root, event):
    """Build, but die by SIGKILL at the `event`-th pass, fsync or rename."""
    left = [event]

    def counted(function):
        def call(*args, **kwargs):
            left[0] -= 1
            if left[0] < 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*args, **kwargs)

        return call

    with (
        mock.patch("os.fsync", counted(os.fsync)),
        mock.patch("os.replace", counted(os.replace)),
        mock.patch("light.light_pass", counted(light_pass)),
    ):
        reference_build(root)


def peak_memory(root, texts, pipe):
    """Build a store and read it in shuffled batches; send its size and by how many bytes the peak of this process rose."""
    from trunkline.inputs.batching import token_batches

    # Every tensor is mapped, and unmapped when it is freed: what a heap keeps of them depends on when threads get their turn.
    ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, 1 << 16)

    def peak():
        status = Path("/proc/self/status").read_text()
        return int(status.split("VmHWM:")[1].split()[0]) * 1024

    encoded = light_corpus(np.random.default_rng(0).integers(5, 40, texts))
    trunk = LightTrunk(layers=1, hidden=384)
    light_build(trunk, light_corpus([5] * 300), root, layers=[1]).verify()  # what every build costs once
    before = peak()
    store = light_build(trunk, encoded, root, layers=[1])
    for batch in token_batches(encoded.lengths, tokens=2048, seed=0):
        store.feed(batch, [1], lambda layer, rows: None)
    size = sum(file.stat().st_size for file in store.path.iterdir())
    pipe.send((size, peak() - before))


def read_slowly(path, ready, done):
    store = StatesStore.open(path)
    feed(store, [0], [0])
    ready.set()
    assert done.wait(120)
    feed(store, [1], [1])


def few_files(root, limit, pipe):
    """Build and read stores with more shards, and one with more layers, than files may be open; send what the test asks for."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    encoded = light_corpus([2] * (limit + 8))
    with mock.patch("os.fsync"):  # hundreds of files
        stores = [light_build(LightTrunk(weights=str(i)), encoded, root, shard_bytes=16, layers=[1]) for i in range(2)]
        stores.append(light_build(LightTrunk(layers=limit), encoded, root, dtype="int8"))
    plain, equal, most = light_state(encoded.ids, 1, 8), True, 0
    for order in (np.arange(limit), np.random.default_rng(0).permutation(limit)):
        rows = np.concatenate([np.arange(encoded.offsets[s], encoded.offsets[s + 1]) for s in order])
        for store in stores:
            found = feed(store, order, store.layers)
            equal &= torch.allclose(found[1].float(), plain[rows], atol=0.02)
            most = max(most, len(os.listdir("/proc/self/fd")))
    pipe.send((len(stores[0].manifest.shards), equal, most))


def open_and_report(root, encoded, pipe):
    from trunkline.states.reuse import find_stored, open_states

    trunk = LightTrunk(seconds=0.005)
    with mock.patch("trunkline.states.live.run_layers", light_pass):
        states = open_states(trunk, find_stored(trunk, encoded, root), root, batch_tokens=30)
    pipe.send({"keys": states.keys, "passes": trunk.passes})
