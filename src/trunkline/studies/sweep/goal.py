"""What is searched for: one number of the validation scores of a run's tasks, and how a run reports it while it trains."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from trunkline.events import Evaluated, Event, StopRun
from trunkline.tasks.base import LOWER_IS_BETTER

if TYPE_CHECKING:
    import optuna


@dataclass(frozen=True)
class Goal:
    """The weighted mean over tasks of their monitored metrics on validation.

    Where less is better for all tasks, the mean is minimised. Otherwise it is maximised, and a metric of which less is better
    counts with a minus.

    Attributes:
        metrics: by task, the one that it monitors.
        weights: by task.
    """

    metrics: Mapping[str, str]
    weights: Mapping[str, float]

    @property
    def direction(self) -> Literal["minimize", "maximize"]:
        return "minimize" if all(metric in LOWER_IS_BETTER for metric in self.metrics.values()) else "maximize"

    def better(self, one: float, other: float) -> bool:
        return one < other if self.direction == "minimize" else one > other

    def mean(self, scores: Mapping[str, float | None]) -> float | None:
        """The mean of scores by task; None where one that counts is not there or undefined."""
        total = 0.0
        for task, metric in self.metrics.items():
            if not self.weights[task]:
                continue
            score = scores.get(task)
            if score is None or not math.isfinite(score):
                return None
            minus = self.direction == "maximize" and metric in LOWER_IS_BETTER
            total += self.weights[task] * (-score if minus else score)
        return total / sum(self.weights.values())

    def scores(self, tasks: Mapping[str, Mapping[str, Any]]) -> dict[str, float | None]:
        """By task, its monitored metric on validation: of `tasks` of result.json, or of an evaluation."""
        return {name: task["validation"].get(self.metrics[name]) for name, task in tasks.items()}

    def named(self) -> str:
        """What the number is called: "validation accuracy", "mean of intent accuracy and slots f1"."""
        if len(self.metrics) == 1:
            return f"validation {next(iter(self.metrics.values()))}"
        own = [f"{task} {metric}" for task, metric in self.metrics.items() if self.weights[task]]
        weighted = "weighted mean" if len({self.weights[task] for task in self.metrics} - {0}) > 1 else "mean"
        return f"{weighted} of {', '.join(own[:-1])} and {own[-1]} on validation" if len(own) > 1 else f"validation {own[0]}"


class Reporter:
    """A subscriber to the run of a trial: tells Optuna every evaluation, and gives the run up where that says so.

    A task that has stopped before the others counts with its best score, whose weights are kept.

    Args:
        trial: of Optuna.
        goal: of the sweep.
        every: evaluations are made after so many steps, or each "epoch".
        history: evaluations before a checkpoint that the run resumes from.
    """

    def __init__(
        self,
        trial: optuna.Trial,
        goal: Goal,
        every: int | Literal["epoch"] = "epoch",
        history: Iterable[Mapping[str, Any]] = (),
    ) -> None:
        self.trial, self.goal, self.every = trial, goal, every
        self._best: dict[str, float | None] = {}
        for entry in history:
            self._report(entry["step"], entry["epoch"], entry["tasks"])

    def __call__(self, event: Event) -> None:
        if isinstance(event, Evaluated) and self._report(event.step, event.epoch, event.tasks) and self._pruned():
            raise StopRun("pruned, as it is worse than others were after as much training")

    def _report(self, step: int, epoch: int, tasks: Mapping[str, Mapping[str, Any]]) -> bool:
        """Tell a score to Optuna; False where there is none. What it knows already, it keeps."""
        scores = self.goal.scores(tasks)
        self._best |= {name: score for name, score in scores.items() if tasks[name]["best"]}
        value = self.goal.mean(self._best | scores)
        if value is None:
            return False
        place = epoch if self.every == "epoch" else math.ceil(step / self.every)
        with suppress(Exception):  # a storage that is away for a while: the run's history is reported again at its end
            self.trial.report(value, place)
        return True

    def _pruned(self) -> bool:
        with suppress(Exception):
            return self.trial.should_prune()
        return False

    def rest(self, history: Iterable[Mapping[str, Any]]) -> None:
        """Tell all evaluations of a finished run, which may have been trained before."""
        self._best = {}
        for entry in history:
            self._report(entry["step"], entry["epoch"], entry["tasks"])
