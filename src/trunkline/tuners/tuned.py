"""A trunk as a tuner has changed it: a private copy of its modules that shares all frozen tensors with the trunk.

It has the face of a `Trunk`, so whatever reads layer states of the one reads those of the other.
"""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from trunkline.data.encode import Encoded
from trunkline.trunk.architectures import find_taps
from trunkline.trunk.load import Trunk
from trunkline.tuners.base import Tuner


class TunedTrunk(nn.Module):
    """A private copy of `trunk`, changed by `tuner`.

    Args:
        trunk: stays as it is.
        tuner: what changes the copy.
        pooler: the model's pooler, for heads that use it; the tuner then sees it as a part of the model.

    Attributes:
        model: what is called: the copy or a wrapper around it.
        lowest: how many of the first blocks compute what the trunk's do, embeddings included; 0 if those are changed.
    """

    def __init__(self, trunk: Trunk, tuner: Tuner, pooler: nn.Module | None = None) -> None:
        super().__init__()
        self.trunk = [trunk]  # in a list, so that it is no submodule
        self.tuner, self.architecture, self.stack = tuner, trunk.architecture, trunk.stack
        self.num_layers, self.hidden_size, self.device = trunk.num_layers, trunk.hidden_size, trunk.device
        self.call_options = trunk.call_options
        copied = private_copy(trunk.model)
        self.pooler = [] if pooler is None else [pooler]  # a part of the model
        if pooler is not None:
            copied.pooler = pooler
        self.model = tuner.apply(copied, trunk.row, find_taps(copied, trunk.stack)).to(trunk.device)
        for parameter in self.model.parameters():
            if parameter.requires_grad:  # trained in float32, and no longer shared with the trunk
                parameter.data = parameter.data.to(torch.float32, copy=True)
        self.taps = find_taps(self.model, trunk.stack)
        self.lowest = self._lowest()

    def collate(self, encoded: Encoded, sequences: np.ndarray) -> dict[str, Tensor]:
        """As `Trunk.collate`."""
        return self.trunk[0].collate(encoded, sequences)

    def trained(self) -> dict[str, nn.Parameter]:
        """The parameters that the tuner trains, by name; the pooler's belong to the head that brought it."""
        return {name: p for name, p in self.model.named_parameters() if p.requires_grad}

    def _lowest(self) -> int:
        """The first block that holds a trained parameter; 0 if one lies outside of all blocks (the pooler comes after them)."""
        place: dict[int, int] = {}
        for number, block in reversed(list(enumerate(self.taps.blocks))):
            place.update({id(p): number for p in block.parameters()})
        for module in (self.taps.states[-1], *self.pooler):  # what comes after the blocks
            for p in module.parameters():
                place.setdefault(id(p), len(self.taps.blocks))
        return min((place.get(id(p), 0) for p in self.trained().values()), default=0)


def private_copy(model: Any) -> Any:
    """A copy of a model's modules whose parameters are new objects over the same tensors; none requires gradients."""
    memo = {id(p): nn.Parameter(p.data, requires_grad=False) for p in model.parameters()}
    memo |= {id(buffer): buffer for buffer in model.buffers()}
    return copy.deepcopy(model, memo)
