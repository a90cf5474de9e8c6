"""What a floor is given, what it finds, and what is told of one that does not apply to a task."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from trunkline.registry import Registry
from trunkline.tasks import Decoded, Targets, Task
from trunkline.tasks.metrics import number_or_none
from trunkline.training.answered import KeptAnswers
from trunkline.training.prepare import Prepared, Split

floors: Registry[type[Floor]] = Registry("floor", __package__)


@dataclass(frozen=True)
class Subject:
    """A task on the splits that its runs are trained and judged on.

    Attributes:
        task: a copy of its own, as a floor may choose a threshold.
        group: the splits, and how they are read.
        embed: a split's texts as mean-pooled states of the trunk's last layer, fp32 (texts, K).
    """

    task: Task
    group: Prepared
    embed: Callable[[Split], np.ndarray]

    @property
    def train(self) -> Split:
        return self.group.splits["train"]

    def targets(self, split: str) -> Targets:
        return self.group.splits[split].targets[self.task.name]


@dataclass(frozen=True)
class Measured:
    """What a floor finds.

    Attributes:
        metrics: by split (validation, and test where there is one), as of `Task.score`; with `loss` where a model gives logits.
        answers: on the test split, None where there is none.
        parameters: how many numbers were learned from the training rows.
        chosen: what was chosen on validation, as plain JSON.
        findings: what else is to be said, a sentence each.
    """

    metrics: dict[str, dict[str, Any]]
    answers: KeptAnswers | None
    parameters: int
    chosen: dict[str, Any] = field(default_factory=dict)
    findings: list[str] = field(default_factory=list)


class Floor(ABC):
    """A way to solve a task that costs next to nothing. Nothing of it is random: the same splits give the same answers."""

    name: ClassVar[str]

    @staticmethod
    @abstractmethod
    def title(task: Task) -> str:
        """What a table calls it, for a task that it applies to."""

    @staticmethod
    @abstractmethod
    def unsuited(group: Prepared, task: Task) -> str | None:
        """Why it does not apply to a task, in words that follow "as"; None where it does."""

    @staticmethod
    @abstractmethod
    def measure(subject: Subject) -> Measured:
        """Learn from the training rows, choose on validation, and answer validation and test."""


def scored(subject: Subject, answer: Callable[[Split], Decoded]) -> tuple[dict[str, dict[str, Any]], KeptAnswers | None]:
    """The metrics of answers on validation and test, and the test answers."""
    metrics: dict[str, dict[str, Any]] = {}
    answers = None
    for name in filter(subject.group.splits.__contains__, ("validation", "test")):
        decoded, targets = answer(subject.group.splits[name]), subject.targets(name)
        metrics[name] = score(subject.task, decoded, targets)
        if name == "test":
            answers = KeptAnswers.of(subject.task, decoded, targets)
    return metrics, answers


def score(task: Task, decoded: Decoded, targets: Targets) -> dict[str, Any]:
    """`Task.score`, with None for what is no finite number, as runs keep it."""
    found = task.score(decoded, targets)
    return {name: number_or_none(value) if isinstance(value, float) else value for name, value in found.items()}


def better(task: Task, score: float | None, best: float | None) -> bool:
    """Whether a value of the monitored metric is better than the best so far; an undefined one never is."""
    if score is None or best is None:
        return score is not None
    return score > best if task.higher_is_better else score < best
