"""What a method costs beside how good it is: the costs of its runs, fronts of quality against them, and when sharing pays."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from trunkline.studies.outcomes import Outcome
from trunkline.studies.statistics import Price, break_even, pareto_front
from trunkline.tasks.base import LOWER_IS_BETTER

# What quality is set against; all are the less the better.
COSTS = ("trained_parameters", "seconds", "bytes_per_task", "pass_share")


def cost_of(one: Outcome) -> dict[str, Any]:
    """Medians over the runs of a method; of runs that were trained together, times and memory are those of all of them."""
    costs = [repeat.result["cost"] for repeat in one.repeats]
    if not costs:
        return {}
    epochs = [epoch for cost in costs for epoch in cost.get("epochs", ())]
    steps = [max(cost["steps_to_best"].values()) for cost in costs if cost.get("steps_to_best")]
    history = [repeat.result["history"][-1]["step"] for repeat in one.repeats if repeat.result.get("history")]
    per_second = [
        step / sum(epoch["seconds"] for epoch in cost["epochs"])
        for step, cost in zip(history, costs, strict=False)
        if sum(epoch["seconds"] for epoch in cost.get("epochs", ())) > 0
    ]
    passes = [task["pass"]["share"] for repeat in one.repeats for task in repeat.result["tasks"].values() if task.get("pass")]
    disk = [size for cost in costs for size in cost.get("disk_bytes", {}).values()]
    return {
        "trained_parameters": _median([sum(cost["trained_parameters"].values()) for cost in costs]),
        "added_parameters": _median([sum(cost["added_parameters"].values()) for cost in costs]),
        "seconds": _median([cost["seconds"] for cost in costs]),
        "epoch_seconds": _median([epoch["seconds"] for epoch in epochs]),
        "stacked": max(cost.get("stacked", 1) for cost in costs),
        "steps_to_best": _median(steps),
        "steps_per_second": _median(per_second),
        "peak_memory_bytes": _median([cost["peak_memory_bytes"] for cost in costs if cost.get("peak_memory_bytes")]),
        "bytes_per_task": _median(disk),
        "pass_share": max((share for share in passes if share is not None), default=None),
    }


def front_of(cells: Sequence[Mapping[str, Any]], task: str, metric: str) -> dict[str, list[str]]:
    """For each cost, the methods that no other is better than at no higher cost, at the last size."""
    scored = [one for one in cells if not one["floor"] and one["tasks"].get(task, {}).get("test") is not None]
    last = [one for one in scored if one["size"] == scored[-1]["size"]]
    fronts: dict[str, list[str]] = {}
    for cost in COSTS:
        if known := [one for one in last if one["cost"].get(cost) is not None]:
            quality, costs = [one["tasks"][task]["test"] for one in known], [one["cost"][cost] for one in known]
            on = pareto_front(quality, costs, greater_is_better=metric not in LOWER_IS_BETTER)
            fronts[cost] = list(dict.fromkeys(one["method"] for one, kept in zip(known, on, strict=True) if kept))
    return fronts


def break_even_of(found: Sequence[Outcome]) -> dict[str, Any] | None:
    """From how many tasks on side branches take fewer bytes than tuned trunks; None where there are not both kinds."""
    sizes: dict[bool, list[tuple[int, str]]] = {True: [], False: []}
    for one in found:
        for size in (size for repeat in one.repeats for size in repeat.result["cost"].get("disk_bytes", {}).values()):
            sizes[one.changes_trunk].append((size, one.cell.method))
    trunk = next((repeat.result["cost"]["trunk_parameters"] for one in found for repeat in one.repeats), 0) * 4
    if not (sizes[True] and sizes[False] and trunk):
        return None
    (branch, cheap), (tuned, dear) = max(sizes[False]), min(sizes[True])
    tasks = break_even(Price(trunk, branch), Price(0, trunk + tuned))
    said = "for no number of tasks" if tasks is None else f"from {tasks} task{'s' if tasks > 1 else ''} on"
    return {
        "tasks": tasks,
        "sentence": f"on disk, side branches (at most {branch:,} bytes each, {cheap}) beside one trunk take less than a "
        f"tuned trunk for each task ({dear}, merged) {said}",
    }


def _median(values: Sequence[float]) -> float | None:
    return statistics.median(values) if values else None
