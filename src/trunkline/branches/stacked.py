"""The heads of n branches of equal shape as one head with stacked weights: the same numbers, n times fewer operations."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from trunkline.branches.attention import attend
from trunkline.branches.fold import ACTIVATIONS
from trunkline.branches.heads import FeatureHead, mean, padded, positions
from trunkline.branches.products import linear
from trunkline.inputs.batching import Layout

ROWS = 16384  # rows times branches that go through a head at once: enough to fill the machine, and little to hold


class StackedHead:
    """Copies of `heads`, which all have the same `shape()`; their outputs may differ. Never in training mode.

    Args:
        heads: the branches' heads, in the order of the stack.
    """

    @torch.no_grad()
    def __init__(self, heads: Sequence[FeatureHead]) -> None:
        first = heads[0]
        self.kind, self.dim, self.heads = first.kind, first.dim, first.heads
        self.layers, self.positions, self.positions_first = first.layers, first.positions, first.positions_first
        self.activation = ACTIVATIONS[first.feed_forward_activation]
        self.outputs = [head.output for head in heads]
        named = [dict(head.named_parameters()) for head in heads]
        shared = [name for name in named[0] if not name.startswith("linear.")]
        self.weights = {name: torch.stack([own[name].float() for own in named]) for name in shared}
        self.linear = [(own["linear.weight"].float(), own["linear.bias"].float()) for own in named]

    def to(self, dtype: torch.dtype) -> None:
        """Cast the weights of the matrix products; norms stay in float32."""
        for name, weight in self.weights.items():
            if "norm" not in name:
                self.weights[name] = weight.to(dtype)
        self.linear = [(weight.to(dtype), bias.to(dtype)) for weight, bias in self.linear]

    def __call__(self, total: Tensor, layout: Layout, rows: Sequence[Tensor | None]) -> list[Tensor]:
        """Features (n, N, k) of the stack to each branch's logits; `rows` as in `FeatureHead`, one for each branch."""
        answers: list[Tensor] = []
        step = max(1, ROWS // max(1, total.shape[1]))
        for start in range(0, len(total), step):
            part = slice(start, start + step)
            x, mask = padded(total[part].transpose(0, 1), layout)
            x = self._body(x.movedim(2, 0), mask, part)  # (n, B, T, k)
            for own, output, kept, (weight, bias) in zip(x, self.outputs[part], rows[part], self.linear[part], strict=True):
                if output.level == "text":
                    own = mean(own, layout, mask)
                else:
                    own = own.flatten(0, 1)[layout.cells if kept is None else layout.cells[kept]]
                answers.append(linear(own.to(weight.dtype), weight, bias).float())
        return answers

    def _body(self, x: Tensor, mask: Tensor | None, part: slice) -> Tensor:
        """What comes before pooling: (n, B, T, k) to (n, B, T, k)."""
        weights = {name: weight[part] for name, weight in self.weights.items()}
        if self.positions and self.positions_first:
            x = F.gelu(x + positions(x.shape[2], self.dim).to(x))
        elif self.positions:
            x = F.gelu(x) + positions(x.shape[2], self.dim).to(x)
        else:
            x = F.gelu(x)
        if self.kind == "attention":
            return F.gelu(self._attention(x, mask, weights, "attention."))
        for layer in range(self.layers):
            own = f"encoder.{layer}."
            normed = _norm(x, weights[own + "norm1.weight"], weights[own + "norm1.bias"])
            x = x + self._attention(normed, mask, weights, own + "self_attn.")
            normed = _norm(x, weights[own + "norm2.weight"], weights[own + "norm2.bias"])
            hidden = self.activation(_linear(normed, weights[own + "linear1.weight"], weights[own + "linear1.bias"]))
            x = x + _linear(hidden, weights[own + "linear2.weight"], weights[own + "linear2.bias"])
        return x

    def _attention(self, x: Tensor, mask: Tensor | None, weights: dict[str, Tensor], own: str) -> Tensor:
        weight, bias = weights[own + "in_proj_weight"], weights[own + "in_proj_bias"]
        out = attend(x.to(weight.dtype), weight, bias, mask, self.heads)
        return _linear(out, weights[own + "out_proj.weight"], weights[own + "out_proj.bias"])


def _linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """n linear maps at once: (n, B, T, in), (n, out, in), (n, out) to (n, B, T, out)."""
    flat = x.to(weight.dtype).reshape(len(x), -1, x.shape[-1])
    return torch.baddbmm(bias[:, None], flat, weight.mT).unflatten(1, x.shape[1:3])


def _norm(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """n layer norms at once: (n, B, T, k), (n, k), (n, k) to (n, B, T, k) float32."""
    return torch.addcmul(bias[:, None, None], F.layer_norm(x.float(), x.shape[-1:]), weight[:, None, None])
