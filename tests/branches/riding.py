"""Feeding branches by hand, as a states store or a live pass would."""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch import Tensor

from trunkline.branches import BranchGroup, LayerState, Output, SideBranch, TrunkShape, methods
from trunkline.inputs.batching import Layout

TRUNK = TrunkShape(num_layers=6, hidden_size=32)
LAYOUT = Layout(torch.tensor([5, 3, 7, 1]))


def make(name: str, level: str = "text", size: int = 3, trunk: TrunkShape = TRUNK, **config: object) -> SideBranch:
    """A branch in eval mode, its weights over layers (if it has some) moved off their equal start."""
    method = methods.get(name)
    branch = method(method.Config(**config), trunk, Output(level, size)).eval()
    for vector in ("p", "s", "gamma"):
        if hasattr(branch, vector):
            torch.nn.init.normal_(getattr(branch, vector), std=0.1)
    if hasattr(branch, "nu"):
        torch.nn.init.uniform_(branch.nu)
    if getattr(branch, "path", None) is not None:
        for tensor in (branch.path.weight, branch.path.mean, branch.path.scale):
            torch.nn.init.normal_(tensor, std=0.1)
    return branch


def states_of(trunk: TrunkShape = TRUNK, layout: Layout = LAYOUT, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    """(l + 1, N, K) random layer states."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(trunk.num_layers + 1, layout.total, trunk.hidden_size, generator=generator).to(dtype)


def ride(
    branch: SideBranch,
    states: Tensor,
    layout: Layout = LAYOUT,
    rows: Tensor | None = None,
    layers: Collection[int] | None = None,
) -> Tensor:
    """The branch's logits; it is fed `layers`, by default those it wants."""
    carry = None
    for layer in branch.wanted() if layers is None else layers:
        carry = branch.read(carry, layer, LayerState(states[layer], layout))
    return branch.finish(carry, layout, rows)


def ride_group(group: BranchGroup, states: Tensor, layout: Layout = LAYOUT, rows: dict | None = None) -> dict[str, Tensor]:
    batch = group.start(layout)
    for layer in group.wanted():
        batch.read(layer, states[layer])
    return batch.finish(rows)
