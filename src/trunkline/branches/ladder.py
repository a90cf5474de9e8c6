"""Ladder side-tuning (Sung et al. 2022, "LST: Ladder Side-Tuning for Parameter and Memory Efficient Transfer Learning").

A small transformer beside the frozen one, a block for each of its blocks, that takes in the layer states on its way up:

    h = D_0(Z_0),  then for each layer i:  h = block_i(g_i h + (1 - g_i) D_i(Z_i)),    g_i = sigmoid(alpha_i / T)

D_i are linear maps from K to K / `reduction`; alpha_i starts at 0, so g_i at 1/2. A block is a transformer encoder layer with
its norms after its halves and feed-forward maps four times as wide as h. In the end a linear map leads back to K numbers, and
a head answers. No gradient passes through the trunk, and h is all that is kept while layers are read.

The published code for encoders (github.com/ylsung/Ladder-Side-Tuning, BART) is followed; docs/methods.md has the differences.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from trunkline.branches.attention import attend
from trunkline.branches.dense import MASKED, pooled
from trunkline.branches.dropout import Dropout
from trunkline.branches.fold import BranchConfig, LayerState, Output, SideBranch, TrunkShape, methods, widened
from trunkline.branches.head_stack import padded
from trunkline.branches.heads import PooledHead, PoolingKey
from trunkline.branches.layer_choice import choose_layers
from trunkline.branches.products import linear
from trunkline.errors import BadInput
from trunkline.inputs.batching import Layout

HEAD_WIDTH = 64  # of the trunk, as nearly all transformers have: the side network has as many heads, so they are narrower


class LadderConfig(BranchConfig):
    """`method: {name: ladder}`."""

    name: Literal["ladder"] = "ladder"
    layers: list[int] | str | None = Field(
        None,
        description='layers to read: [0, 3, 6], "0-6"; the side network begins at the lowest, and has a block for each other',
    )
    reduction: int = Field(8, ge=1, description="the side network is narrower than the trunk by this factor")
    heads: int | None = Field(None, ge=1, description="attention heads of a side block; by default as many as the trunk has")
    temperature: float = Field(0.1, gt=0, description="T of the gates sigmoid(alpha / T)")
    pooling: PoolingKey | None = Field(
        None, description="cls | mean | last for texts, token for words; mean or token by default"
    )
    dropout: float = Field(0.1, ge=0, lt=1, description="on the lowest layer's states, in the side blocks and in the head")


class Linear(nn.Linear):
    """`nn.Linear` for any number of rows (products.py)."""

    def forward(self, x: Tensor) -> Tensor:
        return linear(x, self.weight, self.bias)


class SideBlock(nn.Module):
    """A transformer encoder layer of the side network; its weights are those of torch's own class."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(width, heads, 4 * width)
        self.width, self.heads, self.dropout = width, heads, Dropout(dropout)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """(B, T, k) to the same; `mask` (B, T) is true where a row is real, None if all are."""
        attention = self.layer.self_attn
        # In the weights' own precision also under autocast: the product is small, and what follows it is in float32 anyway.
        with torch.autocast(x.device.type, enabled=False):
            seen = attend(x, attention.in_proj_weight, attention.in_proj_bias, mask, self.heads)
        return self._rest(x, seen)

    def dense(self, x: Tensor, mask: Tensor) -> Tensor:
        """The same in operations that a graph can be made of, without dropout."""
        attention, width = self.layer.self_attn, self.width // self.heads
        query, key, value = (
            part.unflatten(2, (self.heads, width)).transpose(1, 2)  # (B, heads, T, width)
            for part in F.linear(x, attention.in_proj_weight, attention.in_proj_bias).chunk(3, -1)
        )
        scores = (query @ key.transpose(2, 3) * width**-0.5).masked_fill(~mask[:, None, None, :], MASKED)
        return self._rest(x, (torch.softmax(scores, -1) @ value).transpose(1, 2).flatten(2))

    def _rest(self, x: Tensor, seen: Tensor) -> Tensor:
        own, shape = self.layer, (self.width,)
        x = x + self.dropout(linear(seen, own.self_attn.out_proj.weight, own.self_attn.out_proj.bias))
        x = F.layer_norm(x, shape, own.norm1.weight, own.norm1.bias)
        hidden = F.gelu(linear(x, own.linear1.weight, own.linear1.bias))
        x = x + self.dropout(linear(hidden, own.linear2.weight, own.linear2.bias))
        return F.layer_norm(x, shape, own.norm2.weight, own.norm2.bias)


@dataclass(frozen=True)
class Carry:
    """The state of the side network, (B, T, k), padded, and how many of the layers it has taken in."""

    h: Tensor
    read: int


@methods.register("ladder")
class Ladder(SideBranch):
    """See the module's docstring."""

    Config: ClassVar[type[BranchConfig]] = LadderConfig

    def __init__(self, config: Any, trunk: TrunkShape, output: Output) -> None:
        super().__init__(config, trunk, output)
        self.layers = choose_layers(config.layers, trunk)
        if len(self.layers) < 2:
            raise BadInput(
                "found one layer, expected at least two: where the side network begins, and one more", key="method.layers"
            )
        hidden, width = trunk.hidden_size, trunk.hidden_size // config.reduction
        if not width:
            raise BadInput(f"found {config.reduction}, expected at most the trunk's width, {hidden}", key="method.reduction")
        heads = config.heads or next(n for n in range(max(1, hidden // HEAD_WIDTH), 0, -1) if width % n == 0)
        if width % heads:
            raise BadInput(f"found {heads} heads, expected a divisor of the side network's width, {width}", key="method.heads")
        self.down = nn.ModuleDict({str(layer): Linear(hidden, width) for layer in self.layers})
        self.gates = nn.Parameter(torch.zeros(len(self.layers) - 1))  # alpha
        self.blocks = nn.ModuleDict({str(layer): SideBlock(width, heads, config.dropout) for layer in self.layers[1:]})
        self.up = Linear(width, hidden)
        self.between = Linear(hidden, hidden) if output.level == "text" else None
        self.dropout = Dropout(config.dropout)
        self.head = PooledHead(hidden, output, config.pooling, config.dropout)

    def opened(self) -> Tensor:
        """g of each layer but the lowest: the share of h that stays when the layer comes in."""
        return torch.sigmoid(self.gates / self.config.temperature)

    def read(self, carry: Carry | None, layer: int, state: LayerState) -> Carry | None:
        if layer not in self.layers:
            return carry
        place = self.layers.index(layer)
        if place != (carry.read if carry else 0):
            raise ValueError(
                f"layer {self.layers[carry.read if carry else 0]} is required but was not read before layer {layer}"
            )
        if state.layout is None:
            raise ValueError("a side block needs the layout of the batch")
        rows = widened(self.down[str(layer)](state.rows if carry else self.dropout(state.rows)))
        x, mask = padded(rows, state.layout)
        return Carry(x if carry is None else self.blocks[str(layer)](self._mixed(place, carry.h, x), mask), place + 1)

    def _mixed(self, place: int, h: Tensor, x: Tensor) -> Tensor:
        gate = self.opened()[place - 1]
        return gate * h + (1 - gate) * x

    def finish(self, carry: Carry | None, layout: Layout, rows: Tensor | None = None) -> Tensor:
        read = carry.read if carry else 0
        if carry is None or read < len(self.layers):
            raise ValueError(f"layers {list(self.layers[read:])} are required but were not read")
        x, pooling = layout.unpad(carry.h), self.head.pools()
        return self._answer(layout.pooled(x, pooling) if pooling else x if rows is None else x[rows])

    def _answer(self, x: Tensor) -> Tensor:
        """Rows (..., k), pooled already, to logits."""
        x = self.head.dropout(self.up(x))
        if self.between is not None:
            x = self.head.dropout(torch.tanh(self.between(x)))
        return linear(x, self.head.linear.weight, self.head.linear.bias)

    def dense(self, states: Mapping[int, Tensor], mask: Tensor) -> Tensor:
        h: Tensor | None = None
        for place, layer in enumerate(self.layers):
            x: Tensor = self.down[str(layer)](states[layer])
            if h is not None:
                block: Any = self.blocks[str(layer)]
                x = block.dense(self._mixed(place, h, x), mask)
            h = x
        assert h is not None
        pooling = self.head.pools()
        return self._answer(pooled(h, mask, pooling) if pooling else h)

    @torch.no_grad()
    def layer_weights(self) -> dict[int, float]:
        """What the gates alone leave of each layer in the end: 1 - g of its own times all later g; of the lowest, all g."""
        gates = self.opened().double().cpu()
        stays = torch.cat([gates, gates.new_ones(1)]).flip(0).cumprod(0).flip(0)  # the product of this gate and all later ones
        enters = torch.cat([gates.new_ones(1), 1 - gates])
        return dict(zip(self.layers, (enters * stays).tolist(), strict=True))
