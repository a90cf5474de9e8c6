"""A frozen trunk as one graph with the wanted layer states as its outputs, in the ONNX format, which every backend reads.

The graph is traced through the layer stream (trunk/stream.py): it has the blocks up to the deepest wanted layer and no more,
and its states are those that a live pass gives. Numbers of texts and of tokens stay free.

Attention is written out ("eager") in the graph: OpenVINO makes one kernel of it then, and does not of torch's own function,
whose guard against rows without a token comes in between (benchmarks/LOG.md).
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from trunkline.errors import TrunklineError
from trunkline.trunk.architectures import StackName, Taps, find_taps
from trunkline.trunk.stream import Runs, run_layers

OPSET = 18
LARGEST = 1 << 31  # bytes: what one file of this format can hold

Inputs = Mapping[str, np.ndarray]


class Traceable(Runs, Protocol):
    """What exporting needs to know of a trunk, in fp32 and on the CPU."""

    stack: StackName
    vocabulary: int
    pad_id: int


@dataclass
class WrittenOut:
    """A copy of a trunk over the same tensors that writes out its attention; other threads may run the trunk meanwhile."""

    model: Any
    taps: Taps
    architecture: str
    num_layers: int
    call_options: dict[str, Any]

    @classmethod
    def of(cls, trunk: Traceable) -> WrittenOut:
        tensors = (*trunk.model.parameters(), *trunk.model.buffers())
        model = copy.deepcopy(trunk.model, {id(tensor): tensor for tensor in tensors})
        model.set_attn_implementation("eager")
        return cls(model, find_taps(model, trunk.stack), trunk.architecture, trunk.num_layers, trunk.call_options)


@dataclass(frozen=True)
class Exported:
    """A graph on disk.

    Attributes:
        path: the .onnx file.
        inputs: the names of what it reads, in order.
        layers: those whose states it gives, rising.
    """

    path: Path
    inputs: tuple[str, ...]
    layers: tuple[int, ...]


class _States(nn.Module):
    """The states of `layers` as a function of a batch."""

    def __init__(self, trunk: Runs, layers: tuple[int, ...], names: tuple[str, ...]) -> None:
        super().__init__()
        self.model, self._trunk, self._layers, self._names = trunk.model, trunk, layers, names

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        found: dict[int, Tensor] = {}
        run_layers(self._trunk, dict(zip(self._names, inputs, strict=True)), self._layers, found.__setitem__)
        # A state that is an input of the graph or another state under a second name would be merged with it.
        return tuple(found[layer] for layer in self._layers)


def output_name(layer: int) -> str:
    """The name of a layer's state among the outputs."""
    return f"state_{layer}"


def export(trunk: Traceable, names: Collection[str], layers: Collection[int], path: Path) -> Exported:
    """Write the graph of `trunk` to the file `path`.

    Args:
        trunk: in fp32, on the CPU.
        names: of the inputs that its batches have (see `Trunk.collate`).
        layers: the wanted layers, 0 to `num_layers`.
        path: a file that is not there yet.

    Raises:
        TrunklineError: torch cannot export this trunk.
    """
    kept, order = tuple(sorted(layers)), tuple(names)
    outputs = {output_name(layer): {0: "texts", 1: "tokens"} for layer in kept}
    write_graph(_States(WrittenOut.of(trunk), kept, order), trunk, order, outputs, path)
    return Exported(path, order, kept)


def write_graph(
    module: nn.Module, trunk: Traceable, names: Sequence[str], outputs: Mapping[str, Mapping[int, str]], path: Path
) -> None:
    """Write the graph of `module` to the file `path`.

    Args:
        module: of the inputs `names` of `trunk`, in order; it returns a tuple.
        trunk: that it runs, as `WrittenOut`.
        names: of the inputs, (texts, tokens) each.
        outputs: by name, in order, the axes whose length is free, and what that is called.
        path: a file that is not there yet.

    Raises:
        TrunklineError: torch cannot export it.
    """
    free = {name: {0: "texts", 1: "tokens"} for name in names} | {name: dict(axes) for name, axes in outputs.items()}
    # A graph may be made in the middle of a batch, within the context in which branches compute.
    with warnings.catch_warnings(), torch.no_grad(), torch.autocast("cpu", enabled=False):
        # The exporter by tracing is deprecated for the one by torch.export, which does not follow hooks.
        warnings.simplefilter("ignore")
        try:
            torch.onnx.export(
                module.eval(),
                tuple(_sample(trunk, name) for name in names),
                str(path),
                input_names=list(names),
                output_names=list(outputs),
                dynamic_axes=free,
                dynamo=False,
                opset_version=OPSET,
            )
        except Exception as error:  # whatever an exporter meets that it does not know
            what = (str(error) or type(error).__name__).splitlines()[0]
            raise TrunklineError(f"{trunk.architecture}: torch cannot export its graph ({what[:200]})") from error


def _sample(trunk: Traceable, name: str) -> Tensor:
    """A batch of two texts, of 7 and of 4 tokens: with padding, so that nothing takes a mask of ones for granted."""
    real = torch.ones(2, 7, dtype=torch.long)
    real[1, 4:] = 0
    if name == "attention_mask":
        return real
    if name == "position_ids":
        return torch.arange(7).expand(2, 7).contiguous() * real
    if name == "token_type_ids":
        return torch.zeros(2, 7, dtype=torch.long)
    ids = 3 + torch.arange(14).reshape(2, 7) % max(trunk.vocabulary - 3, 1)
    return torch.where(real.bool(), ids, trunk.pad_id)
