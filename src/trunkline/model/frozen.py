"""The trunk as it is, as the source of what side branches read: nothing of it is trained, saved or changed."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch
from torch import nn

from trunkline.branches import SideBranch, TrunkShape
from trunkline.inputs.encoded import Encoded
from trunkline.states.live import Feed, LiveStates, ReceiveRows
from trunkline.trunk.load import Trunk


class FrozenTrunk(nn.Module):
    """A `Source` (source.py) without weights of its own. It holds no trunk, so a branch that reads it loads without one."""

    trunk = None
    large = False
    borrowed = 0
    pooler: tuple[nn.Module, ...] = ()

    def own(self) -> dict[str, nn.Parameter]:
        return {}

    def parameter_groups(self, weight_decay: float) -> list[dict[str, Any]]:
        return []

    def penalty(self) -> float:
        return 0.0

    def watch(self) -> AbstractContextManager[None]:
        return nullcontext()

    def attention(self) -> dict[int, dict[str, float]]:
        return {}

    def bind(self, head: SideBranch) -> None:
        pass

    def equals(self, other: nn.Module) -> bool:
        return isinstance(other, FrozenTrunk)

    def described(self, method: Any) -> dict[str, Any]:
        return method.model_dump(mode="json")

    def stored(self, layers: Collection[int]) -> tuple[int, ...]:
        return tuple(layers)

    def stored_dtype(self, trunk: Trunk) -> str:
        return trunk.dtype

    def states(self, trunk: Trunk, encoded: Encoded, stored: Feed | None = None) -> Feed:
        return stored or LiveStates(trunk, encoded)

    def judged(self, trunk: Trunk, encoded: Encoded, stored: Feed | None) -> Feed:
        return self.states(trunk, encoded, stored)

    def trial(self, shape: TrunkShape, lengths: np.ndarray) -> Feed:
        return RandomStates(shape, lengths)

    def recompute(self) -> None:
        pass  # there is no way back through it

    def shard(self) -> None:
        pass  # of its own it has no weights

    def gather(self) -> None:
        pass

    def judging(self) -> AbstractContextManager[None]:
        return nullcontext()

    def while_training(self) -> AbstractContextManager[None]:
        return nullcontext()

    def release(self, module: nn.Module) -> None:
        module.cpu()


class RandomStates:
    """A feed of random states (float32, on the CPU) for sequences of given lengths; the same ones each time."""

    def __init__(self, shape: TrunkShape, lengths: np.ndarray) -> None:
        self.layers, self.hidden_size, self.lengths = tuple(range(shape.num_layers + 1)), shape.hidden_size, lengths
        generator = torch.Generator().manual_seed(0)
        self._states = torch.randn(len(self.layers), int(lengths.sum()), shape.hidden_size, generator=generator)

    def feed(self, sequences: np.ndarray, layers: Collection[int], receive: ReceiveRows) -> None:
        """Hand out the states of all sequences, whichever are asked for."""
        for layer in sorted(layers):
            receive(layer, self._states[layer])


FROZEN = FrozenTrunk()
