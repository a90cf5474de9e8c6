"""The layer states of a tuned trunk: a feed that runs it, with gradients where the caller's mode has them."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from trunkline.errors import BadInput
from trunkline.inputs.encoded import Encoded
from trunkline.states.live import Feed, ReceiveRows
from trunkline.trunk.stream import run_layers

if TYPE_CHECKING:
    from trunkline.tuners.tuned import TunedTrunk


class TunedStates:
    """A feed that runs a tuned trunk, with gradients where the caller's mode has them.

    Args:
        tuned: the changed trunk.
        encoded (Encoded): the corpus; `feed` takes its sequence numbers.
        lower: a feed of the unchanged trunk with state `tuned.lowest`: the blocks below it are then not run at all.
    """

    def __init__(self, tuned: TunedTrunk, encoded: Encoded, lower: Feed | None = None) -> None:
        self.tuned, self._encoded, self._lower = tuned, encoded, lower
        self.lengths = np.asarray(encoded.lengths)
        longest, taken = tuned.trunk.longest_input, tuned.tuner.positions
        if longest and taken and self.lengths.max(initial=0) + taken > longest:
            raise BadInput(
                f"texts of {self.lengths.max()} tokens and {taken} virtual ones found, expected at most "
                f"{longest} together, the positions of {tuned.trunk.name}; set trunk.max_length to {longest - taken}",
                key="trunk.max_length",
            )

    @property
    def layers(self) -> tuple[int, ...]:
        """The layers that can be asked for, rising."""
        return tuple(range(0 if self._lower is None else self.tuned.lowest + 1, self.tuned.num_layers + 1))

    @property
    def hidden_size(self) -> int:
        """K."""
        return self.tuned.hidden_size

    def feed(self, sequences: np.ndarray, layers: Collection[int], receive: ReceiveRows) -> None:
        """Run one pass over `sequences` (B,); `receive` is called while it runs, with the real tokens' rows (N, K)."""
        sequences = np.asarray(sequences)
        lengths = self.lengths[sequences]
        bf16 = self.tuned.precision == "bf16"
        # On a CPU bf16 kernels are made for one number of rows each, in milliseconds and a megabyte: let there be few.
        inputs = self.tuned.collate(self._encoded, sequences, 8 if bf16 and self.tuned.device.type == "cpu" else 1)
        mask = inputs["attention_mask"]
        padded = bool((lengths != mask.shape[1]).any())
        real = mask.flatten().nonzero().squeeze(1) if padded else None
        before = self.tuned.tuner.virtual_tokens

        def pack(layer: int, state: Tensor) -> None:
            rows = state[:, state.shape[1] - mask.shape[1] :] if before else state
            rows = rows.reshape(-1, rows.shape[-1])
            receive(layer, rows if real is None else torch.index_select(rows, 0, real))

        with self.tuned.computing():
            if self._lower is None:
                run_layers(self.tuned, inputs, layers, pack, frozen=False)
                return
            given: list[Tensor] = []
            self._lower.feed(sequences, (self.tuned.lowest,), lambda layer, rows: given.append(rows))
            rows = given[0].to(mask.device, torch.bfloat16 if bf16 else torch.float32)
            if real is not None:
                rows = rows.new_zeros(mask.numel(), rows.shape[1]).index_copy_(0, real, rows)
            run_layers(self.tuned.beginning_at(rows.view(*mask.shape, -1)), inputs, layers, pack, frozen=False)
