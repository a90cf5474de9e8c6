"""What a loop computes of branches: the losses of a batch, and the logits and scores of a split."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor

from trunkline.branches import BranchGroup
from trunkline.inputs.batching import Layout
from trunkline.model.apply import autocast, collect_logits
from trunkline.model.part import Part
from trunkline.tasks.answers import Picked
from trunkline.training.sampling import Batch, SplitFeed
from trunkline.trunk.machine import onto


def batch_losses(batch: Batch, parts: Mapping[str, Part], *, device: torch.device, precision: str) -> dict[str, Tensor]:
    """Return the loss of each task that has a target in the batch, differentiable; tasks of `parts` only, by name.

    Branches that read the same states read them together. Whoever wants dropout to be the same again seeds it (seeding.py).
    """
    sequences, train = batch.sequences, batch.source.train
    layout = _layout(train.encoded.lengths, sequences, device)
    picked: dict[str, Picked] = {}
    for name in parts if batch.tasks is None else filter(parts.__contains__, batch.tasks):
        supervision = train.supervision.get(name)
        if supervision is not None and (chosen := supervision.pick(sequences, layout, device)):
            picked[name] = chosen
    losses: dict[str, Tensor] = {}
    with autocast(device, precision):
        answers: dict[str, Tensor] = {}
        for feed, names in train.feeds(picked):
            group = BranchGroup({name: parts[name].branch for name in names}, frozen=None)
            own = layout if feed is train.feed else _layout(feed.lengths, sequences, device)
            forward = group.start(own, None if train.means is None else train.means.of(sequences))
            feed.feed(sequences, group.wanted(), forward.read)
            answers |= forward.finish({name: picked[name].rows for name in names})
        for name, chosen in picked.items():
            part, logits = parts[name], answers[name]
            if chosen.keep is not None and len(chosen.keep) < len(logits):
                logits = logits[chosen.keep]
            loss = part.criterion.loss(logits, chosen.targets, chosen.groups, chosen.weights)
            losses[name] = loss + part.branch.penalty()
    return losses


def split_logits(
    parts: Mapping[str, Part], split: SplitFeed, *, accelerator: Accelerator, precision: str
) -> dict[str, np.ndarray]:
    """Logits of tasks on a split, each process doing its share."""
    world, device = accelerator.num_processes, accelerator.device
    logits: dict[str, np.ndarray] = {}
    for feed, names in split.feeds(parts):
        logits |= collect_logits(
            {name: (parts[name].task, parts[name].branch) for name in names},
            feed,
            split.encoded,
            precision=precision,
            device=device,
            batch_tokens=2048 if device.type == "cpu" else 4096,  # beside an optimiser's memory, so less than to predict
            share=(accelerator.process_index, world),
        )
    logits = {name: logits[name] for name in parts}
    if world == 1:
        return logits
    return {name: accelerator.reduce(onto(value, device), "sum").cpu().numpy() for name, value in logits.items()}


def split_scores(
    parts: Mapping[str, Part], split: SplitFeed, *, accelerator: Accelerator, precision: str
) -> dict[str, dict[str, Any]]:
    """Metrics and mean loss of those tasks that have targets in a split; a loss of NaN where some logit is not finite."""
    own = {name: part for name, part in parts.items() if name in split.supervision}
    logits = split_logits(own, split, accelerator=accelerator, precision=precision)
    return {
        name: split.supervision[name].score(part.criterion, logits[name])
        if np.isfinite(logits[name]).all()
        else {"loss": math.nan}
        for name, part in own.items()
    }


def _layout(lengths: np.ndarray, sequences: np.ndarray, device: torch.device) -> Layout:
    return Layout(torch.from_numpy(lengths[sequences].astype(np.int64)).to(device))
