"""Where the answers of a task lie in encoded texts: one for each text, or one for each unit (word) of the texts.

A task kind names one of these classes as its `answers`. What reads, trains, applies and scores tasks asks them for rows,
targets and offsets, and does not know which it is.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import ClassVar, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from trunkline.data.corpus import Corpus
from trunkline.inputs.batching import Layout
from trunkline.inputs.encoded import Encoded, offsets_of, ranges
from trunkline.trunk.machine import onto

SURE = 30.0  # logit of "O" for a unit that the tokenizer turned into nothing


@dataclass
class Targets:
    """What is right, for each text or for each unit of each text.

    values (np.ndarray): (texts,) or (texts, L); for a task at unit level (U,), the units of all texts end to end.
    present (np.ndarray): bool, as long as `values`; False where a row lacks this task's label.
    offsets (np.ndarray | None): only at unit level, (texts + 1,): the units of text t are offsets[t]:offsets[t + 1].
    weights (np.ndarray | None): fp64, as long as `present`: what the loss of each is multiplied by in training, 1 on average
        over what is present; None: 1.
    unseen (Mapping[str, int]): labels that the task does not have, with the rows that have each; `values` number them after
        the task's own, in this order. Never where a task is trained.
    unseen_rows (int): rows with such a label.
    """

    values: np.ndarray
    present: np.ndarray
    offsets: np.ndarray | None = None
    weights: np.ndarray | None = None
    unseen: Mapping[str, int] = field(default_factory=dict)
    unseen_rows: int = 0

    def weighted(self, texts: np.ndarray) -> Targets | None:
        """The same with weights by text (texts,), scaled to a mean of 1 over what is present; None if all of that are 0."""
        own = texts if self.offsets is None else np.repeat(texts, np.diff(self.offsets))
        mean = own[self.present].mean()
        return replace(self, weights=own / mean) if mean > 0 else None

    def of_texts(self, texts: np.ndarray) -> Targets:
        """Those of some of the texts (B,), in this order."""
        if self.offsets is None:
            rows, offsets = texts, None
        else:
            counts = np.diff(self.offsets)[texts]
            rows, offsets = ranges(self.offsets[texts], counts), offsets_of(counts)
        weights = None if self.weights is None else self.weights[rows]
        return replace(self, values=self.values[rows], present=self.present[rows], offsets=offsets, weights=weights)


class Places(NamedTuple):
    """Where the answers of a batch lie.

    Attributes:
        rows: packed row numbers that a head answers for; None where it gives one answer for each sequence.
        kept: which of a head's answers count; None: all.
        into: the rows of the split's logits that those are.
    """

    rows: np.ndarray | None
    kept: np.ndarray | None
    into: np.ndarray


@dataclass
class Picked:
    """What a task learns from one batch.

    `rows` (M,) are packed row numbers for a unit-level head, None for a text-level one; `keep` (M,) are the sequences of
    the batch with a target at text level; `targets` (M, ...); `groups` (M,) the sequence that a unit belongs to; `weights` (M,)
    what the loss of each is multiplied by. Where several sequences are one text, `of` (M,) is the one of the T targets, and T
    weights, that each of `keep` belongs to, rising.
    """

    rows: Tensor | None
    keep: Tensor | None
    targets: Tensor
    groups: Tensor | None
    weights: Tensor | None = None
    of: Tensor | None = None


class Answers(ABC):
    """The answers of a task in `encoded` texts.

    Attributes:
        level: what a head is asked for: an answer for each "text" or each "unit".
        units: whether texts must be divided into units.
        whole: whether all of a long text is read, as overlapping windows; else it is cut.
        joined: whether the windows of a text make one answer together, so that training reads them in one batch.
        pooled: whether a head makes one answer of all rows of a text.
    """

    level: ClassVar[Literal["text", "unit"]]
    units: ClassVar[bool]
    whole: ClassVar[bool]
    joined: ClassVar[bool] = False
    pooled: ClassVar[bool]

    def __init__(self, encoded: Encoded) -> None:
        self.encoded = encoded

    @staticmethod
    @abstractmethod
    def every_row(layout: Layout) -> Tensor | None:
        """Packed row numbers (N,) for a head that answers for every row of a batch; None for one that pools."""

    @staticmethod
    @abstractmethod
    def scored(targets: Targets, corpus: Corpus) -> int:
        """How many rows of the corpus a score is over."""

    @property
    @abstractmethod
    def count(self) -> int:
        """Rows of the logits of all texts, as they are collected batch by batch (`places`)."""

    @property
    @abstractmethod
    def read(self) -> np.ndarray:
        """(S,) whether an answer lies in a sequence."""

    @abstractmethod
    def places(self, sequences: np.ndarray) -> Places:
        """Where the answers of the batch `sequences` lie."""

    def complete(self, logits: np.ndarray) -> None:  # noqa: B027 (most have a row for every answer)
        """Fill in, in place, answers that no row of the encoded texts gives."""

    def combined(self, logits: np.ndarray) -> np.ndarray:
        """The logits of all answers, of the rows (count, C) once these are all there."""
        return logits

    def combine(self, logits: Tensor, picked: Picked) -> Tensor:
        """The logits of a batch that the loss is of, one for each target of `picked`, of those (M, C) that it keeps."""
        return logits

    @property
    @abstractmethod
    def offsets(self) -> np.ndarray | None:
        """(texts + 1,) answers of text t are rows offsets[t]:offsets[t + 1]; None: one for each text."""

    @property
    @abstractmethod
    def groups(self) -> Tensor | None:
        """(count,) the text that each answer belongs to; None: its own."""

    @abstractmethod
    def supervised(self, targets: Targets) -> np.ndarray:
        """(S,) whether anything is learned from a sequence."""

    @abstractmethod
    def pick(
        self, targets: Targets, supervised: np.ndarray, sequences: np.ndarray, layout: Layout, device: torch.device
    ) -> Picked | None:
        """The targets of the batch `sequences`, with `supervised` as `supervised(targets)`; None where it has no target."""


class TextAnswers(Answers):
    """One answer for each text, read from the text as it is cut: its first window."""

    level = "text"
    units = False
    whole = False
    pooled = True

    @staticmethod
    def every_row(layout: Layout) -> Tensor | None:
        return None

    @staticmethod
    def scored(targets: Targets, corpus: Corpus) -> int:
        return int(targets.present.sum())

    @property
    def count(self) -> int:
        return self.encoded.n_texts

    @cached_property
    def read(self) -> np.ndarray:
        first = np.zeros(len(self.encoded.text_of), bool)
        first[self.encoded.first_sequence()] = True
        return first

    def places(self, sequences: np.ndarray) -> Places:
        kept = self.read[sequences]
        return Places(None, kept, self.encoded.text_of[sequences[kept]])

    @property
    def offsets(self) -> np.ndarray | None:
        return None

    @property
    def groups(self) -> Tensor | None:
        return None

    def supervised(self, targets: Targets) -> np.ndarray:
        return self.read & targets.present[self.encoded.text_of]

    def pick(
        self, targets: Targets, supervised: np.ndarray, sequences: np.ndarray, layout: Layout, device: torch.device
    ) -> Picked | None:
        keep = np.flatnonzero(supervised[sequences])
        if len(keep) == 0:
            return None
        texts = self.encoded.text_of[sequences[keep]]
        weights = None if targets.weights is None else onto(targets.weights[texts], device)
        return Picked(None, torch.from_numpy(keep).to(device), onto(targets.values[texts], device), None, weights)


class UnitAnswers(Answers):
    """One answer for each unit of the texts, read from the row of its first sub-word."""

    level = "unit"
    units = True
    whole = True
    pooled = False

    def __init__(self, encoded: Encoded) -> None:
        super().__init__(encoded)
        if encoded.unit_rows is None or encoded.unit_offsets is None:
            raise ValueError("encoded without units, but a task needs them")
        self._rows, self._offsets = encoded.unit_rows, encoded.unit_offsets

    @staticmethod
    def every_row(layout: Layout) -> Tensor | None:
        return torch.arange(layout.total, device=layout.lengths.device)

    @staticmethod
    def scored(targets: Targets, corpus: Corpus) -> int:
        return len(corpus)

    @property
    def count(self) -> int:
        return len(self._rows)

    @property
    def read(self) -> np.ndarray:
        return np.ones(len(self.encoded.text_of), bool)

    def places(self, sequences: np.ndarray) -> Places:
        units, rows = self.encoded.units_of(sequences)
        return Places(rows, None, units)

    def complete(self, logits: np.ndarray) -> None:
        logits[self._rows < 0, 0] = SURE

    @property
    def offsets(self) -> np.ndarray | None:
        return self._offsets

    @property
    def groups(self) -> Tensor | None:
        return torch.from_numpy(np.repeat(np.arange(len(self._offsets) - 1), np.diff(self._offsets)))

    def supervised(self, targets: Targets) -> np.ndarray:
        rows = self._rows[targets.present]
        supervised = np.zeros(len(self.encoded.text_of), bool)
        supervised[np.searchsorted(self.encoded.offsets, rows[rows >= 0], side="right") - 1] = True
        return supervised

    def pick(
        self, targets: Targets, supervised: np.ndarray, sequences: np.ndarray, layout: Layout, device: torch.device
    ) -> Picked | None:
        units, rows = self.encoded.units_of(sequences)
        present = targets.present[units]
        if not present.any():
            return None
        packed = torch.from_numpy(rows[present]).to(device)
        values = onto(targets.values[units[present]], device)
        weights = None if targets.weights is None else onto(targets.weights[units[present]], device)
        return Picked(packed, None, values, layout.sequence_of[packed], weights)
