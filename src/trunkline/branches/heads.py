"""The heads: from features (N, k) to logits.

`FeatureHead` is the pair of AdaLayers (docs/methods.md), as in its published code: GELU on the features, then positions; then
for texts self-attention, GELU, dropout, mean over real tokens, linear; for units a pre-norm transformer encoder, dropout,
linear. `PooledHead` is the plain one: pool, dropout, linear. Weights lie in torch's own `MultiheadAttention` and
`TransformerEncoderLayer`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trunkline.branches.attention import attend
from trunkline.branches.fold import ACTIVATIONS, Output
from trunkline.branches.products import linear
from trunkline.errors import BadInput
from trunkline.inputs.batching import Layout

HeadKind = Literal["attention", "encoder", "linear"]
Pooling = Literal["cls", "mean", "last", "token"]
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
        for layer in self.encoder:
            layer.dropout1, layer.dropout2 = Dropout(dropout), Dropout(dropout)
        self.linear = nn.Linear(dim, output.size)

    def shape(self) -> tuple[object, ...]:
        """Heads of equal shape can be stacked, whatever their outputs."""
        encoder = (self.layers, self.feed_forward, self.feed_forward_activation) if self.layers else None
        return self.kind, self.dim, self.heads, encoder, self.positions and (True, self.positions_first)

    def forward(self, features: Tensor, layout: Layout, rows: Tensor | None = None) -> Tensor:
        """(N, k) to (B, C) at text level, to (len(rows), C) at unit level."""
        x, mask = padded(features, layout)
        if self.positions and self.positions_first:
            x = F.gelu(self.position_dropout(x + positions(x.shape[1], self.dim).to(x)))
        elif self.positions:
            x = self.position_dropout(F.gelu(x) + positions(x.shape[1], self.dim).to(x))
        else:
            x = F.gelu(x)
        kept = None  # at unit level, the cells of the padded form that are asked for
        if self.output.level == "unit":
            kept = layout.cells if rows is None else layout.cells[rows]
        if self.attention is not None:
            x = F.gelu(self_attention(x, self.attention, mask, kept))
        elif self.layers:
            for number, layer in enumerate(self.encoder, 1):
                assert isinstance(layer, nn.TransformerEncoderLayer)
                x = encoder_layer(
                    x, layer, mask, kept if number == self.layers else None, ACTIVATIONS[self.feed_forward_activation]
                )
        elif kept is not None:
            x = x.flatten(0, 1)[kept]
        x = self.dropout(x)
        return linear(mean(x, layout, mask) if kept is None else x, self.linear.weight, self.linear.bias)


def padded(rows: Tensor, layout: Layout) -> tuple[Tensor, Tensor | None]:
    """Packed rows (N, ...) as (B, T, ...), and the mask (B, T) of real ones: None if all are, as then nothing moves."""
    if layout.total == len(layout.lengths) * layout.longest:
        return rows.unflatten(0, (len(layout.lengths), layout.longest)), None
    return layout.pad(rows), layout.mask


def mean(x: Tensor, layout: Layout, mask: Tensor | None) -> Tensor:
    """The mean over each text's real tokens: (B, T, k) to (B, k)."""
    if mask is None:
        return x.mean(1)
    return (x * mask[..., None]).sum(1) / layout.lengths[:, None]


def self_attention(x: Tensor, weights: nn.MultiheadAttention, mask: Tensor | None, kept: Tensor | None = None) -> Tensor:
    """What `weights` computes within each sequence: (B, T, k) to (B, T, k), or to (M, k) for M kept cells of the B * T.

    Attention weights are never dropped.
    """
    # In float32 also under autocast: the product is small, and what follows it is in float32 anyway.
    with torch.autocast(x.device.type, enabled=False):
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        out = attend(wide, weights.in_proj_weight, weights.in_proj_bias, mask, weights.num_heads)
    return linear(out if kept is None else out.flatten(0, 1)[kept], weights.out_proj.weight, weights.out_proj.bias)


def encoder_layer(
    x: Tensor,
    weights: nn.TransformerEncoderLayer,
    mask: Tensor | None,
    kept: Tensor | None = None,
    activation: Callable[[Tensor], Tensor] = F.gelu,
) -> Tensor:
    """What `weights` computes within each sequence: (B, T, k) to (B, T, k), or to (M, k) for M kept cells of the B * T.

    Dropout is on the output of both halves, not on the attention weights and the feed-forward units within: those are
    many times as many random numbers, and cost more than the layer itself.
    """
    attended = self_attention(weights.norm1(x), weights.self_attn, mask, kept)
    x = (x if kept is None else x.flatten(0, 1)[kept]) + weights.dropout1(attended)
    hidden = activation(linear(weights.norm2(x), weights.linear1.weight, weights.linear1.bias))
    return x + weights.dropout2(linear(hidden, weights.linear2.weight, weights.linear2.bias))


class Dropout(nn.Dropout):
    """`nn.Dropout`, whose random numbers cost more on a CPU than all else in a head: here one 64-bit draw serves four values.

    On a CPU the rate is rounded to a multiple of 1/65536.
    """

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.p == 0 or x.device.type != "cpu":
            return super().forward(x)
        draws = torch.empty(-(-x.numel() // 4), dtype=torch.int64).random_(-(2**63), None).view(torch.int16)
        dropped = min(round(self.p * 65536), 65535)
        kept = draws[: x.numel()].view(x.shape) >= dropped - 32768
        return x * kept.to(x.dtype).mul_(65536 / (65536 - dropped))


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
            raise BadInput(f"found {self.pooling}, expected {expected}", key="method.pooling")
        self.dropout = Dropout(dropout)
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
        return linear(self.dropout(x), self.linear.weight, self.linear.bias)


@torch.no_grad()
def begin_at(head: nn.Module, logits: Tensor) -> None:
    """Give the last linear map of a fresh head the biases `logits` (C,); nothing happens to a head whose map has none."""
    maps = [m for m in head.modules() if isinstance(m, nn.Linear) and m.out_features == len(logits)]
    if maps and maps[-1].bias is not None:
        maps[-1].bias.copy_(logits)


def positions(length: int, dim: int) -> Tensor:
    """(length, dim) float32 on the CPU: the first rows of the position table."""
    return _sinusoids(1 << max(length - 1, 63).bit_length(), dim)[:length]


@lru_cache(maxsize=32)
def _sinusoids(length: int, dim: int) -> Tensor:
    """(length, dim) float32: sin(t / 10000^(2i/dim)) in column 2i, cos of the same in 2i + 1 (Vaswani et al. 2017, 3.5)."""
    rates = torch.exp(torch.arange(0, dim, 2) * (-math.log(10000.0) / dim))
    angles = torch.arange(length)[:, None] * rates
    return torch.stack([angles.sin(), angles.cos()], -1).flatten(1)[:, :dim]
