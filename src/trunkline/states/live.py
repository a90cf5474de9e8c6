"""Layer states straight from the trunk, one pass for each batch: the feed for corpora too large to store."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from torch import Tensor

from trunkline.inputs.encoded import ranges
from trunkline.trunk.stream import run_layers

if TYPE_CHECKING:
    from trunkline.inputs.encoded import Encoded
    from trunkline.trunk.load import Trunk

ROUNDED = 8  # tokens; for each shape that is new to it, OpenVINO makes kernels, which takes as long as a short pass

ReceiveRows = Callable[[int, Tensor], None]  # layer number, its rows (N, K): the real tokens of a batch, no padding


class Feed(Protocol):
    """What hands out layer states by batch: the trunk itself (LiveStates) or a StatesStore."""

    @property
    def lengths(self) -> np.ndarray:
        """int (S,): how many rows it hands out of each sequence."""

    @property
    def layers(self) -> tuple[int, ...]:
        """The layers that can be asked for, rising."""

    @property
    def hidden_size(self) -> int:
        """K."""

    def feed(self, sequences: np.ndarray, layers: Collection[int], receive: ReceiveRows) -> None:
        """Call receive(layer, rows (N, K)) for each wanted layer, rising; rows lie end to end in the order of `sequences`."""


class LiveStates:
    """A feed that runs the trunk.

    Args:
        trunk (Trunk): the frozen transformer.
        encoded (Encoded): the corpus; `feed` takes its sequence numbers.
    """

    def __init__(self, trunk: Trunk, encoded: Encoded) -> None:
        self._trunk, self._encoded = trunk, encoded
        self.lengths = np.asarray(encoded.lengths)

    @property
    def layers(self) -> tuple[int, ...]:
        """Every layer of the trunk, 0..l."""
        return tuple(range(self._trunk.num_layers + 1))

    @property
    def hidden_size(self) -> int:
        """K."""
        return self._trunk.hidden_size

    def feed(self, sequences: np.ndarray, layers: Collection[int], receive: ReceiveRows) -> None:
        """Run one pass over `sequences` (B,); `receive` is called while it runs.

        Rows (N, K) are on the trunk's device in its dtype, and may be the trunk's own tensor: do not write into them.
        """
        sequences = np.asarray(sequences)
        apart = [] if self._encoded.clips is None else self._trunk.passes(self._encoded, sequences)
        if len(apart) <= 1:
            self._run(sequences, layers, receive)
            return
        # Clips that cannot share a pass: their rows are held until all have run, as each layer is handed over once.
        held: dict[int, list[Tensor]] = {layer: [] for layer in sorted(set(layers))}
        for places in apart:
            self._run(sequences[places], layers, lambda layer, rows: held[layer].append(rows))
        order = self._order(sequences, np.concatenate(apart))
        for layer in list(held):
            rows = torch.cat(held.pop(layer))
            receive(layer, torch.index_select(rows, 0, order.to(rows.device)))

    def _order(self, sequences: np.ndarray, ran: np.ndarray) -> Tensor:
        """Which of the rows in the order in which sequences ran is each row in the order of `sequences`."""
        lengths = self.lengths[sequences]
        starts = np.empty(len(ran), np.int64)
        starts[ran] = np.cumsum(lengths[ran]) - lengths[ran]
        return torch.from_numpy(ranges(starts, lengths))

    def _run(self, sequences: np.ndarray, layers: Collection[int], receive: ReceiveRows) -> None:
        lengths = self.lengths[sequences]
        rounded = () if self._trunk.compiled is None else (ROUNDED,)
        inputs = self._trunk.collate(self._encoded, sequences, *rounded)
        mask = inputs["attention_mask"] if self._encoded.clips is None else self._trunk.real(inputs, lengths)
        # The mask says where the real tokens are, so it does not matter on which side the trunk pads.
        padded = bool((lengths != mask.shape[1]).any())
        real = mask.flatten().nonzero().squeeze(1) if padded else None

        def pack(layer: int, state: Tensor) -> None:
            rows = state.reshape(-1, state.shape[-1])
            receive(layer, rows if real is None else torch.index_select(rows, 0, real))

        if self._trunk.compiled is None:
            run_layers(self._trunk, inputs, layers, pack)
        else:
            self._trunk.compiled.run(inputs, layers, pack)
