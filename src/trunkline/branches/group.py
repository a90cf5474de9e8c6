"""Many branches on one pass: what they share is computed once per layer, and equal branches are computed as one.

Branches that project layers (AdaLayers and its kin) take one matrix product per layer and activation for all of them.
Those of equal shape form a `Stack`, which keeps their sums in one (n, N, k) tensor and runs their heads as one with
stacked weights (stacked.py). Any other branch is read by itself, from the same `LayerState`.

Layer norm is folded into the product. With W' = (I - 11^T / k) W, a(Z) W'^T is centred already, so

    p~ N(a(Z) W^T) = y * p~ / sqrt(mean(y^2) + eps),    y = a(Z) W'^T

which leaves one norm and one multiply-add over y for each layer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from trunkline.branches.adalayers import AdaLayers
from trunkline.branches.fold import LayerState, SideBranch
from trunkline.branches.products import linear
from trunkline.branches.stacked import StackedHead
from trunkline.inputs.batching import Layout

EPS = 1e-5  # of torch's layer norm
AT_ONCE = 1 << 19  # projected numbers that are normed and added at a time


class BranchGroup:
    """Trained branches that ride on one pass together. No gradients.

    The group is a snapshot: weights are centred, stacked and cast once, when it is made (the cast at the first rows, as
    they say the precision), and it holds on to none of the stacked branches. Make a new one after training on.

    Feed one batch at a time: `start`, `read` each wanted layer in rising order, `finish`.

    Args:
        branches: by name; all on one device.
    """

    def __init__(self, branches: Mapping[str, SideBranch]) -> None:
        self._names = tuple(branches)
        self._alone: dict[str, SideBranch] = {}
        kin: dict[tuple[Any, ...], dict[str, AdaLayers]] = {}
        for name, branch in branches.items():
            if isinstance(branch, AdaLayers):
                kin.setdefault((branch.config.activation, *branch.head.shape()), {})[name] = branch
            else:
                self._alone[name] = branch.eval()
        self._stacks = [Stack(members) for members in kin.values()]
        self._products = _products(self._stacks, list(kin.values()))
        alone = {layer for branch in self._alone.values() for layer in branch.wanted()}
        self._wanted = tuple(sorted(alone.union(*(stack.weights for stack in self._stacks))))
        self._dtype: torch.dtype | None = None
        self.start()

    def wanted(self) -> tuple[int, ...]:
        """Every layer that some branch reads, rising."""
        return self._wanted

    def start(self) -> None:
        """Begin a batch: all carries are empty."""
        self._carries: dict[str, Any] = dict.fromkeys(self._alone)
        for stack in self._stacks:
            stack.total = None

    @torch.no_grad()
    def read(self, layer: int, rows: Tensor) -> None:
        """Take in the packed rows (N, K) of one layer. With bf16 rows, or under autocast to it, products are made in bf16."""
        dtype = self._precision(rows)
        with torch.autocast(rows.device.type, dtype, enabled=dtype == torch.bfloat16):
            state = LayerState(rows)
            for product in self._products.get(layer, ()):
                product.read(layer, state)
            for name, branch in self._alone.items():
                self._carries[name] = branch.read(self._carries[name], layer, state)

    @torch.no_grad()
    def finish(self, layout: Layout, rows: Mapping[str, Tensor | None] | None = None) -> dict[str, Tensor]:
        """Return the logits of every branch, and begin the next batch.

        Args:
            layout: where the packed rows lie.
            rows: unit-level branches' packed row numbers, by name; all rows where a name has none.

        Returns:
            dict: float32 by name, in the order given: (B, C) at text level, (len(rows), C) at unit level.
        """
        rows = rows or {}
        answers: dict[str, Tensor] = {}
        dtype = self._dtype or torch.float32
        with torch.autocast(layout.lengths.device.type, dtype, enabled=dtype == torch.bfloat16):
            for stack in self._stacks:
                answers.update(stack.finish(layout, rows))
            for name, branch in self._alone.items():
                answers[name] = branch.finish(self._carries[name], layout, rows.get(name)).float()
        self.start()
        return {name: answers[name] for name in self._names}

    def _precision(self, rows: Tensor) -> torch.dtype:
        """The dtype of products for these rows; weights are cast to it when it is new."""
        kind = rows.device.type
        given = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else rows.dtype
        dtype = torch.bfloat16 if given in (torch.bfloat16, torch.float16) else torch.float32
        if dtype != self._dtype:
            for products in self._products.values():
                for product in products:
                    product.weight = product.weight.to(dtype)
            for stack in self._stacks:
                stack.head.to(dtype)
            self._dtype = dtype
        return dtype


class Stack:
    """n branches of equal shape: their names, what each layer weighs for those that read it, their sums and heads."""

    @torch.no_grad()
    def __init__(self, members: dict[str, AdaLayers]) -> None:
        first = next(iter(members.values()))
        self.names, self.dim, self.activation = tuple(members), first.config.dim, first.config.activation
        self.head = StackedHead([branch.head for branch in members.values()])
        self.total: Tensor | None = None  # (n, N, k) float32
        self._read: set[int] = set()
        shares = [branch.layer_weights() for branch in members.values()]
        self.readers: dict[int, list[int]] = {}  # by layer, the branches (0..n-1) that read it
        self.weights: dict[int, Tensor] = {}  # by layer, their weights, (readers, 1, 1)
        device = next(first.parameters()).device
        for layer in sorted({layer for share in shares for layer, weight in share.items() if weight}):
            self.readers[layer] = [i for i, share in enumerate(shares) if share.get(layer)]
            self.weights[layer] = torch.tensor([[[shares[i][layer]]] for i in self.readers[layer]], device=device)

    def add(self, layer: int, projected: Tensor) -> None:
        """Add one layer's centred projections (N, readers * k) to the sums."""
        count = len(projected)
        if self.total is None:
            self.total = torch.zeros(len(self.names), count, self.dim, device=projected.device)
            self._read = set()
        if layer in self._read:
            raise ValueError(f"layer {layer} was read twice in one batch")
        self._read.add(layer)
        # A few branches at a time, so that what is between the product and the sum stays in the cache.
        step = max(1, AT_ONCE // max(1, count * self.dim))
        space = self.total.new_empty(min(step, len(self.readers[layer])), count, self.dim)
        for first, last, start in _runs(self.readers[layer], step):
            part = slice(start, start + last - first)
            y = projected[:, part.start * self.dim : part.stop * self.dim].unflatten(1, (-1, self.dim))
            y = space[: last - first].copy_(y.transpose(0, 1))
            norm = torch.linalg.vector_norm(y, dim=-1, keepdim=True)
            scale = norm.square_().div_(self.dim).add_(EPS).rsqrt_().mul_(self.weights[layer][part])
            self.total[first:last].addcmul_(y, scale)

    def finish(self, layout: Layout, rows: Mapping[str, Tensor | None]) -> dict[str, Tensor]:
        if self.total is None or self._read != set(self.weights):
            raise ValueError(f"layers {sorted(set(self.weights) - self._read)} are wanted and were not read")
        logits = self.head(self.total, layout, [rows.get(name) for name in self.names])
        return dict(zip(self.names, logits, strict=True))


@dataclass
class Product:
    """The projections of one layer that share an activation: W' of all their readers, one above the other."""

    activation: str
    weight: Tensor  # (all readers * k, K)
    parts: list[tuple[Stack, int]]  # whose they are, and how many rows of `weight`

    def read(self, layer: int, state: LayerState) -> None:
        projected = linear(state.activated(self.activation).to(self.weight.dtype), self.weight)
        for (stack, _), part in zip(self.parts, projected.split([size for _, size in self.parts], 1), strict=True):
            stack.add(layer, part)


@torch.no_grad()
def _products(stacks: list[Stack], members: list[dict[str, AdaLayers]]) -> dict[int, list[Product]]:
    """By layer, one product per activation."""
    products: dict[int, list[Product]] = {}
    for layer in sorted({layer for stack in stacks for layer in stack.weights}):
        for activation in dict.fromkeys(stack.activation for stack in stacks):
            weights, parts = [], []
            for stack, branches in zip(stacks, members, strict=True):
                if stack.activation != activation or layer not in stack.readers:
                    continue
                own = list(branches.values())
                for i in stack.readers[layer]:
                    weight = own[i].projection(layer)[1].float()
                    weights.append(weight - weight.mean(0))
                parts.append((stack, len(stack.readers[layer]) * stack.dim))
            if parts:
                products.setdefault(layer, []).append(Product(activation, torch.cat(weights), parts))
    return products


def _runs(numbers: list[int], most: int) -> list[tuple[int, int, int]]:
    """Neighbouring numbers, at most so many, as (first, last + 1, place of the first): [0, 1, 4] is (0, 2, 0), (4, 5, 2)."""
    runs: list[tuple[int, int, int]] = []
    for place, number in enumerate(numbers):
        if runs and runs[-1][1] == number and number - runs[-1][0] < most:
            runs[-1] = (runs[-1][0], number + 1, runs[-1][2])
        else:
            runs.append((number, number + 1, place))
    return runs
