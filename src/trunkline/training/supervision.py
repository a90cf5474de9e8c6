"""One task on one split: which rows of a batch it answers for, and what is right for them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from trunkline.inputs.batching import Layout
from trunkline.inputs.text import Encoded
from trunkline.tasks import Criterion, Targets, Task
from trunkline.tasks.base import number_or_none


@dataclass
class Picked:
    """What a task learns from one batch.

    `rows` (M,) are packed row numbers for a unit-level head, None for a text-level one; `keep` (M,) are the sequences of
    the batch with a target at text level; `targets` (M, ...); `groups` (M,) the sequence that a unit belongs to.
    """

    rows: Tensor | None
    keep: Tensor | None
    targets: Tensor
    groups: Tensor | None


@dataclass
class Supervision:
    """A task's targets joined to the encoded texts of a split."""

    task: Task
    targets: Targets
    encoded: Encoded

    @cached_property
    def _first(self) -> np.ndarray:
        """(S,) whether a sequence is the first window of its text: the one that text-level tasks read."""
        first = np.zeros(len(self.encoded.text_of), bool)
        first[self.encoded.first_sequence()] = True
        return first

    @cached_property
    def taught(self) -> np.ndarray:
        """(S,) whether the task learns anything from a sequence."""
        if self.task.level == "text":
            return self._first & self.targets.present[self.encoded.text_of]
        assert self.encoded.unit_rows is not None
        rows = self.encoded.unit_rows[self.targets.present]
        taught = np.zeros(len(self.encoded.text_of), bool)
        taught[np.searchsorted(self.encoded.offsets, rows[rows >= 0], side="right") - 1] = True
        return taught

    def score(self, criterion: Criterion, logits: np.ndarray) -> dict[str, Any]:
        """The task's metrics, and the mean `loss`, for logits of the whole split: (texts, outputs) or (units, outputs)."""
        offsets = self.encoded.unit_offsets if self.task.level == "unit" else None
        answers, present = torch.from_numpy(logits), torch.from_numpy(self.targets.present)
        groups = None
        if offsets is not None:
            groups = torch.from_numpy(np.repeat(np.arange(len(offsets) - 1), np.diff(offsets)))[present]
        with torch.no_grad():
            loss = criterion.loss(answers[present], torch.from_numpy(self.targets.values)[present], groups)
        metrics = self.task.score(criterion.decode(answers, offsets), self.targets)
        # Nothing that is no number goes into comparisons and files: an error may overflow.
        metrics = {name: number_or_none(value) if isinstance(value, float) else value for name, value in metrics.items()}
        return {"loss": float(loss), **metrics}

    def pick(self, sequences: np.ndarray, layout: Layout, device: torch.device) -> Picked | None:
        """Return what the task learns from the batch `sequences`, or None where it has no target in it."""
        if self.task.level == "text":
            keep = np.flatnonzero(self.taught[sequences])
            if len(keep) == 0:
                return None
            values = self.targets.values[self.encoded.text_of[sequences[keep]]]
            return Picked(None, torch.from_numpy(keep).to(device), torch.from_numpy(values).to(device), None)
        units, rows = self.encoded.units_of(sequences)
        present = self.targets.present[units]
        if not present.any():
            return None
        packed = torch.from_numpy(rows[present]).to(device)
        values = torch.from_numpy(self.targets.values[units[present]]).to(device)
        return Picked(packed, None, values, layout.sequence_of[packed])
