"""A pass through a changed trunk that begins above its lowest blocks, on a state that is known already.

Nothing of the model is touched: the few modules between the model and its blocks are copied for the pass (their attributes, not
their weights), with others in the place of the lowest blocks. So threads may run such passes and whole ones of a model at once.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor, nn

from trunkline.trunk.architectures import Taps


@dataclass
class Upper:
    """What `run_layers` runs: as a trunk, with `model` and `taps` of one pass."""

    model: nn.Module
    taps: Taps
    architecture: str
    num_layers: int
    call_options: dict[str, Any]


class Passed(nn.Module):
    """Stands where a block was: passes on what it gets, or the state that it was given, in the block's own form."""

    def __init__(self, as_tuple: bool, state: Tensor | None = None) -> None:
        super().__init__()
        self.as_tuple, self.state = as_tuple, state

    def forward(self, hidden_states: Tensor, *args: Any, **kwargs: Any) -> Any:
        state = hidden_states if self.state is None else self.state
        return (state,) if self.as_tuple else state


class Recorded(nn.Module):
    """Stands where a block was, runs it and keeps what it returns."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self._block = [block]  # in a list, as it is no submodule
        self.output: Any = None

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        self.output = self._block[0](*args, **kwargs)
        return self.output


def beginning_at(state: Tensor, lowest: int, as_tuple: bool, model: nn.Module, taps: Taps) -> tuple[nn.Module, Taps]:
    """A model whose blocks 1..`lowest` are not run, as `state` (B, T, K) is what the last of them gives; and its taps."""
    stand_ins = [Passed(as_tuple) for _ in range(lowest - 1)]
    return with_lower(model, taps, [*stand_ins, Passed(as_tuple, state)])


def with_lower(model: nn.Module, taps: Taps, stand_ins: Sequence[nn.Module]) -> tuple[nn.Module, Taps]:
    """Copies of the modules from `model` down to its list of blocks, whose first ones are `stand_ins`; the rest is shared."""
    first = taps.blocks[0]
    path = next(
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.ModuleList) and len(module) and module[0] is first
    )
    made: dict[nn.Module, nn.Module] = {}
    twin = parent = _copied(model, made)
    for name in path.split("."):
        child = _copied(parent._modules[name], made)
        parent._modules[name] = child
        parent = child
    for number, stand_in in enumerate(stand_ins):
        parent._modules[str(number)] = stand_in
    return twin, replace(taps, root=made.get(taps.root, taps.root))


def _copied(module: Any, made: dict[nn.Module, nn.Module]) -> Any:
    """A module with the attributes of another one, and a list of its submodules of its own."""
    found = made[module] = copy.copy(module)
    found._modules = dict(module._modules)
    return found


def returned_by(model: nn.Module, taps: Taps, inputs: Mapping[str, Tensor], options: Mapping[str, Any]) -> Any:
    """What the first block of a model returns in a pass over `inputs`."""
    seen = Recorded(taps.blocks[0])
    twin, _ = with_lower(model, taps, [seen])
    twin(**inputs, **options)
    return seen.output
