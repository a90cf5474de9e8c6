"""What a side branch is: a fold over the trunk's layers.

It starts with an empty carry, reads the packed rows of one layer at a time, and finishes with logits. It never changes
the trunk. The same object reads a states store and a live forward pass, as both only feed it layers in order.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn

from trunkline.inputs.batching import Layout, Pooling
from trunkline.registry import Registry

if TYPE_CHECKING:
    from trunkline.branches.examples import Asked, Examples
    from trunkline.branches.stack import LayerSum

# What `method:` of a config may name: the side branches of this package, and what higher packages add.
methods: Registry[Any] = Registry("method", __package__)

ActivationName = Literal["gelu", "relu", "silu", "tanh", "none"]
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": F.gelu,
    "relu": F.relu,
    "silu": F.silu,
    "tanh": torch.tanh,
    "none": lambda x: x,
}


@dataclass(frozen=True)
class TrunkShape:
    """The two numbers of a trunk that a branch is built for; its states are numbered 0..num_layers."""

    num_layers: int
    hidden_size: int


@dataclass(frozen=True)
class Output:
    """What the task asks of the head: logits per text or per unit (a word), how many, and whether they are numbers (of a
    regression) and not scores of labels."""

    level: Literal["text", "unit"]
    size: int
    numbers: bool = False


class LayerState:
    """The rows (N, K) of one layer for one batch. What several branches share of it is computed once.

    Args:
        rows: (N, K), packed, without gradients. Under autocast they stay in their own dtype; otherwise half-precision
            rows are widened to float32, once for all branches.
        layout: where they lie; only `pooled` needs it.
        means: gives what `pooled` returns, where that is known; on any device.
    """

    def __init__(self, rows: Tensor, layout: Layout | None = None, means: Callable[[], Tensor] | None = None) -> None:
        if rows.dtype in (torch.bfloat16, torch.float16) and not torch.is_autocast_enabled(rows.device.type):
            rows = rows.float()
        self.rows, self.layout, self._means = rows, layout, means
        self._widened: Tensor | None = None
        self._pooled: Tensor | None = None
        self._activated: dict[str, Tensor] = {}

    def widened(self) -> Tensor:
        """Return the rows in float32 at least: sums over layers are made in that, as bf16 would lose their small terms."""
        if self._widened is None:
            self._widened = widened(self.rows)
        return self._widened

    def pooled(self) -> Tensor:
        """Return the mean of each text's rows, (B, K) in float32 at least."""
        if self._pooled is None and self._means is not None:
            self._pooled = self._means().to(self.rows.device)
        if self._pooled is None:
            if self.layout is None:
                raise ValueError("pooled states need the layout of the batch")
            self._pooled = self.layout.means(self.widened())
        return self._pooled

    def activated(self, name: str) -> Tensor:
        """Return a(rows), (N, K) in the dtype of the rows, for an activation by name."""
        if name not in self._activated:
            self._activated[name] = ACTIVATIONS[name](self.rows)
        return self._activated[name]


def widened(x: Tensor) -> Tensor:
    """Return x in float32, or as it is if it is in float64."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


@dataclass(frozen=True)
class WeightedSum:
    """A carry: the weights of the layers still to come, and the weighted sum (N, k) of those that were read."""

    weights: dict[int, Tensor]
    total: Tensor | None = None

    def add(self, layer: int, values: Tensor) -> WeightedSum:
        """Return the sum with `values` (N, k) of `layer` in it."""
        rest = {key: weight for key, weight in self.weights.items() if key != layer}
        weight = self.weights[layer]
        return WeightedSum(rest, values * weight if self.total is None else torch.addcmul(self.total, values, weight))

    def finished(self) -> Tensor:
        """The sum; every layer must have been read, or it would be wrong in silence."""
        if self.weights or self.total is None:
            raise ValueError(f"layers {sorted(self.weights)} are required but were not read")
        return self.total


class BranchConfig(BaseModel):
    """The `method:` section: an unknown key is an error, and every method adds its own keys."""

    model_config = ConfigDict(extra="forbid")

    LEARNING_RATE: ClassVar[float | None] = 1e-3  # at its peak, where `training.learning_rate` is not given; None: no one rate
    LATER: ClassVar[tuple[str, ...]] = ()  # keys that earlier versions did not have

    @classmethod
    def upgrade(cls, section: dict[str, Any], schema: int) -> dict[str, Any]:
        """Return the section of a `branch.json`, of an earlier schema or version maybe, with keys that keep its arithmetic."""
        return section


class SideBranch(nn.Module):
    """A small module that reads layer states and solves one task.

    Args:
        config: an instance of the class's `Config`.
        trunk: shape of the trunk that it will read.
        output: what the task asks for.

    Raises:
        BadInput: the config does not fit the trunk or the task.
    """

    Config: ClassVar[type[BaseModel]]
    # Whether every tensor of its carry has one row for each token, computed of that token's states alone: then what was read
    # of consecutive parts of a text can be put together. A class that overrides `read` or `finish` declares it anew.
    per_token: ClassVar[bool] = False

    def __init__(self, config: Any, trunk: TrunkShape, output: Output) -> None:
        super().__init__()
        self.config, self.trunk, self.output = config, trunk, output
        self.layers: tuple[int, ...] = ()  # all that it may read, rising

    @property
    def depth_penalty(self) -> float:
        """What its loss pays for the whole depth of the trunk (depth.py); above 0 its depth counts, and `keep` can lower it."""
        return getattr(self.config, "depth_penalty", 0.0)

    def keep(self, layers: Collection[int]) -> None:
        """Read none but these from now on, of those that it reads now; one with a `depth_penalty` can.

        Raises:
            ValueError: it reads none of them.
        """
        raise NotImplementedError

    def wanted(self) -> tuple[int, ...]:
        """The layers that it reads now, rising: reading others too changes nothing."""
        return self.layers

    def read(self, carry: Any, layer: int, state: LayerState) -> Any:
        """Take in one layer and return the new carry; the first carry is None. Each wanted layer is read once."""
        raise NotImplementedError

    def finish(self, carry: Any, layout: Layout, rows: Tensor | None = None) -> Tensor:
        """Turn the carry into logits.

        Args:
            carry: what the last `read` returned.
            layout: where the packed rows of the batch lie.
            rows (LongTensor | None): unit level only: packed row numbers to answer for, all if None.

        Returns:
            Tensor: (B, C) at text level, (len(rows), C) at unit level.
        """
        raise NotImplementedError

    def dense(self, states: Mapping[int, Tensor], mask: Tensor) -> Tensor:
        """Its logits of padded states, in operations that a graph can be made of (dense.py); a `LayerSum` needs none.

        A class that overrides `read` or `finish` below the one with this method has none.

        Args:
            states: by layer, float32 (B, T, K), padded on the right.
            mask: bool (B, T), true where a token is real.

        Returns:
            Tensor: (B, C) at text level, (B, T, C) at unit level.
        """
        raise NotImplementedError

    def contributions(self, carry: Any, layout: Layout, rows: Tensor | None = None) -> Tensor:
        """What each layer of each token contributed to each logit, (N, layers, C) float32, for methods that can tell.

        Args:
            carry, layout, rows: as in `finish`; at unit level the first axis is that of `rows`.
        """
        raise NotImplementedError

    def mixture(self) -> Sequence[tuple[SideBranch, float]]:
        """Branches whose logits, each times its number, add up to its own, if it is computed as these; none otherwise.

        A class that overrides `read` or `finish` below the one with this method is read by itself again.
        """
        return ()

    def layer_sum(self) -> LayerSum | None:
        """What it computes as it is now, if that is a `LayerSum`: then it is computed as one with others of equal shape.

        A class that overrides `read` or `finish` below the one with this method is read by itself again.
        """
        return None

    def reads_pooled(self) -> Pooling | None:
        """The pooling of a text's rows that its logits depend on, if they depend on nothing else: a text of one row, its
        pooled state, then has the same logits (but for rounding), and training reads that in place of all tokens.

        A class that overrides `read` or `finish` below the one with this method reads all tokens again.
        """
        return None

    def penalty(self) -> Tensor | float:
        """What the method adds to the loss of every batch."""
        return 0.0

    def measures(self) -> tuple[int, ...]:
        """The layers of whose pooled states it wants to know `standardise`'s numbers before it is trained, rising."""
        return ()

    def standardise(self, moments: Mapping[int, tuple[Tensor, Tensor]]) -> None:
        """Take note of the mean and the standard deviation of pooled states over training texts, (K,) each, by layer."""

    def examines(self) -> Asked | None:
        """The states of training examples that it wants to see before it is trained; None: none."""
        return None

    def examine(self, examples: Examples) -> None:
        """Measure and choose, by what `examines` asks for; drawn by the seed of the run. What is found goes into buffers.

        Raises:
            BadInput: these examples are not fit for it.
        """

    def bind(self, model: nn.Module) -> None:
        """Use the parts of `model` that this head shares with the trunk below it, such as a pooler."""

    def layer_weights(self) -> dict[int, float]:
        """How much each layer counts, for reports; they sum to 1. Layers that count nothing are there with 0."""
        return {}

    def by_layer(self) -> dict[str, dict[int, float]]:
        """What else it has measured or chosen of its layers, by what that is called, for reports."""
        return {}

    def parameter_groups(self, weight_decay: float) -> list[dict[str, Any]]:
        """Groups for the optimiser: matrices decay; biases, norms and weights over layers do not."""
        matrices = [p for p in self.parameters() if p.ndim >= 2]
        vectors = [p for p in self.parameters() if p.ndim < 2]
        groups = ({"params": matrices, "weight_decay": weight_decay}, {"params": vectors, "weight_decay": 0.0})
        return [group for group in groups if group["params"]]
