"""What a training step costs a branch, counted and not timed, so that it is the same whenever it is asked for.

The operations of one step on a batch are watched as torch carries them out: the bytes that they read and write, their
floating-point operations, and how many they are. Together they are the seconds of a notional processor; only their ratios
count.
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from trunkline.model.part import Part
from trunkline.seeding import seeded
from trunkline.states.live import Feed, ReceiveRows
from trunkline.training.forward import batch_losses
from trunkline.training.sampling import Batch, SharedTexts

BYTES, FLOPS, CALL = 20e9, 400e9, 5e-6  # a second's bytes and operations, and the seconds that each call takes
OPTIMISER = 40  # bytes that a step of AdamW, with clipping, moves for each weight
EVALUATION = 1 / 4  # of a training step's cost, for as many tokens: no gradients
SCORING = {"text": 5e-6, "unit": 5e-5}  # seconds that decoding and scoring the answers to a text take


class Work(TorchDispatchMode):
    """Counts what is computed within the block, in seconds of the notional processor."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds = 0.0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        if not func.is_view:
            moved = sum(one.numel() * one.element_size() for one in tree_leaves((args, kwargs, out)) if isinstance(one, Tensor))
            flops = flop_registry.get(func._overloadpacket)
            self.seconds += CALL + moved / BYTES
            if flops is not None:
                self.seconds += flops(*args, **kwargs, out_val=out) / FLOPS
        return out


def step_seconds(part: Part, name: str, batch: Batch, device: torch.device, precision: str) -> float:
    """What a step on a batch costs a part that is called `name` in it; a copy of it takes the step.

    Reading layer states is no part of it.
    """
    part = replace(part, branch=copy.deepcopy(part.branch).train(), criterion=copy.deepcopy(part.criterion).train())
    with seeded("work", name), torch.no_grad():  # the first step in a process makes tables that later ones find
        batch_losses(batch, {name: part}, device=device, precision=precision)
    with seeded("work", name), Work() as work:
        losses = batch_losses(batch, {name: part}, device=device, precision=precision)
        for loss in losses.values():
            loss.backward()
    weights = [p for module in (part.branch, part.criterion) for p in module.parameters()]
    return work.seconds + OPTIMISER / BYTES * sum(weight.numel() for weight in weights if weight.requires_grad)


def epoch_seconds(
    sources: Iterable[SharedTexts], batches: Collection[Batch], parts: Mapping[str, Part], device: torch.device, precision: str
) -> dict[str, float]:
    """What the steps of an epoch cost each of `parts`, by what it is called in the batches: as many as if all were alike."""
    found = dict.fromkeys(parts, 0.0)
    for source in sources:
        own = {key: part for key, part in parts.items() if key in source.train.supervision}
        batch = usual_batch(source, batches, {layer for part in own.values() for layer in part.branch.layers})
        count = sum(one.source is source for one in batches)
        for key, part in own.items():
            found[key] += count * step_seconds(part, key, batch, device, precision)
    return found


def usual_batch(source: SharedTexts, batches: Collection[Batch], layers: Collection[int]) -> Batch:
    """The batch of a source whose longest sequence is in the middle, its layer states read."""
    own = [batch.sequences for batch in batches if batch.source is source]
    lengths = source.train.encoded.lengths
    chosen = sorted(own, key=lambda sequences: int(lengths[sequences].max()))[len(own) // 2]
    train = replace(source.train, feed=Replay(source.train.feed, chosen, layers))
    return Batch(SharedTexts(train, source.validation), chosen)


class Replay:
    """The states of one batch, read once: a feed of these alone."""

    def __init__(self, feed: Feed, sequences: np.ndarray, layers: Collection[int]) -> None:
        self.lengths, self.layers, self.hidden_size = feed.lengths, tuple(sorted(layers)), feed.hidden_size
        self._rows: dict[int, Tensor] = {}
        feed.feed(sequences, self.layers, lambda layer, rows: self._rows.update({layer: rows.clone()}))

    def feed(self, sequences: np.ndarray, layers: Collection[int], receive: ReceiveRows) -> None:
        for layer in sorted(set(layers)):
            receive(layer, self._rows[layer])


def reading_seconds(tokens: int, layers: int, width: int, live: bool, blocks: int) -> float:
    """What reading the layer states of so many tokens costs, for all branches that read them.

    From a store they are copied; `live`, a trunk computes them: about 12 K^2 multiplications for a token in each block.
    """
    copied = 3 * 2 * tokens * layers * width / BYTES
    return copied + (tokens * blocks * 24 * width**2 / FLOPS if live else 0.0)
