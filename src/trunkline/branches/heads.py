"""The heads: from features (N, k) to logits.

`FeatureHead` is the document's pair (AdaLayers; docs/methods.md): for texts self-attention over the features, GELU,
dropout, mean over real tokens, linear; for units a pre-norm transformer encoder, dropout, linear. `PooledHead` is the
plain one: pool, dropout, linear. Weights lie in torch's own `MultiheadAttention` and `TransformerEncoderLayer`.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trunkline.branches.attention import attend
from trunkline.branches.fold import Output
from trunkline.data.batching import Layout
from trunkline.errors import BadInput

HeadKind = Literal["attention", "encoder", "linear"]
Pooling = Literal["cls", "mean", "last", "token"]


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
    ) -> None:
        super().__init__()
        if kind != "linear" and dim % heads:
            raise BadInput(f"method.heads: found {heads} heads for dim {dim}, expected a divisor of dim")
        self.dim, self.output, self.kind, self.heads, self.positions = dim, output, kind, heads, positions
        self.dropout = nn.Dropout(dropout)
        self.attention = nn.MultiheadAttention(dim, heads) if kind == "attention" else None
        self.layers, self.feed_forward = (layers, feed_forward) if kind == "encoder" else (0, 0)
        self.encoder = nn.ModuleList(
            nn.TransformerEncoderLayer(dim, heads, feed_forward, dropout, norm_first=True) for _ in range(self.layers)
        )
        self.linear = nn.Linear(dim, output.size)

    def shape(self) -> tuple[object, ...]:
        """Heads of equal shape can be stacked, whatever their outputs."""
        return self.kind, self.dim, self.heads, self.layers, self.feed_forward, self.positions

    def forward(self, features: Tensor, layout: Layout, rows: Tensor | None = None) -> Tensor:
        """(N, k) to (B, C) at text level, to (len(rows), C) at unit level."""
        if self.positions:
            features = features + positions_of(layout, self.dim, features)
        x = F.gelu(features)
        kept = rows if self.output.level == "unit" else None
        if self.attention is not None:
            x = F.gelu(self_attention(x, self.attention, layout, kept))
        elif self.layers:
            for number, layer in enumerate(self.encoder, 1):
                assert isinstance(layer, nn.TransformerEncoderLayer)
                x = encoder_layer(x, layer, layout, kept if number == self.layers else None)
        elif kept is not None:
            x = x[kept]
        x = self.dropout(x)
        return self.linear(layout.mean(x) if self.output.level == "text" else x)


def self_attention(x: Tensor, weights: nn.MultiheadAttention, layout: Layout, rows: Tensor | None = None) -> Tensor:
    """What `weights` computes within each sequence: (N, k) to (N, k) or (len(rows), k). Attention weights are never dropped."""
    out = attend(F.linear(x, weights.in_proj_weight, weights.in_proj_bias), layout, weights.num_heads)
    return weights.out_proj(out if rows is None else out[rows])


def encoder_layer(x: Tensor, weights: nn.TransformerEncoderLayer, layout: Layout, rows: Tensor | None = None) -> Tensor:
    """What `weights` would compute within each sequence, (N, k) to (N, k), or for some rows only, (len(rows), k).

    Dropout is on the output of both halves, not on the attention weights and the feed-forward units within: those are
    many times as many random numbers, and cost more than the layer itself.
    """
    attended = self_attention(weights.norm1(x), weights.self_attn, layout, rows)
    x = (x if rows is None else x[rows]) + weights.dropout1(attended)
    return x + weights.dropout2(weights.linear2(F.relu(weights.linear1(weights.norm2(x)))))


class PooledHead(nn.Module):
    """Pool the tokens of each text, or pick the units' own, then dropout and a linear map.

    Args:
        width: K, of the rows that come in.
        output: what the task asks for.
        pooling: ``cls`` (first token), ``mean``, ``last`` (last token) for texts; ``token`` for units; None for the usual
            one of the level, ``mean`` or ``token``.
        dropout: before the linear map.
    """

    def __init__(self, width: int, output: Output, pooling: Pooling | None, dropout: float) -> None:
        super().__init__()
        self.pooling: Pooling = pooling or ("mean" if output.level == "text" else "token")
        if (self.pooling == "token") != (output.level == "unit"):
            expected = (
                "token, as the task labels words" if output.level == "unit" else "cls, mean or last, as the task labels texts"
            )
            raise BadInput(f"method.pooling: found {self.pooling}, expected {expected}")
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(width, output.size)

    def forward(self, x: Tensor, layout: Layout, rows: Tensor | None = None) -> Tensor:
        """(N, K) to (B, C) at text level, to (len(rows), C) at unit level."""
        if self.pooling == "mean":
            x = layout.mean(x)
        elif self.pooling == "cls":
            x = x[layout.starts]
        elif self.pooling == "last":
            x = x[layout.starts + layout.lengths - 1]
        elif rows is not None:
            x = x[rows]
        return self.linear(self.dropout(x))


def positions_of(layout: Layout, dim: int, like: Tensor) -> Tensor:
    """Position embeddings (N, dim) of packed rows, counted from each sequence's start, in the dtype and device of `like`."""
    table = sinusoids(1 << max(layout.longest - 1, 63).bit_length(), dim).to(like)
    return table[torch.arange(layout.total, device=like.device) - layout.starts[layout.sequence_of]]


@lru_cache(maxsize=32)
def sinusoids(length: int, dim: int) -> Tensor:
    """(length, dim) float32: sin(t / 10000^(2i/dim)) in column 2i, cos of the same in 2i + 1 (Vaswani et al. 2017, 3.5)."""
    rates = torch.exp(torch.arange(0, dim, 2) * (-math.log(10000.0) / dim))
    angles = torch.arange(length)[:, None] * rates
    return torch.stack([angles.sin(), angles.cos()], -1).flatten(1)[:, :dim]
