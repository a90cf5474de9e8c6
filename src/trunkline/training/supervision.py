"""One task on one split: which rows of a batch it answers for, and what is right for them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch

from trunkline.inputs.batching import Layout
from trunkline.inputs.encoded import Encoded
from trunkline.model.decision import score
from trunkline.model.part import Part
from trunkline.tasks import Answers, Criterion, Targets, Task
from trunkline.tasks.answers import Picked
from trunkline.tasks.metrics import number_or_none


@dataclass
class Supervision:
    """A task's targets joined to the encoded texts of a split."""

    task: Task
    targets: Targets
    encoded: Encoded

    @cached_property
    def answers(self) -> Answers:
        return self.task.answers(self.encoded)

    @cached_property
    def supervised(self) -> np.ndarray:
        """(S,) whether the task learns anything from a sequence."""
        return self.answers.supervised(self.targets)

    def score(self, criterion: Criterion, logits: np.ndarray) -> dict[str, Any]:
        """The task's metrics, and the mean `loss`, for logits of the whole split: (texts, outputs) or (units, outputs)."""
        metrics = self.task.score(criterion.decode(logits, self.answers.offsets), self.targets)
        return {"loss": self._loss(criterion, logits), **_finite(metrics)}

    def judge(self, part: Part, logits: np.ndarray) -> dict[str, Any]:
        """The same of the answers that the decision of `part` makes of its logits, with how well they are calibrated."""
        metrics = score(part.task, part.criterion, part.decision, logits, self.answers.offsets, self.targets)
        return {"loss": self._loss(part.criterion, logits), **_finite(metrics)}

    def _loss(self, criterion: Criterion, logits: np.ndarray) -> float:
        given, targets = torch.from_numpy(logits), self.task.for_loss(self.targets)
        present, groups = torch.from_numpy(targets.present), self.answers.groups
        with torch.no_grad():
            values = torch.from_numpy(targets.values)[present]
            return float(criterion.loss(given[present], values, None if groups is None else groups[present]))

    def pick(self, sequences: np.ndarray, layout: Layout, device: torch.device) -> Picked | None:
        """Return what the task learns from the batch `sequences`, or None where it has no target in it."""
        return self.answers.pick(self.targets, self.supervised, sequences, layout, device)


def _finite(metrics: dict[str, Any]) -> dict[str, Any]:
    """Metrics without what is no number, which is not to get into comparisons and files: an error may overflow."""
    return {name: number_or_none(value) if isinstance(value, float) else value for name, value in metrics.items()}
