"""What a user should know of a branch's scores: that it is no better than its baseline, or never predicts a label."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trunkline.data.corpus import Corpus
from trunkline.errors import shown
from trunkline.tasks.answers import Targets
from trunkline.tasks.base import LOWER_IS_BETTER, Task
from trunkline.tasks.labels import may_name

NAMED = 8  # labels that a sentence names at most


def baseline_scores(task: Task, corpus: Corpus, targets: Targets) -> dict[str, Any] | None:
    """Return the metrics of `task.baseline` on `corpus` by flat name; None for a task that has none."""
    decoded = task.baseline(corpus)
    if decoded is None:
        return None
    return {name: value for name, value in task.score(decoded, targets).items() if not isinstance(value, dict)}


def remarks(task: Task, split: str, metrics: Mapping[str, Any], baseline: Mapping[str, Any] | None) -> list[str]:
    """Return what is to be said of the scores of a branch, a sentence each.

    Args:
        task: the branch's.
        split: what it was scored on, as a message names it.
        metrics: what `Task.score` returned.
        baseline: what `baseline_scores` returned for the same rows.
    """
    return [*_no_better(task, split, metrics, baseline or {}), *_never_predicted(task, split, metrics)]


def _no_better(task: Task, split: str, metrics: Mapping[str, Any], baseline: Mapping[str, Any]) -> list[str]:
    # A constant has no correlation, and no loss is computed for it.
    for metric in (task.monitor, task.default_metric, "mse"):
        own, least = metrics.get(metric), baseline.get(metric)
        if own is None or least is None:
            continue
        if own < least if metric in LOWER_IS_BETTER else own > least:
            return []
        return [
            f"{split}: {task.name!r} is no better than always {task.baseline_rule}: {metric} {own:.4f}, baseline {least:.4f}."
        ]
    return []


def _never_predicted(task: Task, split: str, metrics: Mapping[str, Any]) -> list[str]:
    own = frozenset(getattr(task, "types", task.labels))  # labels that training lacks are told of by themselves
    rows = {name: row for name, row in (metrics.get("by_label") or {}).items() if name in own}
    never = {name: row["support"] for name, row in rows.items() if row.get("support") and row.get("predicted") == 0}
    if not never:
        return []
    unit = task.label_unit
    if not may_name(list(rows)):
        count = sum(never.values())
        return [f"{split}: {task.name!r} never predicts {len(never)} of its {len(rows)} labels, which {count:,} {unit}s have."]
    few = sorted(never, key=lambda name: -never[name])[:NAMED]
    named = ", ".join(f"{shown(name)} ({never[name]:,} {unit}{'' if never[name] == 1 else 's'})" for name in few)
    more = f" and {len(never) - len(few)} more" if len(never) > len(few) else ""
    of = "" if len(never) == 1 else f" {len(never)} of its {len(rows)} labels:"
    return [f"{split}: {task.name!r} never predicts{of} {named}{more}."]
