"""The engine's predictions as a client asked for them: which scores, which thresholds, how many digits."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from trunkline.errors import BadInput
from trunkline.model.branch import Branch
from trunkline.model.decision import withheld
from trunkline.tasks import Task

DIGITS = 6


@dataclass(frozen=True)
class Shape:
    """Options of an answer, as `PredictRequest` has them."""

    scores: bool = False
    top_k: int | None = None
    threshold: float | None = None
    min_confidence: float | None = None

    def check(self, branches: Mapping[str, Branch], tasks: Collection[str] | None) -> None:
        """BadInput for a threshold that none of the tasks (all, if None) has a use for."""
        if self.threshold is None:
            return
        if not any(branch.task.kind == "multilabel" for name, branch in branches.items() if tasks is None or name in tasks):
            raise BadInput("threshold: found one, expected none, as no task that is asked is a multilabel task")

    def answer(self, task: Task, prediction: Mapping[str, Any]) -> dict[str, Any]:
        """One prediction of a task, as `Bundle.predict_written` gives it, in this shape."""
        made = dict(prediction)
        all_scores = made.get("scores")
        if self.threshold is not None and "labels" in made and all_scores is not None:
            made["labels"] = [label for label, score in all_scores.items() if score >= self.threshold]
        made = withheld(task, made, self.min_confidence)
        if "scores" in made:
            if all_scores is None:
                if not self.scores and self.top_k is None:
                    del made["scores"]
            elif self.top_k is not None:
                made["scores"] = dict(sorted(all_scores.items(), key=lambda one: -one[1])[: self.top_k])
            elif not self.scores:
                del made["scores"]
        return {key: rounded(part) for key, part in made.items()}


def rounded(value: Any) -> Any:
    """A value with its numbers cut to DIGITS digits behind the point."""
    if isinstance(value, float):
        return round(value, DIGITS)
    if isinstance(value, dict):
        return {key: rounded(part) for key, part in value.items()}
    if isinstance(value, list):
        return [rounded(part) for part in value]
    return value
