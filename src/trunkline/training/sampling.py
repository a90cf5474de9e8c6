"""Which texts and tasks each batch of an epoch takes: sources, batches, and how often each task is drawn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from trunkline.data.batching import token_batches
from trunkline.states.live import Feed
from trunkline.training.config import TrainingSection
from trunkline.training.supervision import Supervision


@dataclass
class SplitFeed:
    """A split ready to be read: its layer states and, for each task, what is right."""

    feed: Feed
    supervision: dict[str, Supervision]

    @property
    def encoded(self) -> Any:
        return next(iter(self.supervision.values())).encoded


@dataclass
class Source:
    """Tasks on the same texts: the splits that they learn from and are judged on, with targets for every one."""

    train: SplitFeed
    validation: SplitFeed

    def __post_init__(self) -> None:
        taught = np.zeros(len(self.train.encoded.lengths), bool)
        for supervision in self.train.supervision.values():
            taught |= supervision.taught
        self.sequences = np.flatnonzero(taught)  # those that teach at least one task


class Batch(NamedTuple):
    """Sequences of one source, and the tasks that learn from them (None: all)."""

    source: Source
    sequences: np.ndarray
    tasks: tuple[str, ...] | None = None


def draw_batches(sources: list[Source], training: TrainingSection, epoch: int) -> list[Batch]:
    """The batches of `epoch`; they depend on the seed and the epoch alone."""
    batches = []
    for source in sources:
        lengths = source.train.encoded.lengths[source.sequences]
        chosen = token_batches(lengths, tokens=training.batch_tokens, size=training.batch_size, seed=training.seed, epoch=epoch)
        batches += [Batch(source, source.sequences[batch]) for batch in chosen]
    if len(sources) > 1:
        order = np.random.default_rng([training.seed, epoch, 1]).permutation(len(batches))
        batches = [batches[i] for i in order]
    return batches
