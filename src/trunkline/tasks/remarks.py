"""What a user should know of a branch's scores: that it is no better than its baseline or chance, or never predicts a label."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from trunkline.data.corpus import Corpus
from trunkline.errors import shown
from trunkline.tasks.answers import Targets
from trunkline.tasks.base import LOWER_IS_BETTER, Task
from trunkline.tasks.labels import may_name

NAMED = 8  # labels that a sentence names at most
CHANCE = 0.05  # Matthews correlation below which a branch is hardly better than chance


def baseline_scores(task: Task, corpus: Corpus, targets: Targets) -> dict[str, Any] | None:
    """Return the metrics of `task.baseline` on `corpus` by flat name; None for a task that has none."""
    decoded = task.baseline(corpus)
    if decoded is None:
        return None
    return {name: value for name, value in task.score(decoded, targets).items() if not isinstance(value, dict)}


# What `Task.score` returned, and `baseline_scores` for the same rows.
Scored = tuple[Mapping[str, Any], Mapping[str, Any] | None]


def remarks(task: Task, scored: Mapping[str, Scored]) -> list[str]:
    """Return what is to be said of the scores of a branch, a sentence each, which names all splits that it holds for.

    Args:
        task: the branch's.
        scored: its scores and those of its baseline by split, as a message names that.
    """
    no_better = _no_better(task, scored)
    nothing = bool(no_better) and all(_predicts_nothing(metrics) for metrics, _ in scored.values())  # which it says too
    return [*(no_better or _by_chance(task, scored)), *([] if nothing else _never_predicted(task, scored))]


def _no_better(task: Task, scored: Mapping[str, Scored]) -> list[str]:
    compared = {split: _compared(task, metrics, baseline or {}) for split, (metrics, baseline) in scored.items()}
    lost = {split: one for split, one in compared.items() if one is not None and not _better(*one)}
    if not lost:
        return []
    metric = next(iter(lost.values()))[0]
    alike = {split: (own, least) for split, (name, own, least) in lost.items() if name == metric}
    scores = f"{metric} {_numbers(own for own, _ in alike.values())}, baseline {_numbers(least for _, least in alike.values())}"
    return [f"{' and '.join(alike)}: {task.name!r} is no better than always {task.baseline_rule}: {scores}."]


def _compared(task: Task, metrics: Mapping[str, Any], baseline: Mapping[str, Any]) -> tuple[str, float, float] | None:
    """The metric that a branch is compared with its baseline by, and its value for each; None where they share none."""
    # A constant has no correlation, and no loss is computed for it.
    for metric in (task.monitor, task.default_metric, "mse"):
        own, least = metrics.get(metric), baseline.get(metric)
        if own is not None and least is not None:
            return metric, own, least
    return None


def _better(metric: str, own: float, least: float) -> bool:
    """Whether a score is better than that of the baseline, or as good as can be."""
    return own < least or own == 0 if metric in LOWER_IS_BETTER else own > least or own == 1


def _by_chance(task: Task, scored: Mapping[str, Scored]) -> list[str]:
    found = {split: metrics["matthews"] for split, (metrics, _) in scored.items() if metrics.get("matthews") is not None}
    low = {split: value for split, value in found.items() if value < CHANCE and _varied(scored[split][0])}
    if not low:
        return []
    said = f"is hardly better than chance: matthews {_numbers(low.values())}, where 0 is chance and 1 is perfect"
    return [f"{' and '.join(low)}: {task.name!r} {said}."]


def _varied(metrics: Mapping[str, Any]) -> bool:
    """Whether several labels are there, and several are predicted: with one of either the correlation is 0 in any case."""
    rows = (metrics.get("by_label") or {}).values()
    return all(sum(row.get(key, 0) > 0 for row in rows) > 1 for key in ("support", "predicted"))


def _predicts_nothing(metrics: Mapping[str, Any]) -> bool:
    """Whether none of the labels is predicted, such as no span at all."""
    rows = (metrics.get("by_label") or {}).values()
    return len(rows) > 0 and all(row.get("predicted") == 0 for row in rows)


def _numbers(values: Iterable[float]) -> str:
    return " and ".join(f"{value:.4f}" for value in values)


def _never_predicted(task: Task, scored: Mapping[str, Scored]) -> list[str]:
    own = frozenset(getattr(task, "types", task.labels))  # labels that training lacks are told of by themselves
    tables = {split: metrics.get("by_label") or {} for split, (metrics, _) in scored.items()}
    names = dict.fromkeys(name for rows in tables.values() for name in rows if name in own)
    never: dict[str, int] = {}
    occur = 0
    for name in names:
        rows = [table[name] for table in tables.values() if name in table]
        support = sum(row.get("support", 0) for row in rows)
        occur += support > 0
        if support and all(row.get("predicted") == 0 for row in rows):
            never[name] = support
    if not never:
        return []
    unit = task.label_unit
    there = [split for split, table in tables.items() if any(table.get(name, {}).get("support") for name in never)]
    opening = f"{' and '.join(there)}: {task.name!r} never predicts"
    how_many = "any" if len(never) == occur else str(len(never))
    if not may_name(list(names)):
        return [f"{opening} {how_many} of the {occur} labels that occur, which {sum(never.values()):,} {unit}s have."]
    few = sorted(never, key=lambda name: -never[name])[:NAMED]
    named = ", ".join(f"{shown(name, whole=True)} ({never[name]:,} {unit}{'' if never[name] == 1 else 's'})" for name in few)
    more = f" and {len(never) - len(few)} more" if len(never) > len(few) else ""
    of = "" if len(never) == 1 else f" {how_many} of the {occur} labels that occur:"
    return [f"{opening}{of} {named}{more}."]
