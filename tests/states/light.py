"""A trunk light enough to fill large stores and to be killed a hundred times: its states are sines of the token numbers.

A state also depends, a little, on how far its batch was padded, as real ones do by rounding: a build that batched
differently the second time would write other bytes.
"""

from __future__ import annotations

import hashlib
from types import SimpleNamespace
from unittest import mock

import numpy as np
import torch

PADDING = 1 / 512


class LightTrunk:
    name, stack, dtype = "light", "encoder", "fp32"

    def __init__(self, layers=3, hidden=8, weights="w", side="right"):
        self.num_layers, self.hidden_size, self.side = layers, hidden, side
        self.fingerprint = SimpleNamespace(weights=weights, tokenizer="t")

    def collate(self, encoded, sequences):
        lengths = encoded.lengths[sequences]
        ids = torch.zeros(len(sequences), int(lengths.max()), dtype=torch.long)
        mask = torch.zeros_like(ids)
        for row, (sequence, length) in enumerate(zip(sequences, lengths, strict=True)):
            place = slice(0, length) if self.side == "right" else slice(ids.shape[1] - length, None)
            start = encoded.offsets[sequence]
            ids[row, place] = torch.from_numpy(encoded.ids[start : start + length].astype(np.int64))
            mask[row, place] = 1
        return {"input_ids": ids, "attention_mask": mask}


def state_of(ids, layer, hidden, padded_to):
    """(…, hidden) float32: what the light trunk makes of token numbers in a batch that is padded to so many tokens."""
    columns = torch.arange(1, hidden + 1, dtype=torch.float32)
    return torch.sin(torch.as_tensor(ids, dtype=torch.float32)[..., None] * columns + layer) + padded_to * PADDING


def run_light(trunk, inputs, layers, receive):
    for layer in sorted(layers):
        ids = inputs["input_ids"]
        receive(layer, state_of(ids, layer, trunk.hidden_size, ids.shape[1]))


def light_corpus(lengths, seed=0):
    lengths = np.asarray(lengths, dtype=np.int64)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    ids = np.random.default_rng(seed).integers(1, 1000, offsets[-1], dtype=np.int32)
    digest = hashlib.sha256(ids.tobytes() + offsets.tobytes()).hexdigest()
    return SimpleNamespace(ids=ids, offsets=offsets, lengths=lengths, n_texts=len(lengths), digest=lambda: digest)


def light(shard_bytes=None):
    """Patch the light trunk's pass in for the real one's, and, where asked, small shards."""
    patches = mock.patch("trunkline.states.live.run_layers", run_light)
    if shard_bytes is None:
        return patches
    both = __import__("contextlib").ExitStack()
    both.enter_context(patches)
    both.enter_context(mock.patch("trunkline.states.manifest.SHARD_BYTES", shard_bytes))
    return both
