"""The arithmetic of `FeatureHead`, for n >= 1 heads of equal shape as one: the same numbers, n times fewer operations.

Differentiable: one head is trained through it as n are applied. Tensors are (n, B, T, k): branch, text, token, feature.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from trunkline.branches.attention import attend
from trunkline.branches.dropout import drop
from trunkline.branches.fold import ACTIVATIONS, widened
from trunkline.branches.products import linear, linears
from trunkline.inputs.batching import Layout

if TYPE_CHECKING:
    from trunkline.branches.heads import FeatureHead

ROWS = 16384  # rows times branches that go through a head at once: enough to fill the machine, and little to hold


def together(tensors: Sequence[Tensor], frozen: torch.dtype | None) -> Tensor:
    """n tensors as one (n, ...): differentiable, or with `frozen` a copy in that dtype."""
    if frozen is not None:
        return torch.stack([tensor.detach() for tensor in tensors]).to(frozen)
    return tensors[0][None] if len(tensors) == 1 else torch.stack(list(tensors))


class HeadStack:
    """The weights of heads of equal `shape()`, stacked. Nothing in it changes when it is called.

    Args:
        heads: of the branches, in order; how many outputs each has may differ.
        frozen: copy the weights, those of matrix products in this dtype, and drop nothing. None: gradients reach the heads.
    """

    def __init__(self, heads: Sequence[FeatureHead], frozen: torch.dtype | None) -> None:
        first = heads[0]
        self.kind, self.dim, self.heads, self.layers = first.kind, first.dim, first.heads, first.layers
        self.positions, self.positions_first, self.level = first.positions, first.positions_first, first.output.level
        self.activation = ACTIVATIONS[first.feed_forward_activation]
        drops = [head.training and frozen is None for head in heads]
        self.dropout = [head.dropout.p * on for head, on in zip(heads, drops, strict=True)]
        self.position_dropout = [head.position_dropout.p * on for head, on in zip(heads, drops, strict=True)]
        named = [dict(head.named_parameters()) for head in heads]
        self.weights = {
            name: together([own[name] for own in named], frozen and (torch.float32 if "norm" in name else frozen))
            for name in named[0]
            if not name.startswith("linear.")
        }
        self.linear = [
            tuple(together([own[name]], frozen).squeeze(0) for name in ("linear.weight", "linear.bias")) for own in named
        ]

    def __call__(self, features: Tensor, layout: Layout, rows: Sequence[Tensor | None]) -> list[Tensor]:
        """Features (N, n, k) to each branch's logits: (B, C) at text level, (len(rows), C) at unit level.

        Args:
            features: of all tokens, packed.
            layout: where the packed rows lie.
            rows: for each branch of unit level the packed row numbers to answer for, all of them if None.
        """
        count = features.shape[1]
        step = count if torch.is_grad_enabled() else max(1, ROWS // max(1, len(features)))
        answers: list[Tensor] = []
        for start in range(0, count, step):
            part = slice(start, start + step)
            weights = self.weights if step >= count else {name: weight[part] for name, weight in self.weights.items()}
            cells = [layout.cells if own is None else layout.cells[own] for own in rows[part]] if self.level == "unit" else []
            common = cells[0] if cells and all(own is cells[0] or torch.equal(own, cells[0]) for own in cells) else None
            x, mask = padded(features if step >= count else features[:, part], layout)
            x = self._body(x, mask, weights, part, common)  # (n, B, T, k), or (n, M, k) where all ask for the same M cells
            if self.level == "text":
                x = mean(x, layout, mask)
            each = x.unbind() if len(x) > 1 else [x.squeeze(0)]
            for number, (own, (weight, bias)) in enumerate(zip(each, self.linear[part], strict=True)):
                asked = own.flatten(0, 1)[cells[number]] if cells and common is None else own
                answers.append(linear(asked, weight, bias))
        return answers

    def _body(self, x: Tensor, mask: Tensor | None, weights: dict[str, Tensor], part: slice, cells: Tensor | None) -> Tensor:
        """What comes before pooling: (B, T, n, k) to (n, B, T, k), or to (n, M, k) for M cells of the B * T."""
        rates = self.dropout[part]
        if self.positions and self.positions_first:
            x = F.gelu(self._dropped(x + self._sinusoids(x), part))
        elif self.positions:
            x = self._dropped(F.gelu(x) + self._sinusoids(x), part)
        else:
            x = F.gelu(x)
        x = x.permute(2, 0, 1, 3).contiguous()  # products of strided rows are slower
        if self.kind == "attention":
            x = F.gelu(self._attention(x, mask, weights, "attention.", cells))
        for number in range(self.layers):
            last = number + 1 == self.layers
            x = self._encoder(x, mask, weights, f"encoder.{number}.", rates, cells if last else None)
        if self.kind == "linear":
            x = _only(x, cells)
        return drop(x, rates)

    def _sinusoids(self, x: Tensor) -> Tensor:
        return positions(x.shape[1], self.dim)[:, None].to(x)

    def _dropped(self, x: Tensor, part: slice) -> Tensor:
        return drop(x.movedim(2, 0), self.position_dropout[part]).movedim(0, 2)

    def _attention(self, x: Tensor, mask: Tensor | None, weights: dict[str, Tensor], own: str, cells: Tensor | None) -> Tensor:
        """Self-attention within each sequence. Attention weights are never dropped."""
        weight, bias = weights[own + "in_proj_weight"], weights[own + "in_proj_bias"]
        # In the weights' own precision also under autocast: the product is small, and what follows it is in float32 anyway.
        with torch.autocast(x.device.type, enabled=False):
            out = attend(x.to(weight.dtype), weight, bias, mask, self.heads)
        return linears(_only(out, cells), weights[own + "out_proj.weight"], weights[own + "out_proj.bias"])

    def _encoder(
        self,
        x: Tensor,
        mask: Tensor | None,
        weights: dict[str, Tensor],
        own: str,
        rates: Sequence[float],
        cells: Tensor | None,
    ) -> Tensor:
        """A pre-norm encoder layer.

        Dropout is on the output of both halves, not on the attention weights and the feed-forward units within: those are
        many times as many random numbers, and cost more than the layer itself.
        """
        normed = norms(x, weights[own + "norm1.weight"], weights[own + "norm1.bias"])
        x = _only(x, cells) + drop(self._attention(normed, mask, weights, own + "self_attn.", cells), rates)
        normed = norms(x, weights[own + "norm2.weight"], weights[own + "norm2.bias"])
        hidden = self.activation(linears(normed, weights[own + "linear1.weight"], weights[own + "linear1.bias"]))
        return x + drop(linears(hidden, weights[own + "linear2.weight"], weights[own + "linear2.bias"]), rates)


def padded(rows: Tensor, layout: Layout) -> tuple[Tensor, Tensor | None]:
    """Packed rows (N, ...) as (B, T, ...), and the mask (B, T) of real ones: None if all are, as then nothing moves."""
    if layout.total == len(layout.lengths) * layout.longest:
        return rows.unflatten(0, (len(layout.lengths), layout.longest)), None
    return layout.pad(rows), layout.mask


def mean(x: Tensor, layout: Layout, mask: Tensor | None) -> Tensor:
    """The mean over each text's real tokens: (n, B, T, k) to (n, B, k)."""
    if mask is None:
        return x.mean(2)
    return (x * mask[..., None]).sum(2) / layout.lengths[:, None]


def norms(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """n layer norms at once: x (n, ..., k), weight and bias (n, k)."""
    if len(x) == 1:
        return F.layer_norm(x.squeeze(0), x.shape[-1:], weight.squeeze(0), bias.squeeze(0))[None]
    shape = (len(x), *[1] * (x.ndim - 2), x.shape[-1])
    return torch.addcmul(bias.view(shape), F.layer_norm(widened(x), x.shape[-1:]), weight.view(shape))


def positions(length: int, dim: int) -> Tensor:
    """(length, dim) float32 on the CPU: the first rows of the position table."""
    return _sinusoids(1 << max(length - 1, 63).bit_length(), dim)[:length]


@lru_cache(maxsize=32)
def _sinusoids(length: int, dim: int) -> Tensor:
    """(length, dim) float32: sin(t / 10000^(2i/dim)) in column 2i, cos of the same in 2i + 1 (Vaswani et al. 2017, 3.5)."""
    rates = torch.exp(torch.arange(0, dim, 2) * (-math.log(10000.0) / dim))
    angles = torch.arange(length)[:, None] * rates
    return torch.stack([angles.sin(), angles.cos()], -1).flatten(1)[:, :dim]


def _only(x: Tensor, cells: Tensor | None) -> Tensor:
    """The M cells of x (n, B, T, k) that are asked for, (n, M, k); x itself if all are."""
    return x if cells is None else x.flatten(1, 2)[:, cells]
