"""A linear probe on one layer (Alain and Bengio 2016, "Understanding intermediate layers using linear classifier probes")."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field
from torch import Tensor

from trunkline.branches.fold import BranchConfig, LayerState, Output, SideBranch, TrunkShape, methods
from trunkline.branches.heads import PooledHead, PoolingKey
from trunkline.branches.layer_choice import choose_layer
from trunkline.inputs.batching import Layout, Pooling


class ProbeConfig(BranchConfig):
    """`method: {name: probe}`."""

    LEARNING_RATE: ClassVar[float] = 1e-2

    name: Literal["probe"] = "probe"
    layer: int = Field(-1, description="the layer to read; negative numbers count from the top, -1 is the last")
    pooling: PoolingKey | None = Field(
        None, description="cls | mean | last for texts, token for words; mean or token by default"
    )
    dropout: float = Field(0.0, ge=0, lt=1, description="before the linear map")


@methods.register("probe")
class Probe(SideBranch):
    """logits = W pool(Z_layer) + b."""

    Config: ClassVar[type[BranchConfig]] = ProbeConfig
    per_token: ClassVar[bool] = True

    def __init__(self, config: Any, trunk: TrunkShape, output: Output) -> None:
        super().__init__(config, trunk, output)
        self.layers = (choose_layer(config.layer, trunk),)
        self.head = PooledHead(trunk.hidden_size, output, config.pooling, config.dropout)

    def read(self, carry: Tensor | None, layer: int, state: LayerState) -> Tensor | None:
        return state.rows if layer in self.layers else carry

    def finish(self, carry: Tensor | None, layout: Layout, rows: Tensor | None = None) -> Tensor:
        if carry is None:
            raise ValueError(f"layer {self.layers[0]} is required but was not read")
        return self.head(carry, layout, rows)

    def dense(self, states: Mapping[int, Tensor], mask: Tensor) -> Tensor:
        return self.head.dense(states[self.layers[0]], mask)

    def reads_pooled(self) -> Pooling | None:
        return self.head.pools()

    def layer_weights(self) -> dict[int, float]:
        return {self.layers[0]: 1.0}
