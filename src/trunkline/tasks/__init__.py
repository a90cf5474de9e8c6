"""Tasks: what to predict. One file per kind holds its YAML, its label space, its loss, its decoding and its metrics."""

from trunkline.tasks.base import Criterion, Decoded, Targets, Task, TaskConfig, kinds

__all__ = ["Criterion", "Decoded", "Targets", "Task", "TaskConfig", "kinds"]
