"""What a group has read of texts that come in parts: a prompt, and then each token that a model generates.

A causal model computes the states of a token once; with a cache, a pass has those of the new tokens alone. So the carries of
passes are put together here, one row for each token, and heads are applied to all tokens so far when an answer is asked for.
Memory is one carry of each branch, and no states. Branches whose carry has not one row for each token are no members of such a
group (`reads_per_token`).
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from trunkline.branches.group import BranchGroup, Pass
from trunkline.branches.stack import Sums
from trunkline.errors import BadInput
from trunkline.inputs.batching import Layout


class Carried:
    """The carries of a group over consecutive columns of a batch of B texts, kept padded: (B, T, ...).

    Attributes:
        group: whose branches are all read by token.
        mask: bool (B, T): which columns of each text hold real tokens.
    """

    def __init__(self, group: BranchGroup, texts: int) -> None:
        self.group = group
        self.mask = torch.zeros(texts, 0, dtype=torch.bool, device=group.device)
        self._totals: list[Tensor | None] = [None] * len(group.stacks)  # (B, T, n, k)
        self._pooled: list[Tensor | None] = [None] * len(group.stacks)  # (B, n, K): sums over tokens, of linear paths
        self._carries: dict[str, Any] = {}
        self._cut = False

    def add(self, passed: Pass, mask: Tensor) -> None:
        """Put what a pass has read behind what is here.

        Args:
            passed: of the real tokens of each text, packed.
            mask: bool (B, t): where these lie among the new columns, at least one in all.
        """
        mask = mask.to(self.group.device)
        real, cells = mask.flatten().nonzero().squeeze(1), mask.shape

        def padded(rows: Tensor) -> Tensor:
            if len(real) == mask.numel():
                return rows.unflatten(0, cells)
            return rows.new_zeros(mask.numel(), *rows.shape[1:]).index_copy(0, real, rows).unflatten(0, cells)

        lengths = mask.sum(1)
        for number, sums in enumerate(passed.sums):
            assert sums.total is not None
            self._totals[number] = _behind(self._totals[number], padded(sums.total))
            if sums.pooled is not None:
                more, before = sums.pooled * lengths[:, None, None], self._pooled[number]
                self._pooled[number] = more if before is None else before + more
        for name, carry in passed.carries.items():
            new = _each(padded, carry)
            self._carries[name] = _both(_behind, self._carries[name], new) if name in self._carries else new
        self.mask = torch.cat([self.mask, mask], 1)

    def copy(self) -> Carried:
        """One that others can be put behind, apart from this one. Tensors are shared, as none is written into."""
        other = copy.copy(self)
        other._totals, other._pooled, other._carries = list(self._totals), list(self._pooled), dict(self._carries)
        return other

    def take(self, rows: Tensor) -> None:
        """Keep these texts (B',), in this order; one may be there several times."""
        rows = rows.to(self.group.device)
        self.mask = self.mask[rows]
        self._totals = [None if total is None else total[rows] for total in self._totals]
        self._pooled = [None if pooled is None else pooled[rows] for pooled in self._pooled]
        self._carries = {name: _each(lambda tensor: tensor[rows], carry) for name, carry in self._carries.items()}

    def crop(self, columns: int) -> None:
        """Keep the first columns only.

        Raises:
            BadInput: a branch has a linear map of pooled states, of which no token can be taken out again.
        """
        if columns >= self.mask.shape[1]:
            return
        if any(pooled is not None for pooled in self._pooled):
            raise BadInput(
                "tokens that had been read were taken back, as assisted decoding does, and the mean over tokens that a branch "
                "reads cannot follow that; expected plain decoding, or a branch with `linear: false`"
            )
        self.mask = self.mask[:, :columns]
        self._totals = [None if total is None else total[:, :columns] for total in self._totals]
        self._carries = {name: _each(lambda tensor: tensor[:, :columns], carry) for name, carry in self._carries.items()}

    def finish(self) -> dict[str, Tensor]:
        """The logits of every branch for all tokens so far, of the B' texts that have some: (B', C) at text level, (N, C) at
        unit level for all N real tokens.
        """
        texts = self.mask.any(1).nonzero().squeeze(1)
        mask = self.mask[texts]
        group, layout, real = self.group, Layout(mask.sum(1)), mask.flatten().nonzero().squeeze(1)

        def packed(tensor: Tensor) -> Tensor:
            return tensor[texts].flatten(0, 1).index_select(0, real)

        passed = group.start(layout)
        for number, (stack, total, pooled) in enumerate(zip(group.stacks, self._totals, self._pooled, strict=True)):
            assert total is not None
            mean = None if pooled is None else pooled[texts] / layout.lengths[:, None, None]
            passed.sums[number] = Sums(packed(total), set(stack.shares), mean)
        passed.carries = {name: _each(packed, carry) for name, carry in self._carries.items()}
        return passed.finish()


def _behind(before: Tensor | None, more: Tensor) -> Tensor:
    """Two tensors (B, T, ...) one behind the other in time."""
    return more if before is None else torch.cat([before, more.to(before.dtype)], 1)


def _each(change: Callable[[Tensor], Tensor], carry: Any) -> Any:
    """A carry with its tensors changed; those without rows, numbers of a method's own, stay."""
    return _both(lambda tensor, _: change(tensor), carry, carry)


def _both(join: Callable[[Tensor, Tensor], Tensor], one: Any, other: Any) -> Any:
    """A carry made of two of the same form, tensor by tensor."""
    if isinstance(one, Tensor):
        return join(one, other) if one.ndim else one
    if dataclasses.is_dataclass(one) and not isinstance(one, type):
        names = [field.name for field in dataclasses.fields(one)]
        return dataclasses.replace(one, **{name: _both(join, getattr(one, name), getattr(other, name)) for name in names})
    if isinstance(one, Mapping):
        return {key: _both(join, value, other[key]) for key, value in one.items()}
    if isinstance(one, list | tuple):
        return type(one)(_both(join, *pair) for pair in zip(one, other, strict=True))
    return one
