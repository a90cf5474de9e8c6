"""Where the layer states that tasks read come from: the trunk as it is (frozen.py), or as a tuner has changed it (tuners/).

Training, applying and saving know a `Source` and not which one it is. Which one a method needs is decided in approach.py.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager
from typing import Any, Protocol

import numpy as np
from torch import Tensor, nn

from trunkline.branches import SideBranch, TrunkShape
from trunkline.inputs.encoded import Encoded
from trunkline.states.live import Feed
from trunkline.trunk.load import Trunk


class Source(Protocol):
    """A source of layer states: an `nn.Module` with the weights that a method adds to a trunk or changes in it.

    Attributes:
        trunk: the trunk that it changes a copy of; None where it changes nothing.
        large: whether training it takes memory of the trunk's size.
        borrowed: how many weights of the trunk are among its parameters.
        pooler: the trunk's pooler where heads use it; empty otherwise.
    """

    @property
    def trunk(self) -> Trunk | None: ...
    @property
    def large(self) -> bool: ...
    @property
    def borrowed(self) -> int: ...
    @property
    def pooler(self) -> Collection[nn.Module]: ...

    def own(self) -> dict[str, nn.Parameter]:
        """By name, the parameters that a branch keeps of it, trained or not."""

    def parameter_groups(self, weight_decay: float) -> list[dict[str, Any]]:
        """What an optimiser trains of it."""

    def penalty(self) -> Tensor | float:
        """What is added to the loss of every batch."""

    def watch(self) -> AbstractContextManager[None]:
        """Within this context, passes in eval mode are counted for `attention`."""

    def attention(self) -> dict[int, dict[str, float]]:
        """By block, the share of attention that each fused adapter got; empty for other methods."""

    def bind(self, head: SideBranch) -> None:
        """Let `head` share what it uses of the model."""

    def equals(self, other: Any) -> bool:
        """Whether another source gives the same states."""

    def described(self, method: Any) -> dict[str, Any]:
        """The `method` section as `branch.json` keeps it."""

    def stored(self, layers: Collection[int]) -> tuple[int, ...]:
        """The layers of the untouched trunk worth storing, for tasks that read `layers`; may be none."""

    def stored_dtype(self, trunk: Trunk) -> str:
        """The precision in which the trunk computes those: fp32 or bf16."""

    def states(self, trunk: Trunk, encoded: Encoded, stored: Feed | None = None) -> Feed:
        """The states of `encoded`, with what `stored` holds not computed again. `trunk` is the untouched one."""

    def judged(self, trunk: Trunk, encoded: Encoded, stored: Feed | None) -> Feed:
        """The states that final scores are measured on."""

    def trial(self, shape: TrunkShape, lengths: np.ndarray) -> Feed:
        """States of sequences of these lengths, always the same ones: equal sources give equal ones."""

    def recompute(self) -> None:
        """Keep only the inputs of blocks for the way back, which computes the rest again; BadInput where that cannot be."""

    def shard(self) -> None:
        """Divide its weights among the processes of the launch until `gather`; BadInput where that cannot be."""

    def gather(self) -> None:
        """Make it a whole again in every process, with the weights as they are now."""

    def judging(self) -> AbstractContextManager[None]:
        """The context of passes that are no part of a step: each process makes its own then."""

    def while_training(self) -> AbstractContextManager[None]:
        """The context of training on it."""

    def release(self, module: nn.Module) -> None:
        """Move a trained head to where it is kept."""

    def train(self, mode: bool = True) -> Any: ...
    def eval(self) -> Any: ...
    def parameters(self) -> Iterator[nn.Parameter]: ...
