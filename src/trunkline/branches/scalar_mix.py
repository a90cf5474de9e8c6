"""Scalar mix, the layer combination of ELMo (Peters et al. 2018, "Deep contextualized word representations", eq. 1):

    mix = gamma * sum_i softmax(s)_i Z_i        s and gamma learned, s starting equal, gamma at 1

then pool and a linear map. The paper may normalise each layer first; here that is layer norm over K of every token,
without learned affine (the authors' code normalises over the whole batch, which ties a text's answer to its neighbours).
A price of depth (depth.py) may be added to the loss.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from trunkline.branches.depth import expected_depth, silence
from trunkline.branches.fold import (
    BranchConfig,
    LayerState,
    Output,
    SideBranch,
    TrunkShape,
    WeightedSum,
    methods,
)
from trunkline.branches.heads import PooledHead, PoolingKey
from trunkline.branches.layer_choice import choose_layers
from trunkline.inputs.batching import Layout, Pooling


class ScalarMixConfig(BranchConfig):
    """`method: {name: scalar_mix}`."""

    LEARNING_RATE: ClassVar[float] = 1e-2
    LATER: ClassVar[tuple[str, ...]] = ("depth_penalty",)

    name: Literal["scalar_mix"] = "scalar_mix"
    layers: list[int] | str | None = Field(None, description='layers to mix: [1, 3], "0-6"; all states by default')
    layer_norm: bool = Field(False, description="normalise every layer's rows before mixing")
    pooling: PoolingKey | None = Field(
        None, description="cls | mean | last for texts, token for words; mean or token by default"
    )
    dropout: float = Field(0.1, ge=0, lt=1, description="before the linear map")
    depth_penalty: float = Field(
        0.0,
        ge=0,
        description="price of depth: this times the expected depth, a share of all blocks, is added to the loss",
    )


@methods.register("scalar_mix")
class ScalarMix(SideBranch):
    """See the module's docstring."""

    Config: ClassVar[type[BranchConfig]] = ScalarMixConfig
    per_token: ClassVar[bool] = True

    def __init__(self, config: Any, trunk: TrunkShape, output: Output) -> None:
        super().__init__(config, trunk, output)
        self.layers = choose_layers(config.layers, trunk)
        self.s = nn.Parameter(torch.zeros(len(self.layers)))
        self.gamma = nn.Parameter(torch.ones(1))
        self.head = PooledHead(trunk.hidden_size, output, config.pooling, config.dropout)

    def shares(self) -> dict[int, Tensor]:
        """softmax(s) by layer, differentiable in s, of the layers whose share is not 0: those that `keep` has left."""
        found = torch.softmax(self.s, 0)
        dropped = (found.detach() <= 0).tolist()  # what is not a number is kept: it must show
        return {layer: share for layer, share, none in zip(self.layers, found.unbind(), dropped, strict=True) if not none}

    def wanted(self) -> tuple[int, ...]:
        return tuple(self.shares())

    def keep(self, layers: Collection[int]) -> None:
        kept = set(self.wanted()) & set(layers)
        if not kept:
            raise ValueError(f"none of the layers {sorted(layers)} is read; expected some of {self.wanted()}")
        silence(self.s, [place for place, layer in enumerate(self.layers) if layer not in kept])

    def penalty(self) -> Tensor | float:
        """The price of depth."""
        if not self.depth_penalty:
            return 0.0
        shares = self.shares()
        return self.depth_penalty * expected_depth(list(shares), torch.stack(list(shares.values())), self.trunk)

    def _open(self) -> WeightedSum:
        return WeightedSum(self.shares())

    def read(self, carry: WeightedSum | None, layer: int, state: LayerState) -> WeightedSum:
        carry = carry or self._open()
        if layer not in carry.weights:
            return carry
        rows = state.widened()
        if self.config.layer_norm:
            rows = F.layer_norm(rows, rows.shape[-1:])
        return carry.add(layer, rows)

    def finish(self, carry: WeightedSum | None, layout: Layout, rows: Tensor | None = None) -> Tensor:
        return self.head(self.gamma * (carry or self._open()).finished(), layout, rows)

    def dense(self, states: Mapping[int, Tensor], mask: Tensor) -> Tensor:
        shares, width = self.shares(), (self.trunk.hidden_size,)
        rows = [F.layer_norm(states[i], width) if self.config.layer_norm else states[i] for i in shares]
        mixed = torch.stack([share * own for share, own in zip(shares.values(), rows, strict=True)]).sum(0)
        return self.head.dense(self.gamma * mixed, mask)

    def reads_pooled(self) -> Pooling | None:
        pooling = self.head.pools()
        # The mean of a sum over layers is the sum of their means; that of normalised rows is not the normalised mean.
        return None if pooling == "mean" and self.config.layer_norm else pooling

    @torch.no_grad()
    def layer_weights(self) -> dict[int, float]:
        return dict(zip(self.layers, torch.softmax(self.s, 0).tolist(), strict=True))
