"""Pooled layer states of a corpus in memory: one row for each sequence, in place of one for each token.

A branch whose logits depend on a text's pooled states alone reads K numbers of a layer for each text then, instead of K for
each of its tokens in every epoch.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

import numpy as np
import torch
from torch import Tensor

from trunkline.inputs.batching import Layout, Pooling, token_batches
from trunkline.states.live import Feed, ReceiveRows

TOKENS = 4096  # of a batch that is pooled


class PooledStates:
    """A feed that hands out one row for each sequence, float32 on the CPU: what `pooling` makes of the rows of `feed`.

    Everything is read at once, in an order that depends on the lengths alone, so that the same states give the same bits.

    Args:
        feed: of S sequences, whose states do not change.
        layers: to pool.
        pooling: ``mean``, ``cls`` (the first row) or ``last``.
    """

    @torch.no_grad()
    def __init__(self, feed: Feed, layers: Collection[int], pooling: Pooling) -> None:
        self.layers, self.hidden_size = tuple(sorted(layers)), feed.hidden_size
        self.lengths = np.ones(len(feed.lengths), dtype=np.int32)
        self._states = {layer: torch.empty(len(feed.lengths), feed.hidden_size) for layer in self.layers}
        for batch in token_batches(feed.lengths, tokens=TOKENS):
            layout, chosen = Layout(torch.from_numpy(feed.lengths[batch].astype(np.int64))), torch.from_numpy(batch)

            def receive(layer: int, rows: Tensor, layout: Layout = layout, chosen: Tensor = chosen) -> None:
                self._states[layer][chosen] = layout.pooled(rows.cpu().float(), pooling)

            feed.feed(batch, self.layers, receive)

    def feed(self, sequences: np.ndarray, layers: Collection[int], receive: ReceiveRows) -> None:
        """Hand over the pooled states (B, K) of `sequences` (B,) by layer; the rows are the receiver's own."""
        states = self.of(sequences)
        for layer in sorted(set(layers)):
            receive(layer, states(layer))

    def of(self, sequences: np.ndarray) -> Callable[[int], Tensor]:
        """What gives the pooled states (B, K) of `sequences` (B,) for a layer."""
        rows = torch.from_numpy(np.asarray(sequences, dtype=np.int64))
        return lambda layer: self._states[layer].index_select(0, rows)


def pooled_bytes(sequences: int, width: int, layers: int) -> int:
    """The memory that `PooledStates` takes."""
    return sequences * width * layers * 4
