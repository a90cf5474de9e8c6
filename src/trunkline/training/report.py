"""What result.json says of each task besides its scores: its data, its baseline, and what is to be noted of the scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from trunkline.tasks.remarks import baseline_scores, remarks
from trunkline.training.prepare import Prepared


def complete(tasks: Mapping[str, dict[str, Any]], groups: Sequence[Prepared], data: Mapping[str, Any]) -> list[str]:
    """Put into each task of a run's summary its `data`, its `positive` label and the scores of its `baseline` by split.

    Args:
        tasks: of the summary, by name, with their scores on validation and perhaps test.
        groups: where each task's splits are.
        data: what overview.py says of each task.

    Returns:
        What is to be said of the scores: of a branch that is no better than its baseline, or never predicts a label.
    """
    said: list[str] = []
    for group in groups:
        for name, task in group.tasks.items():
            own, splits = tasks[name], [split for split in group.splits.values() if split.name in tasks[name]]
            scores = {split.name: baseline_scores(task, split.corpus, split.targets[name]) for split in splits}
            own |= {"data": data[name], "baseline": {"rule": task.baseline_rule, **scores}}
            if task.positive is not None:
                own["positive"] = task.positive
            noted = remarks(task, {split.name: (own[split.name], scores[split.name]) for split in splits})
            said += noted
            if noted and getattr(task.config, "class_weights", None) == "none":
                said.append(what_helps(name, own["data"]))
    return said


def what_helps(name: str, data: Mapping[str, Any]) -> str:
    """What may make a branch better than its baseline; class weights only where a label has at most half the rows of another.

    Args:
        name: of the task.
        data: what overview.py says of it.
    """
    named = data.get("labels", {}).get("train")
    counts = named.values() if named else data["by_size"]["train"]
    if max(counts) < 2 * min(counts):
        return f"more epochs, another learning rate or method may help {name!r}; its labels are about equally frequent."
    key = f"tasks.{name}.class_weights=balanced"
    return f"{key} gives rare labels more weight; more epochs, another learning rate or method may help too."
