"""What a task is trained and judged on, in numbers: rows of each split, rows without a label, rows of each label."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trunkline.tasks import Task
from trunkline.tasks.labels import may_name
from trunkline.training.prepare import Split
from trunkline.training.unlabelled import unlabelled


def data_facts(task: Task, splits: Mapping[str, Split]) -> dict[str, Any]:
    """Return as plain JSON, by split:

    rows: those with a label.  unlabelled: those without.  labels: how many rows (of a token task, spans) have each label; of a
    task with so many that they are not to be named, `by_size`, those numbers alone in descending order.  numbers: of a
    regression, least, mean and greatest.
    """
    facts: dict[str, Any] = {"unit": task.label_unit, "rows": {}, "unlabelled": {}}
    for name, split in splits.items():
        targets = split.targets[task.name]
        missing = unlabelled(targets)
        facts["rows"][name], facts["unlabelled"][name] = len(split.corpus) - missing, missing
        if task.named_labels is None:
            values = targets.values[targets.present]
            facts.setdefault("numbers", {})[name] = [float(f"{v:.6g}") for v in (values.min(), values.mean(), values.max())]
        elif counts := task.counts(targets):
            named = may_name(list(counts))
            facts.setdefault("labels" if named else "by_size", {})[name] = counts if named else sorted(counts.values())[::-1]
    return facts
