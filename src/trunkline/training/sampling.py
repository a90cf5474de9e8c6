"""Which texts and tasks each batch of an epoch takes: sources, batches, and how often each task is drawn."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from trunkline.inputs.batching import fitting_tokens, token_batches
from trunkline.inputs.encoded import ranges
from trunkline.states.live import Feed
from trunkline.states.pooled import PooledStates
from trunkline.training.config import RunConfig
from trunkline.training.prepare import Prepared
from trunkline.training.sections import TrainingSection
from trunkline.training.supervision import Supervision


@dataclass
class SplitFeed:
    """A split ready to be read: its layer states and, for each task, what is right.

    Attributes:
        feed: the states of all tokens.
        supervision: by task.
        pooled: by task, the states that its branch reads instead of those of all tokens.
        means: the mean over each sequence's tokens, of layers that branches measure; None where it is not at hand.
    """

    feed: Feed
    supervision: dict[str, Supervision]
    pooled: Mapping[str, PooledStates] = field(default_factory=dict)
    means: PooledStates | None = None

    def feeds(self, names: Iterable[str]) -> list[tuple[Feed, list[str]]]:
        """What the tasks `names` read, and which of them read it together."""
        found: dict[int, tuple[Feed, list[str]]] = {}
        for name in names:
            feed = self.pooled.get(name, self.feed)
            found.setdefault(id(feed), (feed, []))[1].append(name)
        return list(found.values())

    @property
    def encoded(self) -> Any:
        return next(iter(self.supervision.values())).encoded


@dataclass
class SharedTexts:
    """Tasks on the same texts: the splits that they learn from and are judged on, with targets for every one."""

    train: SplitFeed
    validation: SplitFeed

    def __post_init__(self) -> None:
        supervised = np.zeros(len(self.train.encoded.lengths), bool)
        for supervision in self.train.supervision.values():
            supervised |= supervision.supervised
        self.sequences = np.flatnonzero(supervised)  # with a target of at least one task
        # Whether the windows of a text are to be in one batch, as a task makes one answer of them.
        self.joined = any(supervision.answers.joined for supervision in self.train.supervision.values())


class Batch(NamedTuple):
    """Sequences of one source, and the tasks that learn from them (None: all)."""

    source: SharedTexts
    sequences: np.ndarray
    tasks: tuple[str, ...] | None = None


def with_batches(config: RunConfig, groups: Sequence[Prepared]) -> RunConfig:
    """The config with `training.batch_tokens` as the training rows ask for it, where it says nothing of batches.

    Tasks that are learned jointly draw from all groups of texts; otherwise the group with the fewest tokens decides.
    """
    training = config.training
    if training.batch_tokens is not None or training.batch_size is not None:
        return config
    lengths = [group.training_lengths() for group in groups]
    if training.regime == "joint":
        lengths = [np.concatenate(lengths)]
    tokens = min(map(fitting_tokens, lengths))
    return config.model_copy(update={"training": training.model_copy(update={"batch_tokens": tokens})})


def draw_batches(sources: list[SharedTexts], training: TrainingSection, epoch: int) -> list[Batch]:
    """The batches of `epoch`; they depend on the seed and the epoch alone.

    Each sequence once, for all tasks with a target (`mixing: rows`), or one task a batch. Then an epoch has as many batches
    as all tasks' own texts fill, and a task of n texts has a share of them in proportion to n (`proportional`), n^(1/2)
    (`sqrt`), n^(1/temperature) (`temperature`) or 1 (`uniform`): Stickland and Murray 2019 (BERT and PALs, arXiv 1902.02671),
    Raffel et al. 2020 (T5, arXiv 1910.10683, 3.5.2).
    """
    if training.mixing == "rows" or training.regime != "joint":
        batches = [Batch(source, chosen) for source in sources for chosen in _cut(source, source.sequences, training, epoch)]
    else:
        batches = _one_task_each(sources, training, epoch)
    if len(sources) > 1 or training.regime == "joint":
        order = np.random.default_rng([training.drawn_by, epoch, 1]).permutation(len(batches))
        batches = [batches[i] for i in order]
    return batches


def _cut(source: SharedTexts, sequences: np.ndarray, training: TrainingSection, epoch: int) -> list[np.ndarray]:
    """Batches of these sequences; of whole texts where the windows of a text are to stay together."""
    encoded = source.train.encoded
    lengths, counts, begins = encoded.lengths[sequences], None, None
    if source.joined:
        begins = np.flatnonzero(np.diff(encoded.text_of[sequences], prepend=-1))
        counts, lengths = np.diff(begins, append=len(sequences)), np.maximum.reduceat(lengths, begins)
    chosen = token_batches(
        lengths, tokens=training.batch_tokens, size=training.batch_size, seed=training.drawn_by, epoch=epoch, counts=counts
    )
    if begins is None or counts is None:
        return [sequences[batch] for batch in chosen]
    return [sequences[ranges(begins[texts], counts[texts])] for texts in chosen]


def _one_task_each(sources: list[SharedTexts], training: TrainingSection, epoch: int) -> list[Batch]:
    supervised = {
        name: (source, np.flatnonzero(supervision.supervised))
        for source in sources
        for name, supervision in source.train.supervision.items()
    }
    assert all(len(sequences) for _, sequences in supervised.values()), (
        "a task without a training sequence"
    )  # refused while preparing
    power = {"proportional": 1.0, "sqrt": 0.5, "temperature": 1 / training.temperature, "uniform": 0.0}[training.mixing]
    weights = np.array([len(sequences) ** power for _, sequences in supervised.values()])
    own = {name: len(_cut(*place, training, epoch)) for name, place in supervised.items()}
    counts = shares(sum(own.values()), weights)
    batches = []
    for (name, (source, sequences)), count in zip(supervised.items(), counts, strict=True):
        drawn: list[np.ndarray] = []
        turn = 0
        while len(drawn) < count:  # a small task's texts come round more than once, in other batches each time
            drawn += _cut(source, sequences, training, epoch * 1000 + turn)
            turn += 1
        batches += [Batch(source, chosen, (name,)) for chosen in drawn[:count]]
    return batches


def shares(total: int, weights: np.ndarray) -> list[int]:
    """Divide `total` in proportion to `weights`, at least 1 each, by largest remainders."""
    exact = total * weights / weights.sum()
    counts = np.maximum(np.floor(exact).astype(int), 1)
    for i in np.argsort(counts - exact, kind="stable")[: max(0, total - counts.sum())]:
        counts[i] += 1
    return counts.tolist()
