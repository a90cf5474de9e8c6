"""A trunk and the padded form of its branches as one module, of which a graph is traced."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor, nn

from trunkline.branches.dense import DenseGroup
from trunkline.branches.fold import SideBranch
from trunkline.inputs.encoded import Encoded
from trunkline.model.source import Source
from trunkline.states.live import ReceiveRows
from trunkline.trunk.architectures import StackName, Taps, find_taps
from trunkline.trunk.backends.graph import WrittenOut, write_graph
from trunkline.trunk.load import Trunk
from trunkline.trunk.stream import run_layers
from trunkline.tuners import TunedTrunk
from trunkline.tuners.merged import merged_model
from trunkline.tuners.peft import Shared
from trunkline.tuners.prompt import Before

TRUNK = "/model/"  # how the names of nodes begin that belong to `_Whole.model`


@dataclass
class Traced:
    """A trunk in float32 on the CPU, as it is or with what was learned merged into its weights: all that a pass needs."""

    model: Any
    taps: Taps
    stack: StackName
    architecture: str
    num_layers: int
    hidden_size: int
    call_options: dict[str, Any]
    vocabulary: int
    pad_id: int

    @classmethod
    def of(cls, trunk: Trunk, source: Source) -> Traced:
        """The trunk that `source` reads.

        Raises:
            BadInput: its method cannot be merged into plain weights.
        """
        model, taps = trunk.model, trunk.taps
        if isinstance(source, TunedTrunk):
            # What no library has added (adapters are modules like any other) is traced as it is.
            of_peft = any(isinstance(module, (BaseTunerLayer, Before, Shared)) for module in source.model.modules())
            model = merged_model(source) if of_peft else source.in_float32()
            taps = find_taps(model, trunk.stack)
        return cls(
            model,
            taps,
            trunk.stack,
            trunk.architecture,
            trunk.num_layers,
            trunk.hidden_size,
            trunk.call_options,
            trunk.vocabulary,
            trunk.pad_id,
        )


class _Whole(nn.Module):
    """Token ids and the like (B, T) to the logits of every branch, in order."""

    def __init__(self, trunk: WrittenOut, group: DenseGroup, names: tuple[str, ...]) -> None:
        super().__init__()
        self.model, self.group, self._trunk, self._names = trunk.model, group, trunk, names

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        given, found = dict(zip(self._names, inputs, strict=True)), dict[int, Tensor]()
        run_layers(self._trunk, given, self.group.wanted(), found.__setitem__)
        return tuple(self.group(found, given["attention_mask"].bool()).values())


def write_whole(trunk: Traced, branches: Mapping[str, SideBranch], names: tuple[str, ...], longest: int, path: Path) -> None:
    """Write the graph of a trunk with branches to the file `path`; the names of the trunk's nodes begin with TRUNK.

    Args:
        trunk: what they read.
        branches: by the names of the outputs: float32 (B, C) at text level, (B, T, C) at unit level.
        names: of the inputs, int64 (B, T).
        longest: the most tokens of a text.
        path: a file that is not there yet.

    Raises:
        BadInput: a branch has no padded form.
        TrunklineError: torch cannot export it.
    """
    outputs = {
        name: {0: "texts", 1: "tokens"} if branch.output.level == "unit" else {0: "texts"} for name, branch in branches.items()
    }
    write_graph(_Whole(WrittenOut.of(trunk), DenseGroup(branches, longest), names), trunk, names, outputs, path)


class MergedStates:
    """A feed (states/live.py) of the states of `trunk`, in float32: what a graph is compared with."""

    def __init__(self, trunk: Traced, whole: Trunk, encoded: Encoded) -> None:
        self._trunk, self._collate, self._encoded = trunk, whole.collate, encoded
        self.lengths, self.hidden_size = np.asarray(encoded.lengths), trunk.hidden_size
        self.layers = tuple(range(trunk.num_layers + 1))

    def feed(self, sequences: np.ndarray, layers: Collection[int], receive: ReceiveRows) -> None:
        """As `Feed.feed`."""
        inputs = self._collate(self._encoded, sequences)
        real = inputs["attention_mask"].bool()
        run_layers(self._trunk, inputs, layers, lambda layer, state: receive(layer, state[real]))
