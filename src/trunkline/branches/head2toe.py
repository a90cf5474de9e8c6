"""Head2Toe (Evci et al. 2022, "Head2Toe: Utilizing Intermediate Representations for Better Transfer Learning", arXiv
2201.03529): a linear head on the few features, of all layers, that a group lasso finds.

    x_i = pool(Z_i)_S(i) / |pool(Z_i)_S(i)|        S(i): the features of layer i that are kept
    y   = W concat_i(x_i) + b

or, with `normalisation: per_feature`, each feature less its mean over examples, divided by their standard deviation.

Before training, a linear map on the features of all layers, normalised likewise, is trained with a group lasso on examples in
memory (group_lasso.py), and the `fraction` of features with the largest weights are kept. W and b are then trained anew, on
these. The published code is about images and also reads the inner activations of each block; here the states after each block
are read, as every side branch does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from trunkline.branches.dense import pooled
from trunkline.branches.examples import Asked, Examples
from trunkline.branches.fold import BranchConfig, LayerState, Output, SideBranch, TrunkShape, methods
from trunkline.branches.group_lasso import feature_scores, largest, unit
from trunkline.branches.heads import PoolingKey, pooling_for
from trunkline.branches.layer_choice import choose_layers
from trunkline.inputs.batching import Layout, Pooling

EPS = 1e-5  # added to the variance of a feature


class Head2ToeConfig(BranchConfig):
    """`method: {name: head2toe}`."""

    LEARNING_RATE: ClassVar[float] = 1e-2

    name: Literal["head2toe"] = "head2toe"
    layers: list[int] | str | None = Field(None, description='layers to select from: [1, 3], "0-6"; all states by default')
    fraction: float = Field(0.1, gt=0, le=1, description="of the features of all layers that is kept")
    normalisation: Literal["unit_vector", "per_feature"] = Field(
        "unit_vector", description="divide each layer's features by their norm, or standardise each by the training examples"
    )
    lasso: float = Field(1e-4, ge=0, description="weight of the group lasso in the selection")
    selection_steps: int = Field(500, ge=1, description="steps of the selection, 128 examples each")
    selection_learning_rate: float = Field(0.1, gt=0, description="of the selection, at its first step")
    pooling: PoolingKey | None = Field(
        None, description="cls | mean | last for texts, token for words; mean or token by default"
    )


@dataclass(frozen=True)
class Slice:
    """The n features that are kept of a layer: their numbers (n,), their weights (C, n), and, where each is standardised, their
    means and the inverses of their deviations, (2, n)."""

    numbers: Tensor
    weight: Tensor
    moments: Tensor | None

    def logits(self, x: Tensor) -> Tensor:
        """What they add to the logits (..., C) of states (..., K), not in half precision."""
        with torch.autocast(x.device.type, enabled=False):
            x = x.index_select(-1, self.numbers)
            return F.linear(unit(x) if self.moments is None else (x - self.moments[0]) * self.moments[1], self.weight)


@dataclass(frozen=True)
class Carry:
    """What was read of a batch: the sum of the logits of the layers in it, and those that are still to come."""

    slices: Mapping[int, Slice]  # by layer
    total: Tensor | None = None
    read: frozenset[int] = field(default=frozenset())


@methods.register("head2toe")
class Head2Toe(SideBranch):
    """See the module's docstring. Before the selection, features at equal distances are kept."""

    Config: ClassVar[type[BranchConfig]] = Head2ToeConfig

    def __init__(self, config: Any, trunk: TrunkShape, output: Output) -> None:
        super().__init__(config, trunk, output)
        self.layers = choose_layers(config.layers, trunk)
        self.pooling = pooling_for(config.pooling, output)
        features = len(self.layers) * trunk.hidden_size
        count = max(1, int(features * config.fraction))
        self.kept: Tensor
        # Which of the features of all layers, laid end to end; rising.
        self.register_buffer("kept", torch.arange(count) * features // count)
        self.moments: Tensor | None
        standard = torch.stack([torch.zeros(count), torch.ones(count)]) if config.normalisation == "per_feature" else None
        self.register_buffer("moments", standard)
        self.linear = nn.Linear(count, output.size)
        nn.init.xavier_uniform_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def examines(self) -> Asked:
        return Asked(self.layers, "mean" if self.pooling == "token" else self.pooling)

    def examine(self, examples: Examples) -> None:
        """Select the features."""
        config, device = self.config, self.linear.weight.device
        states = [examples.states[layer] for layer in self.layers]
        if self.moments is None:
            features = torch.cat([unit(own) for own in states], 1)
        else:
            found = [torch.var_mean(own.double(), 0, correction=0) for own in states]
            mean = torch.cat([mean for _, mean in found]).float()
            scale = torch.cat([(variance + EPS).rsqrt() for variance, _ in found]).float()
            features = (torch.cat(states, 1) - mean) * scale
        weight = nn.init.xavier_uniform_(torch.empty(self.output.size, features.shape[1])).to(device)
        scores = feature_scores(
            features, examples.loss, weight,
            penalty=config.lasso, steps=config.selection_steps, learning_rate=config.selection_learning_rate,
        )  # fmt: skip
        with torch.no_grad():
            self.kept.copy_(largest(scores, len(self.kept)))
            if self.moments is not None:
                self.moments.copy_(torch.stack([mean, scale])[:, self.kept.cpu()])

    def counts(self) -> dict[int, int]:
        """How many features of each layer are kept."""
        width = self.trunk.hidden_size
        found = torch.bincount(self.kept // width, minlength=len(self.layers)).tolist()
        return dict(zip(self.layers, found, strict=True))

    def wanted(self) -> tuple[int, ...]:
        return tuple(layer for layer, count in self.counts().items() if count)

    def _slices(self) -> dict[int, Slice]:
        """By layer, the features that are kept of it; of those with any."""
        counts, width = list(self.counts().values()), self.trunk.hidden_size
        numbers, weights = (self.kept % width).split(counts), self.linear.weight.split(counts, 1)
        moments = [None] * len(counts) if self.moments is None else self.moments.split(counts, 1)
        parts = zip(self.layers, numbers, weights, moments, strict=True)
        return {layer: Slice(own, weight, found) for layer, own, weight, found in parts if len(own)}

    def read(self, carry: Carry | None, layer: int, state: LayerState) -> Carry:
        carry = carry or Carry(self._slices())
        if layer not in carry.slices:
            return carry
        if self.pooling == "token":
            rows = state.widened()
        elif self.pooling == "mean":
            rows = state.pooled()
        else:
            if state.layout is None:
                raise ValueError("pooled states need the layout of the batch")
            rows = state.layout.pooled(state.widened(), self.pooling)
        own = carry.slices[layer].logits(rows)
        return Carry(carry.slices, own if carry.total is None else carry.total + own, carry.read | {layer})

    def finish(self, carry: Carry | None, layout: Layout, rows: Tensor | None = None) -> Tensor:
        carry = carry or Carry(self._slices())
        if carry.total is None or carry.read != carry.slices.keys():
            raise ValueError(f"layers {sorted(carry.slices.keys() - carry.read)} are required but were not read")
        total = carry.total if rows is None or self.pooling != "token" else carry.total[rows]
        return total + self.linear.bias

    def dense(self, states: Mapping[int, Tensor], mask: Tensor) -> Tensor:
        total: Tensor | float = 0.0
        for layer, own in self._slices().items():
            x = states[layer]
            total = total + own.logits(x if self.pooling == "token" else pooled(x, mask, self.pooling))
        return total + self.linear.bias

    def reads_pooled(self) -> Pooling | None:
        return None if self.pooling == "token" else self.pooling

    @torch.no_grad()
    def layer_weights(self) -> dict[int, float]:
        return {layer: count / len(self.kept) for layer, count in self.counts().items()}

    def by_layer(self) -> dict[str, dict[int, float]]:
        return {"features": dict(self.counts())}
