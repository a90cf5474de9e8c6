"""Tasks: what to predict. One file per kind holds its YAML, its label space, its loss, its decoding and its metrics."""

from trunkline.tasks.answers import Answers, Targets, TextAnswers, UnitAnswers
from trunkline.tasks.base import Task, TaskConfig, kinds
from trunkline.tasks.confidence import Confidence
from trunkline.tasks.criterion import Criterion, Decoded

__all__ = [
    "Answers", "Confidence", "Criterion", "Decoded", "Targets", "Task", "TaskConfig", "TextAnswers", "UnitAnswers", "kinds",
]  # fmt: skip
