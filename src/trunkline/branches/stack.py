"""Branches that are weighted sums of normalised projections of layers, n >= 1 of them computed as one.

A method declares that its branches are such sums (`SideBranch.layer_sum`). Training one branch, training several that share
texts, applying and prediction all run through a `Stack`; it is differentiable, unless it was made `frozen`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from trunkline.branches.dropout import drop
from trunkline.branches.fold import LayerState
from trunkline.branches.head_stack import HeadStack, together
from trunkline.branches.linear_path import LinearPath, PathStack
from trunkline.branches.normed import add_normed, centred
from trunkline.inputs.batching import Layout

if TYPE_CHECKING:
    from trunkline.branches.heads import FeatureHead


@dataclass(frozen=True)
class LayerSum:
    """What a branch computes: F = sum_i share_i drop(N(a(Z_i) W_i^T)) over the layers i that it reads, then a head.

    N is layer norm without learned affine. With a `path`, its logits are added to those of the head. The tensors are the
    branch's own, so that gradients reach them.
    """

    activation: str  # a(): branches of one activation share a(Z_i), and its product with all their W_i one above the other
    shares: Mapping[int, Tensor]  # by layer, a number
    projections: Mapping[int, Tensor]  # W_i, (k, K), by layer
    dropout: float  # 0 but in training
    head: FeatureHead
    path: LinearPath | None = None

    def weight(self, layer: int) -> Tensor:
        """W_i, (k, K), with its columns centred, so that layer norm is one scale (normed.py)."""
        return centred(self.projections[layer])

    def shape(self) -> tuple[object, ...]:
        """Sums of equal shape are computed as one."""
        return self.activation, self.path is not None, *self.head.shape()


@dataclass
class Sums:
    """What a stack has read of one batch: the carry of all its branches."""

    total: Tensor | None = None  # (N, n, k)
    read: set[int] = field(default_factory=set)
    pooled: Tensor | None = None  # (B, n, K), of linear paths

    def copy(self) -> Sums:
        return Sums(None if self.total is None else self.total.clone(), set(self.read), self.pooled)


class Stack:
    """n sums of equal shape. Nothing in it changes when it is used: what belongs to a batch is in `Sums`.

    Args:
        members: what to stack.
        frozen: copy the weights, those of matrix products in this dtype, and drop nothing. None: gradients reach the branches.
    """

    def __init__(self, members: Sequence[LayerSum], frozen: torch.dtype | None) -> None:
        first = members[0]
        self.activation, self.dim, self.count = first.activation, first.head.dim, len(members)
        self.heads = HeadStack([member.head for member in members], frozen)
        self.dropout = [member.dropout if frozen is None else 0.0 for member in members]
        layers = sorted({layer for member in members for layer in member.shares})
        self.readers = {layer: [i for i, member in enumerate(members) if layer in member.shares] for layer in layers}
        exact = None if frozen is None else torch.float32
        self.shares: dict[int, Tensor] = {}  # by layer, (readers, 1)
        for layer, readers in self.readers.items():
            self.shares[layer] = together([members[i].shares[layer] for i in readers], exact)[:, None]
        paths = [member.path for member in members if member.path is not None]
        self.paths = PathStack(paths, self.shares, self.readers, frozen is not None) if paths else None

    def add(self, sums: Sums, layer: int, projected: Tensor, state: LayerState) -> None:
        """Add one layer's centred projections (N, readers * k), of the branches that read it, and its states to the sums."""
        readers, share = self.readers[layer], self.shares[layer]
        if layer in sums.read:
            raise ValueError(f"layer {layer} was read twice in one batch")
        sums.read.add(layer)
        y = projected.unflatten(1, (len(readers), self.dim))
        if sums.total is None:
            dtype = torch.promote_types(y.dtype, torch.float32)
            sums.total = torch.zeros(len(y), self.count, self.dim, dtype=dtype, device=y.device)
        rates = [self.dropout[i] for i in readers]
        mask = drop(torch.ones_like(y, dtype=sums.total.dtype).movedim(1, 0), rates).movedim(0, 1) if any(rates) else None
        sums.total = add_normed(sums.total, y, share, readers, mask)
        if self.paths is not None:
            sums.pooled = self.paths.add(sums.pooled, layer, state.pooled())

    def features(self, sums: Sums) -> Tensor:
        """F of each branch, (N, n, k); every layer must have been read, or it would be wrong in silence."""
        if sums.total is None or sums.read != set(self.shares):
            raise ValueError(f"layers {sorted(set(self.shares) - sums.read)} are required but were not read")
        return sums.total

    def finish(self, sums: Sums, layout: Layout, rows: Sequence[Tensor | None]) -> list[Tensor]:
        """The logits of each branch; `rows` as in `HeadStack`."""
        answers = self.heads(self.features(sums), layout, rows)
        if self.paths is None or sums.pooled is None:
            return answers
        return [answer + more for answer, more in zip(answers, self.paths.logits(sums.pooled), strict=True)]
