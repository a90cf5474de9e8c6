"""Layer states that one pass of a batch has computed, for another that begins above them."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import torch
from torch import Tensor

from trunkline.states.live import Feed, ReceiveRows


class KeepingStates:
    """A feed that keeps one layer of some of its sequences while it hands out what is asked for.

    Args:
        feed: where the states come from.
        layer: which one is kept.
        wanted: bool (S,), of which sequences.
    """

    def __init__(self, feed: Feed, layer: int, wanted: np.ndarray) -> None:
        self._feed, self.layer, self.wanted = feed, layer, wanted
        self.lengths, self.layers, self.hidden_size = feed.lengths, feed.layers, feed.hidden_size
        self.kept: dict[int, Tensor] = {}

    def feed(self, sequences: np.ndarray, layers: Collection[int], receive: ReceiveRows) -> None:
        """As of the feed itself, with the kept layer where the batch has a sequence of which it is wanted."""
        mine = np.flatnonzero(self.wanted[sequences]).tolist()

        def take(layer: int, rows: Tensor) -> None:
            if layer == self.layer and mine:
                parts = rows.split(np.asarray(self.lengths)[sequences].tolist())
                self.kept.update({int(sequences[place]): parts[place].clone() for place in mine})
            if layer in layers:
                receive(layer, rows)

        self._feed.feed(sequences, sorted({*layers, *([self.layer] if mine else [])}), take)


class KeptStates:
    """The feed of a pass that begins above a layer that was kept.

    Args:
        keeping: what keeps it, once its pass has run.
        sequences: int64 (S,), by sequence of this feed, which one of `keeping` it is; -1: none.
        live: computes the layer of batches of which not every sequence was kept.
    """

    def __init__(self, keeping: KeepingStates, sequences: np.ndarray, live: Feed) -> None:
        self._keeping, self._sequences, self._live = keeping, sequences, live
        self.lengths, self.layers, self.hidden_size = live.lengths, (keeping.layer,), live.hidden_size

    def feed(self, sequences: np.ndarray, layers: Collection[int], receive: ReceiveRows) -> None:
        """Hand out the kept layer."""
        kept = [self._keeping.kept.get(number) for number in self._sequences[sequences].tolist()]
        found = [rows for rows in kept if rows is not None]
        if len(found) < len(kept):
            self._live.feed(sequences, layers, receive)
        else:
            receive(self._keeping.layer, torch.cat(found))
