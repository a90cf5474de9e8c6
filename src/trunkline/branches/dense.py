"""The padded form of branches: states (B, T, K) and a mask (B, T) to logits, written plainly.

Training and prediction read packed rows (group.py, stack.py, head_stack.py), whose number depends on the data. A graph with
free numbers of texts and tokens is made of this form, and tests compare the packed one with it: the same weights, in the order
in which a group has stacked them, and none of its shortcuts. Padding is on the right, and no text is without tokens.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trunkline.branches.fold import ACTIVATIONS, SideBranch
from trunkline.branches.group import BranchGroup, has_dense
from trunkline.branches.head_stack import HeadStack, positions
from trunkline.branches.linear_path import PathStack
from trunkline.branches.stack import Stack
from trunkline.errors import BadInput
from trunkline.inputs.batching import Pooling

MASKED = -1e30  # a score whose softmax is 0; finite, so that nothing becomes NaN


class DenseGroup(nn.Module):
    """Branches that share one pass, on padded states, in float32 and without dropout.

    Args:
        branches: by name, in eval mode; all on one device.
        longest: the most tokens of a text.

    Raises:
        BadInput: a method has no padded form.
    """

    def __init__(self, branches: Mapping[str, SideBranch], longest: int) -> None:
        super().__init__()
        self.group = BranchGroup(branches, torch.float32)
        self.longest = longest
        if lacking := [name for name, (branch, _) in self.group.alone.items() if not has_dense(branch)]:
            kind = type(self.group.alone[lacking[0]][0]).__name__
            raise BadInput(
                f"branch {self.group.owners[lacking[0]]!r}: {kind} has no padded form (`dense`), of which a graph is made"
            )
        self.alone = nn.ModuleList(branch for branch, _ in self.group.alone.values())  # so that their weights are a graph's own

    def wanted(self) -> tuple[int, ...]:
        """Every layer that some branch reads, rising."""
        return self.group.wanted()

    def forward(self, states: Mapping[int, Tensor], mask: Tensor) -> dict[str, Tensor]:
        """Return the logits of every branch, in the order given.

        Args:
            states: by layer, float32 (B, T, K); at least those that are wanted.
            mask: bool (B, T), true where a token is real.

        Returns:
            dict: (B, C) at text level, (B, T, C) at unit level: for every token, whether a unit begins there or not.
        """
        found: dict[str, Tensor] = {}
        for number, (stack, names) in enumerate(zip(self.group.stacks, self.group.members, strict=True)):
            logits = _heads(stack.heads, self._sum(number, stack, states), mask, self.longest)
            if stack.paths is not None:
                logits = [one + more for one, more in zip(logits, _paths(stack.paths, stack, states, mask), strict=True)]
            found.update(zip(names, logits, strict=True))
        for name, (branch, _) in self.group.alone.items():
            found[name] = branch.dense(states, mask)
        return self.group.summed(found)

    def _sum(self, number: int, stack: Stack, states: Mapping[int, Tensor]) -> Tensor:
        """The sum over layers of the n branches of a stack, (B, T, n, k)."""
        total: Tensor | None = None
        for layer, readers in stack.readers.items():
            normed = F.layer_norm(self._projected(number, layer, states[layer]), (stack.dim,))  # (B, T, readers, k)
            values = _placed(normed * stack.shares[layer], readers, stack.count, 2)
            total = values if total is None else total + values
        assert total is not None
        return total

    def _projected(self, number: int, layer: int, state: Tensor) -> Tensor:
        """What the members of a stack that read a layer make of it, (B, T, readers, k)."""
        stack = self.group.stacks[number]
        for product in self.group.products[layer]:
            begin = 0
            for owner, rows in product.parts:
                if owner == number:
                    weight = product.weight[begin : begin + rows]
                    made = F.linear(ACTIVATIONS[product.activation](state), weight)
                    return made.unflatten(2, (rows // stack.dim, stack.dim))
                begin += rows
        raise ValueError(f"layer {layer} is not read by stack {number}")


def pooled(x: Tensor, mask: Tensor, how: Pooling) -> Tensor:
    """One row for each text, (B, T, k) to (B, k): the mean of its real tokens, the first or the last of them."""
    if how == "cls":
        return x[:, 0]
    if how == "mean":
        real = mask[..., None].to(x.dtype)
        return (x * real).sum(1) / real.sum(1).clamp(min=1)
    last = (mask.long().sum(1) - 1).clamp(min=0)
    return x.gather(1, last[:, None, None].expand(-1, 1, x.shape[2]))[:, 0]


def _placed(values: Tensor, readers: Sequence[int], count: int, axis: int) -> Tensor:
    """(..., readers, k) to (..., n, k), with zeros for those that do not read."""
    if len(readers) == count:
        return values
    order = torch.full((count,), len(readers), device=values.device)
    order[list(readers)] = torch.arange(len(readers), device=values.device)
    nothing = values.narrow(axis, 0, 1) * 0  # not zeros_like, which a graph would keep in the size of now
    return torch.cat([values, nothing], axis).index_select(axis, order)


def _paths(paths: PathStack, stack: Stack, states: Mapping[int, Tensor], mask: Tensor) -> list[Tensor]:
    """The logits of linear paths: A sum_i p~_i (m_i - mu_i) / sigma_i of each branch, (B, C)."""
    total: Tensor | None = None
    for layer, readers in stack.readers.items():
        values = _placed(pooled(states[layer], mask, "mean")[:, None] * paths.factors[layer], readers, stack.count, 1)
        total = values if total is None else total + values
    assert total is not None
    x = total - paths.offset
    return [F.linear(x[:, number], weight) for number, weight in enumerate(paths.weights)]


def _heads(heads: HeadStack, x: Tensor, mask: Tensor, longest: int) -> list[Tensor]:
    """Features (B, T, n, k) of n branches to their logits: (B, C) or (B, T, C) each."""
    # Looked up by number, as a slice of a constant would be one in a graph.
    numbers = torch.arange(mask.shape[1], device=x.device)
    table = positions(longest, heads.dim).to(x)[numbers, None] if heads.positions else 0.0
    x = F.gelu(x + table) if heads.positions_first else F.gelu(x) + table
    x = x.permute(2, 0, 1, 3)
    weights = heads.weights
    if heads.kind == "attention":
        x = F.gelu(_attention(x, mask, weights, "attention.", heads))
    for number in range(heads.layers):
        own = f"encoder.{number}."
        x = x + _attention(_norm(x, weights, own + "norm1.", heads.dim), mask, weights, own + "self_attn.", heads)
        hidden = heads.activation(_linear(_norm(x, weights, own + "norm2.", heads.dim), weights, own + "linear1."))
        x = x + _linear(hidden, weights, own + "linear2.")
    rows = [pooled(one, mask, "mean") if heads.level == "text" else one for one in x.unbind()]
    return [F.linear(own, weight, bias) for own, (weight, bias) in zip(rows, heads.linear, strict=True)]


def _attention(x: Tensor, mask: Tensor, weights: Mapping[str, Tensor], own: str, heads: HeadStack) -> Tensor:
    """Self-attention within each text, (n, B, T, k) to the same; no token sees padding."""
    width = heads.dim // heads.heads
    query, key, value = (
        part.unflatten(3, (heads.heads, width)).transpose(2, 3)  # (n, B, heads, T, width)
        for part in _affine(x, weights[own + "in_proj_weight"], weights[own + "in_proj_bias"]).chunk(3, -1)
    )
    scores = query @ key.transpose(3, 4) * width**-0.5
    shares = torch.softmax(scores.masked_fill(~mask[:, None, None, :], MASKED), -1)
    return _linear((shares @ value).transpose(2, 3).flatten(3), weights, own + "out_proj.")


def _norm(x: Tensor, weights: Mapping[str, Tensor], own: str, dim: int) -> Tensor:
    weight, bias = weights[own + "weight"], weights[own + "bias"]
    if len(weight) == 1:
        return F.layer_norm(x, (dim,), weight[0], bias[0])
    return F.layer_norm(x, (dim,)) * weight[:, None, None] + bias[:, None, None]


def _linear(x: Tensor, weights: Mapping[str, Tensor], own: str) -> Tensor:
    return _affine(x, weights[own + "weight"], weights[own + "bias"])


def _affine(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """n linear maps: x (n, B, T, in), weight (n, out, in), bias (n, out)."""
    if len(weight) == 1:
        return F.linear(x, weight[0], bias[0])
    return x @ weight.mT[:, None] + bias[:, None, None]
