"""The heads: from features (N, k) to logits.

`FeatureHead` is the pair of AdaLayers (docs/methods.md), as in its published code: GELU on the features, then positions; then
for texts self-attention, GELU, dropout, mean over real tokens, linear; for units a pre-norm transformer encoder, dropout,
linear. `PooledHead` is the plain one: pool, dropout, linear. Weights lie in torch's own `MultiheadAttention` and
`TransformerEncoderLayer`; the arithmetic of the pair is in head_stack.py.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trunkline.branches.dense import pooled
from trunkline.branches.dropout import Dropout
from trunkline.branches.fold import Output
from trunkline.branches.head_stack import HeadStack
from trunkline.branches.products import linear
from trunkline.errors import BadInput
from trunkline.inputs.batching import Layout, Pooling

HeadKind = Literal["attention", "encoder", "linear"]
PoolingKey = Literal["cls", "mean", "last", "token"]
FeedForwardActivation = Literal["gelu", "relu"]


class FeatureHead(nn.Module):
    """Features of all tokens to logits.

    Args:
        dim: k, width of the features.
        output: what the task asks for.
        kind: ``attention`` (self-attention, GELU), ``encoder`` (pre-norm encoder layers) or ``linear`` (neither).
        heads: attention heads, a divisor of `dim`.
        layers, feed_forward: of ``encoder``: how many layers, and the width between their two linear maps.
        dropout: before the last linear map and, in ``encoder``, after both halves of each layer.
        positions: add sinusoidal position embeddings to the features.
        position_dropout: after positions are added.
        positions_first: add them before the first GELU, not after it.
        feed_forward_activation: of ``encoder``, between its two linear maps.
    """

    def __init__(
        self,
        dim: int,
        output: Output,
        *,
        kind: HeadKind,
        heads: int,
        layers: int,
        feed_forward: int,
        dropout: float,
        positions: bool,
        position_dropout: float = 0.0,
        positions_first: bool = False,
        feed_forward_activation: FeedForwardActivation = "gelu",
    ) -> None:
        super().__init__()
        if kind != "linear" and dim % heads:
            raise BadInput(f"found {heads} heads for dim {dim}, expected a divisor of dim", key="method.heads")
        self.dim, self.output, self.kind, self.heads, self.positions = dim, output, kind, heads, positions
        self.positions_first, self.feed_forward_activation = positions_first, feed_forward_activation
        self.dropout, self.position_dropout = Dropout(dropout), Dropout(position_dropout)
        self.attention = nn.MultiheadAttention(dim, heads) if kind == "attention" else None
        self.layers, self.feed_forward = (layers, feed_forward) if kind == "encoder" else (0, 0)
        self.encoder = nn.ModuleList(
            nn.TransformerEncoderLayer(dim, heads, feed_forward, dropout, norm_first=True) for _ in range(self.layers)
        )
        self.linear = nn.Linear(dim, output.size)

    def shape(self) -> tuple[object, ...]:
        """Heads of equal shape are computed as one (head_stack.py), however many outputs each has."""
        encoder = (self.layers, self.feed_forward, self.feed_forward_activation) if self.layers else None
        positions = self.positions and (True, self.positions_first)
        return self.kind, self.dim, self.heads, encoder, positions, self.output.level

    def forward(self, features: Tensor, layout: Layout, rows: Tensor | None = None) -> Tensor:
        """(N, k) to (B, C) at text level, to (len(rows), C) at unit level."""
        return HeadStack([self], None)(features[:, None], layout, [rows])[0]


def pooling_for(pooling: PoolingKey | None, output: Output) -> PoolingKey:
    """How rows are pooled for a task: as asked, or in the usual way of its level. BadInput if it is one of the other level."""
    found: PoolingKey = pooling or ("mean" if output.level == "text" else "token")
    if (found == "token") != (output.level == "unit"):
        expected = (
            "token, as the task labels words" if output.level == "unit" else "cls, mean or last, as the task labels texts"
        )
        raise BadInput(f"found {found}, expected {expected}", key="method.pooling")
    return found


class PooledHead(nn.Module):
    """Pool the tokens of each text, or pick the units' own, then dropout and a linear map.

    Args:
        width: K, of the rows that come in.
        output: what the task asks for.
        pooling: ``cls`` (first token), ``mean``, ``last`` (last token) for texts; ``token`` for units; None for the usual
            one of the level, ``mean`` or ``token``.
        dropout: before the linear map.
    """

    def __init__(self, width: int, output: Output, pooling: PoolingKey | None, dropout: float) -> None:
        super().__init__()
        self.pooling = pooling_for(pooling, output)
        self.dropout = Dropout(dropout)
        self.linear = nn.Linear(width, output.size)

    def pools(self) -> Pooling | None:
        """How it pools a text's rows, before all else; None where it picks the units' own."""
        return None if self.pooling == "token" else self.pooling

    def dense(self, x: Tensor, mask: Tensor) -> Tensor:
        """Without dropout, padded (B, T, K) with its mask (B, T) to (B, C) at text level, to (B, T, C) at unit level."""
        rows = x if self.pooling == "token" else pooled(x, mask, self.pooling)
        return F.linear(rows, self.linear.weight, self.linear.bias)

    def forward(self, x: Tensor, layout: Layout, rows: Tensor | None = None) -> Tensor:
        """(N, K) to (B, C) at text level, to (len(rows), C) at unit level."""
        if self.pooling != "token":
            x = layout.pooled(x, self.pooling)
        elif rows is not None:
            x = x[rows]
        return linear(self.dropout(x), self.linear.weight, self.linear.bias)


@torch.no_grad()
def begin_at(head: nn.Module, logits: Tensor) -> None:
    """Give the last linear map of a fresh head the biases `logits` (C,); nothing happens to a head whose map has none."""
    maps = [m for m in head.modules() if isinstance(m, nn.Linear) and m.out_features == len(logits)]
    if maps and maps[-1].bias is not None:
        maps[-1].bias.copy_(logits)
