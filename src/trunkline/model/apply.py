"""Run trained branches over encoded texts, all in one pass, and collect their logits.

Evaluation while training, the final test, prediction and serving all go through here, so they cannot differ.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from trunkline.branches import BranchGroup, SideBranch
from trunkline.branches.group import Pass
from trunkline.inputs.batching import Layout, token_batches
from trunkline.inputs.encoded import Encoded, ranges
from trunkline.states.live import Feed
from trunkline.tasks import Task
from trunkline.tasks.answers import Places

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}  # of a branch's matrix products


def autocast(device: torch.device, precision: str) -> AbstractContextManager[None]:
    """Mixed precision for the side branches: matrix products in bf16, weights and norms in fp32."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16")


def frozen_group(branches: Mapping[str, SideBranch], precision: str) -> BranchGroup:
    """Branches that are applied together in `precision`, their weights stacked and cast: a snapshot that threads may share."""
    return BranchGroup(branches, PRECISIONS[precision])


@dataclass(frozen=True)
class Cohort:
    """Branches that answer for the same texts.

    Attributes:
        group: the branches.
        tasks: theirs, by name.
        encoded: the texts, C sequences.
        sequences: int64 (C,), the sequences of the feed that these are.
    """

    group: BranchGroup
    tasks: Mapping[str, Task]
    encoded: Encoded
    sequences: np.ndarray


def collect_logits(
    branches: Mapping[str, tuple[Task, SideBranch]],
    feed: Feed,
    encoded: Encoded,
    *,
    precision: str,
    device: torch.device,
    batch_tokens: int = 4096,
    progress: Callable[[int], None] | None = None,
    share: tuple[int, int] = (0, 1),
    group: BranchGroup | None = None,
) -> dict[str, np.ndarray]:
    """Return float32 logits of every branch: (texts, outputs) at text level, (units, outputs) at unit level.

    Args:
        branches: by name, the task and the module in eval mode.
        feed: where layer states come from; each batch is read once for all branches.
        encoded: the texts.
        precision: fp32 or bf16, of the branches.
        batch_tokens: rows of the feed in a batch, padding included.
        progress: called with the number of sequences done after each batch.
        share: (i, n): only every n-th batch from the i-th on. For several shares, the rows of logits (`Answers.places`) are
            returned, others zero, of which `Answers.combined` makes those of the answers once they are added up.
        group: of these branches in this precision, where it is at hand; made here otherwise.
    """
    if not branches:
        return {}
    group = group or frozen_group({name: branch for name, (_, branch) in branches.items()}, precision)
    every = np.arange(len(encoded.lengths), dtype=np.int64)
    cohort = Cohort(group, {name: task for name, (task, _) in branches.items()}, encoded, every)
    return collect_cohorts(
        [cohort], feed, precision=precision, device=device, batch_tokens=batch_tokens, progress=progress, share=share
    )[0]


@torch.no_grad()
def collect_cohorts(
    cohorts: Sequence[Cohort],
    feed: Feed,
    *,
    precision: str,
    device: torch.device,
    batch_tokens: int = 4096,
    progress: Callable[[int], None] | None = None,
    share: tuple[int, int] = (0, 1),
) -> list[dict[str, np.ndarray]]:
    """Return for each cohort the logits of its branches, as `collect_logits` does, from one pass over the sequences of all.

    A cohort's branches read the rows of its own sequences only, and the pass of a batch ends at the deepest layer that a
    cohort with sequences in it reads.

    Args:
        cohorts: what to answer.
        feed: the states of the sequences of all cohorts.
        precision: as of `collect_logits`, likewise `device`, `batch_tokens`, `progress` and `share`.
    """
    parts = [_Part(cohort, len(feed.lengths)) for cohort in cohorts]
    read = np.logical_or.reduce([part.read for part in parts])
    for sequences in token_batches(feed.lengths, tokens=batch_tokens)[share[0] :: share[1]]:
        sequences = sequences[read[sequences]]
        if len(sequences) == 0:
            continue
        with autocast(device, precision):
            here = [one for part in parts if (one := part.begin(feed, sequences, device)) is not None]
            wanted = sorted({layer for one in here for layer in one.wanted})

            def receive(layer: int, rows: Tensor, here: list[_Reading] = here) -> None:
                for one in here:
                    one.read(layer, rows)

            feed.feed(sequences, wanted, receive)
            for one in here:
                one.finish(device)
        if progress:
            progress(len(sequences))
    if share[0] == 0:
        for part in parts:
            for name, own in part.answers.items():
                own.complete(part.logits[name])
    if share[1] > 1:
        return [part.logits for part in parts]
    return [{name: own.combined(part.logits[name]) for name, own in part.answers.items()} for part in parts]


class _Part:
    """A cohort, and the logits of its branches, filled batch by batch."""

    def __init__(self, cohort: Cohort, sequences: int) -> None:
        self.cohort = cohort
        self.answers = {name: task.answers(cohort.encoded) for name, task in cohort.tasks.items()}
        counts = {name: (self.answers[name].count, task.outputs) for name, task in cohort.tasks.items()}
        self.logits = {name: np.zeros(count, np.float32) for name, count in counts.items()}
        self.own = np.full(sequences, -1, np.int64)  # by sequence of the feed, which one of the cohort it is
        self.own[cohort.sequences] = np.arange(len(cohort.sequences))
        self.read = self.own >= 0
        self.read[cohort.sequences] = np.logical_or.reduce([own.read for own in self.answers.values()])

    def begin(self, feed: Feed, sequences: np.ndarray, device: torch.device) -> _Reading | None:
        """What it reads of a batch; None if that is nothing."""
        mine = np.flatnonzero(self.read[sequences])
        if len(mine) == 0:
            return None
        lengths = feed.lengths[sequences].astype(np.int64)
        rows = None
        if len(mine) < len(sequences):
            rows = torch.from_numpy(ranges((np.cumsum(lengths) - lengths)[mine], lengths[mine])).to(device)
        layout = Layout(torch.from_numpy(lengths[mine]).to(device))
        places = {name: own.places(self.own[sequences[mine]]) for name, own in self.answers.items()}
        return _Reading(self, self.cohort.group.start(layout), rows, places)


@dataclass(frozen=True)
class _Reading:
    """One batch on its way through the branches of a cohort; `rows` are its own among those of the batch, None for all."""

    part: _Part
    running: Pass
    rows: Tensor | None
    places: Mapping[str, Places]

    @property
    def wanted(self) -> tuple[int, ...]:
        return self.part.cohort.group.wanted()

    def read(self, layer: int, rows: Tensor) -> None:
        if layer in self.wanted:
            self.running.read(layer, rows if self.rows is None else rows.index_select(0, self.rows.to(rows.device)))

    def finish(self, device: torch.device) -> None:
        rows = {name: None if own.rows is None else torch.from_numpy(own.rows).to(device) for name, own in self.places.items()}
        found = self.running.finish(rows)
        for name, place in self.places.items():
            answer = found[name].float().cpu().numpy()
            self.part.logits[name][place.into] = answer if place.kept is None else answer[place.kept]
