"""Many branches on one pass: what they share is computed once per layer, and equal branches are computed as one.

Branches that declare a `LayerSum` (AdaLayers and its kin) take one matrix product per layer and activation for all of them, and
those of equal shape form a `Stack`. Any other branch is read by itself, from the same `LayerState`; one that is a mixture of
branches (an ensemble) is computed as these, among the others.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from trunkline.branches.fold import LayerState, SideBranch
from trunkline.branches.products import linear
from trunkline.branches.stack import LayerSum, Stack, Sums
from trunkline.inputs.batching import Layout, Pooling


class BranchGroup:
    """Branches that share one forward pass. Nothing in it changes when it is used, so threads may share it.

    Feed a batch to a `Pass`: `group.start(layout)`, then `read` each wanted layer in rising order, then `finish`.

    Args:
        branches: by name; all on one device.
        frozen: the precision in which the branches are applied, without gradients: weights of stacked branches are copied and
            cast once, here, and the group holds on to none of these branches. None: gradients reach the branches, and
            autocast is the caller's; such a group is good until the next step of the optimiser.
    """

    def __init__(self, branches: Mapping[str, SideBranch], frozen: torch.dtype | None = torch.float32) -> None:
        self.names, self.frozen = tuple(branches), frozen
        self.mixtures = {name: mixed for name, branch in branches.items() if (mixed := _mixed(name, branch))}
        # What each branch is computed as, by a name of its own: itself, or the members of a mixture.
        self.owners = {part: name for name in branches for part in self.mixtures.get(name, {name: None})}
        parts = {part: branches[name] for part, name in self.owners.items()}
        branches = parts | {part: own for mixed in self.mixtures.values() for part, (own, _) in mixed.items()}
        self.device = next((p.device for branch in branches.values() for p in branch.parameters()), torch.device("cpu"))
        with torch.set_grad_enabled(frozen is None and torch.is_grad_enabled()):
            sums = {name: found for name, branch in branches.items() if (found := declared(branch)) is not None}
            alike: dict[tuple[Any, ...], list[str]] = {}
            for name, one in sums.items():
                alike.setdefault(one.shape(), []).append(name)
            self.members = list(alike.values())
            self.stacks = [Stack([sums[name] for name in names], frozen) for names in self.members]
            self.products = self._products(sums)
        self.alone = {name: (branch, branch.wanted()) for name, branch in branches.items() if name not in sums}
        self._wanted = tuple(sorted(self.products.keys() | {layer for _, own in self.alone.values() for layer in own}))

    def wanted(self) -> tuple[int, ...]:
        """Every layer that some branch reads, rising."""
        return self._wanted

    def start(self, layout: Layout, means: Callable[[int], Tensor] | None = None) -> Pass:
        """Begin a batch whose packed rows lie as `layout` says; `means` gives the mean of each text's rows, (B, K) float32 by
        layer, where these are at hand."""
        return Pass(self, layout, means)

    def summed(self, found: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The logits of every branch, in the order given, from those of what they are computed as."""
        return {
            name: found[name]
            if name not in self.mixtures
            else torch.stack([weight * found[part] for part, (_, weight) in self.mixtures[name].items()]).sum(0)
            for name in self.names
        }

    def mode(self) -> AbstractContextManager[Any]:
        """Gradients and mixed precision as this group computes."""
        stack = ExitStack()
        if self.frozen is not None:
            stack.enter_context(torch.no_grad())
            stack.enter_context(torch.autocast(self.device.type, torch.bfloat16, enabled=self.frozen == torch.bfloat16))
        return stack

    def _products(self, sums: Mapping[str, LayerSum]) -> dict[int, list[Product]]:
        """By layer, one product per activation."""
        products: dict[int, list[Product]] = {}
        for layer in sorted({layer for stack in self.stacks for layer in stack.readers}):
            for activation in dict.fromkeys(stack.activation for stack in self.stacks):
                weights, parts = [], []
                for number, (stack, names) in enumerate(zip(self.stacks, self.members, strict=True)):
                    if stack.activation == activation and layer in stack.readers:
                        own = [sums[names[i]].weight(layer) for i in stack.readers[layer]]
                        weights += own
                        parts.append((number, len(own) * stack.dim))
                if parts:
                    weight = weights[0] if len(weights) == 1 else torch.cat(weights)
                    if self.frozen is not None:
                        weight = weight.to(self.frozen)
                    products.setdefault(layer, []).append(Product(activation, weight, parts))
        return products


@dataclass(frozen=True)
class Product:
    """The projections of one layer that share an activation: W of all their readers, one above the other."""

    activation: str
    weight: Tensor  # (all readers * k, K)
    parts: list[tuple[int, int]]  # whose they are: number of a stack, and how many rows of `weight`


class Pass:
    """One batch on its way through the branches of a group; all that changes meanwhile is here."""

    def __init__(self, group: BranchGroup, layout: Layout, means: Callable[[int], Tensor] | None = None) -> None:
        self.group, self.layout, self.means = group, layout, means
        self.sums = [Sums() for _ in group.stacks]
        self.carries: dict[str, Any] = dict.fromkeys(group.alone)

    def read(self, layer: int, rows: Tensor) -> None:
        """Take in the packed rows (N, K) of one layer, on any device; a layer that no branch wants changes nothing."""
        group = self.group
        with group.mode():
            state = LayerState(rows.to(group.device), self.layout, None if self.means is None else partial(self.means, layer))
            for product in group.products.get(layer, ()):
                projected = linear(state.activated(product.activation), product.weight)
                split = [projected] if len(product.parts) == 1 else projected.split([size for _, size in product.parts], 1)
                for (number, _), part in zip(product.parts, split, strict=True):
                    group.stacks[number].add(self.sums[number], layer, part, state)
            for name, (branch, wanted) in group.alone.items():
                if layer in wanted:
                    self.carries[name] = branch.read(self.carries[name], layer, state)

    def finish(self, rows: Mapping[str, Tensor | None] | None = None) -> dict[str, Tensor]:
        """Return the logits of every branch.

        Args:
            rows: unit-level branches' packed row numbers, by name; all rows where a name has none.

        Returns:
            dict: float32 by name, in the order given: (B, C) at text level, (len(rows), C) at unit level.
        """
        group, layout, given = self.group, self.layout, rows or {}
        rows = {part: given.get(name) for part, name in group.owners.items()}
        answers: dict[str, Tensor] = {}
        with group.mode():
            for stack, names, sums in zip(group.stacks, group.members, self.sums, strict=True):
                found = stack.finish(sums, layout, [rows.get(name) for name in names])
                answers.update(zip(names, found, strict=True))
            for name, (branch, _) in group.alone.items():
                answers[name] = branch.finish(self.carries[name], layout, rows.get(name))
            return group.summed({name: logits.float() for name, logits in answers.items()})


def declared(branch: SideBranch) -> LayerSum | None:
    """What the branch declares of itself for a stack; None if it declares nothing, or changes what the declaration is about."""
    if not _speaks_for(type(branch), "layer_sum", "read", "finish"):
        return None
    found = branch.layer_sum()
    return found if found is not None and _speaks_for(type(found.head), "shape", "forward") else None


def _mixed(name: str, branch: SideBranch) -> dict[str, tuple[SideBranch, float]]:
    """The members of a mixture with their weights, by names that no branch has; empty for any other branch."""
    found = branch.mixture() if _speaks_for(type(branch), "mixture", "read", "finish") else ()
    return {f"{name}\0{number}": own for number, own in enumerate(found)}


def pooling_of(branch: SideBranch) -> Pooling | None:
    """How the branch declares that it pools the rows of a text before all else; None if all of them count."""
    return branch.reads_pooled() if _speaks_for(type(branch), "reads_pooled", "read", "finish") else None


def reads_per_token(branch: SideBranch) -> bool:
    """Whether what it has read of consecutive parts of texts can be put together (carried.py)."""
    if mixed := _mixed("", branch):
        return all(reads_per_token(own) for own, _ in mixed.values())
    return declared(branch) is not None or (type(branch).per_token and _speaks_for(type(branch), "per_token", "read", "finish"))


def has_dense(branch: SideBranch) -> bool:
    """Whether the branch has a padded form (`SideBranch.dense`) that computes what it reads and finishes now."""
    return _speaks_for(type(branch), "dense", "read", "finish")


def _speaks_for(cls: type, declaration: str, *methods: str) -> bool:
    """Whether the class that has the declaration knew these methods: a subclass that overrides one has to declare anew."""
    owners = {name: next(i for i, base in enumerate(cls.__mro__) if name in vars(base)) for name in (declaration, *methods)}
    return all(owners[name] >= owners[declaration] for name in methods)
