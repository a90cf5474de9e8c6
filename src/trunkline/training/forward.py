"""What a loop computes of branches: the losses of a batch, and the logits and scores of a split."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor
from torch.utils.checkpoint import checkpoint, set_checkpoint_early_stop

from trunkline.branches import BranchGroup
from trunkline.inputs.batching import Layout, divided
from trunkline.model.apply import autocast, collect_logits
from trunkline.model.part import Part
from trunkline.seeding import seeded
from trunkline.tasks.answers import Picked
from trunkline.training.agreement import summed
from trunkline.training.sampling import Batch, SplitFeed
from trunkline.trunk.machine import onto


def batch_losses(
    batch: Batch,
    parts: Mapping[str, Part],
    *,
    device: torch.device,
    precision: str,
    bounds: tuple[int | None, int | None] = (None, None),
) -> dict[str, Tensor]:
    """Return the loss of each task that has a target in the batch, differentiable; tasks of `parts` only, by name.

    Branches that read the same states read them together. Whoever wants dropout to be the same again seeds it (seeding.py).

    A batch may have more windows than it should, as those of a text are not divided. Then so many at a time are read as keep to
    the bounds, and read again on the way back: what only gradients need is in memory for one such part at a time.

    Args:
        batch: what to read.
        parts: by task.
        device: where these are.
        precision: fp32 or bf16.
        bounds: tokens, padding included, and sequences of a batch, at most; None: any number.
    """
    sequences, train = batch.sequences, batch.source.train
    lengths = train.encoded.lengths[sequences]
    layout = Layout(torch.from_numpy(lengths.astype(np.int64)).to(device))
    picked: dict[str, Picked] = {}
    known: dict[int, Picked | None] = {}  # parts of one task share its supervision
    for name in parts if batch.tasks is None else filter(parts.__contains__, batch.tasks):
        if (supervision := train.supervision.get(name)) is None:
            continue
        if id(supervision) not in known:
            known[id(supervision)] = supervision.pick(sequences, layout, device)
        if chosen := known[id(supervision)]:
            picked[name] = chosen
    losses: dict[str, Tensor] = {}
    with autocast(device, precision):
        runs = divided(lengths, tokens=bounds[0], size=bounds[1]) if batch.source.joined else []
        if len(runs) > 1:
            answers = _read_in_runs(train, parts, sequences, layout, runs, {name: own.rows for name, own in picked.items()})
        else:
            answers = _read(train, parts, sequences, layout, {name: own.rows for name, own in picked.items()})
        for name, chosen in picked.items():
            part, logits = parts[name], answers[name]
            if chosen.keep is not None and len(chosen.keep) < len(logits):
                logits = logits[chosen.keep]
            logits = train.supervision[name].answers.combine(logits, chosen)
            loss = part.criterion.loss(logits, chosen.targets, chosen.groups, chosen.weights)
            losses[name] = loss + part.branch.penalty()
    return losses


def _read(
    train: SplitFeed, parts: Mapping[str, Part], sequences: np.ndarray, layout: Layout, rows: Mapping[str, Tensor | None]
) -> dict[str, Tensor]:
    """The logits of tasks for a batch that lies as `layout` says: of all of its sequences, or of the packed rows `rows`."""
    answers: dict[str, Tensor] = {}
    for feed, names in train.feeds(rows):
        group = BranchGroup({name: parts[name].branch for name in names}, frozen=None)
        own = layout if feed is train.feed else _layout(feed.lengths, sequences, layout.lengths.device)
        forward = group.start(own, None if train.means is None else train.means.of(sequences))
        feed.feed(sequences, group.wanted(), forward.read)
        answers |= forward.finish({name: rows[name] for name in names})
    return answers


def _read_in_runs(
    train: SplitFeed,
    parts: Mapping[str, Part],
    sequences: np.ndarray,
    layout: Layout,
    runs: Sequence[tuple[int, int]],
    rows: Mapping[str, Tensor | None],
) -> dict[str, Tensor]:
    """As `_read`, some sequences at a time: `runs` of them, (begin, end). Nothing is kept of a run but its logits; the way back
    reads it again, with the draws that it had.
    """
    seed = int(torch.randint(1 << 62, ()))  # by the generator that the caller has seeded
    edges = [0, *np.cumsum(layout.lengths.tolist()).tolist()]

    def logits(number: int, begin: int, end: int) -> dict[str, Tensor]:
        own = {name: _within(of_task, edges[begin], edges[end]) for name, of_task in rows.items()}
        with seeded(seed, number):
            return _read(train, parts, sequences[begin:end], Layout(layout.lengths[begin:end]), own)

    found = []
    for number, (begin, end) in enumerate(runs):
        with set_checkpoint_early_stop(False):
            found.append(checkpoint(logits, number, begin, end, use_reentrant=False, preserve_rng_state=False))
    return {name: torch.cat([one[name] for one in found]) for name in rows}


def _within(rows: Tensor | None, begin: int, end: int) -> Tensor | None:
    """Those of the packed rows that lie from `begin` up to `end`, counted from there."""
    return None if rows is None else rows[(rows >= begin) & (rows < end)] - begin


def split_logits(
    parts: Mapping[str, Part],
    split: SplitFeed,
    *,
    accelerator: Accelerator,
    precision: str,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, np.ndarray]:
    """Logits of tasks on a split, each process doing its share.

    Args:
        progress: called after each batch with how many sequences are done and how many there are, as in `EvaluationProgress`.
    """
    world, device = accelerator.num_processes, accelerator.device
    logits: dict[str, np.ndarray] = {}
    feeds = split.feeds(parts)
    done, total = 0, sum(len(feed.lengths) for feed, _ in feeds)

    def advance(sequences: int) -> None:
        nonlocal done
        done = min(done + sequences * world, total)
        if progress:
            progress(done, total)

    for feed, names in feeds:
        logits |= collect_logits(
            {name: (parts[name].task, parts[name].branch) for name in names},
            feed,
            split.encoded,
            precision=precision,
            device=device,
            batch_tokens=2048 if device.type == "cpu" else 4096,  # beside an optimiser's memory, so less than to predict
            progress=advance,
            share=(accelerator.process_index, world),
        )
    logits = {name: logits[name] for name in parts}
    if world == 1:
        return logits
    rows = {name: summed(accelerator, onto(value, device)).cpu().numpy() for name, value in logits.items()}
    return {name: split.supervision[name].answers.combined(own) for name, own in rows.items()}


def split_scores(
    parts: Mapping[str, Part],
    split: SplitFeed,
    *,
    accelerator: Accelerator,
    precision: str,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, dict[str, Any]]:
    """Metrics and mean loss of those tasks that have targets in a split; a loss of NaN where some logit is not finite.

    The arguments are those of `split_logits`.
    """
    own = {name: part for name, part in parts.items() if name in split.supervision}
    logits = split_logits(own, split, accelerator=accelerator, precision=precision, progress=progress)
    return {
        name: split.supervision[name].score(part.criterion, logits[name])
        if np.isfinite(logits[name]).all()
        else {"loss": math.nan}
        for name, part in own.items()
    }


def _layout(lengths: np.ndarray, sequences: np.ndarray, device: torch.device) -> Layout:
    return Layout(torch.from_numpy(lengths[sequences].astype(np.int64)).to(device))
