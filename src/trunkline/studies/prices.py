"""What a method costs beside how good it is: the costs of its runs, fronts of quality against them, and when sharing pays."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from trunkline.studies.outcomes import Outcome
from trunkline.studies.statistics import Price, break_even, pareto_front
from trunkline.studies.times import seconds_of
from trunkline.tasks.base import LOWER_IS_BETTER

# What quality is set against; all are the less the better.
COSTS = ("trained_parameters", "seconds", "bytes_per_task", "pass_share", "predict_seconds")


def cost_of(one: Outcome, times: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters of a method's first run, and medians over its runs; times of runs trained together are those of all of them.

    Args:
        one: the method.
        times: of predictions, as `read_times` gives them.
    """
    costs = [repeat.result["cost"] for repeat in one.repeats]
    if not costs:
        return {}
    epochs = [epoch["seconds"] * cost.get("share", 1.0) for cost in costs for epoch in cost.get("epochs", ())]
    steps = [max(cost["steps_to_best"].values()) for cost in costs if cost.get("steps_to_best")]
    history = [repeat.result["history"][-1]["step"] for repeat in one.repeats if repeat.result.get("history")]
    per_second = [
        step / (sum(epoch["seconds"] for epoch in cost["epochs"]) * cost.get("share", 1.0))
        for step, cost in zip(history, costs, strict=False)
        if sum(epoch["seconds"] for epoch in cost.get("epochs", ())) > 0
    ]
    passes = [task["pass"]["share"] for repeat in one.repeats for task in repeat.result["tasks"].values() if task.get("pass")]
    disk = [size for cost in costs for size in cost.get("disk_bytes", {}).values()]
    return {
        "trained_parameters": sum(costs[0]["trained_parameters"].values()),
        "added_parameters": sum(costs[0]["added_parameters"].values()),
        "seconds": _median([cost["seconds"] * cost.get("share", 1.0) for cost in costs]),
        "epoch_seconds": _median(epochs),
        "stacked": max(cost.get("stacked", 1) for cost in costs),
        "steps_to_best": _median(steps),
        "steps_per_second": _median(per_second),
        "peak_memory_bytes": _median([cost["peak_memory_bytes"] for cost in costs if cost.get("peak_memory_bytes")]),
        "bytes_per_task": _median(disk),
        "pass_share": max((share for share in passes if share is not None), default=None),
        "predict_seconds": seconds_of(one, times),
    }


def front_of(
    cells: Sequence[Mapping[str, Any]], task: str, metric: str, rows: Mapping[str, int]
) -> dict[str, list[dict[str, str]]]:
    """For each cost, the methods that no other is better than at no higher cost, of all trunks and regimes at the largest size.

    Args:
        cells: of the facts.
        task, metric: what quality is.
        rows: by size, how many there are to train on; of equal ones the last size is taken.
    """
    scored = [one for one in cells if not one["floor"] and one["tasks"].get(task, {}).get("test") is not None]
    sizes = list(dict.fromkeys(one["size"] for one in scored))
    largest = max(sizes, key=lambda size: (rows.get(size, 0), sizes.index(size)), default=None)
    last = [one for one in scored if one["size"] == largest]
    fronts: dict[str, list[dict[str, str]]] = {}
    for cost in COSTS:
        if known := [one for one in last if one["cost"].get(cost) is not None]:
            quality, costs = [one["tasks"][task]["test"] for one in known], [one["cost"][cost] for one in known]
            on = pareto_front(quality, costs, greater_is_better=metric not in LOWER_IS_BETTER)
            places = ("method", "trunk", "size", "regime")
            fronts[cost] = [{key: one[key] for key in places} for one, kept in zip(known, on, strict=True) if kept]
    return fronts


def break_even_of(found: Sequence[Outcome], times: Mapping[str, Any]) -> dict[str, Any] | None:
    """From how many tasks on side branches cost less than tuned trunks; None where there are not both kinds.

    In time: a pass of the trunk and what each branch adds to it, measured with all side branches in one pass, against a pass of
    a tuned trunk for each task. In bytes: the trunk and a branch for each task, against a merged trunk for each.
    """
    by_time, by_bytes = _by_time(found, times), _by_bytes(found)
    if by_time is None and by_bytes is None:
        return None
    said = [_sentence(what, tasks) for what, tasks in (("time", by_time), ("room on disk", by_bytes)) if tasks is not None]
    return {
        "tasks_by_time": by_time,
        "tasks_by_bytes": by_bytes,
        "sentence": f"Side branches need less {' and less '.join(said)}.",
    }


def _sentence(what: str, tasks: int) -> str:
    return f"{what} than a tuned trunk for each task {f'from {tasks:,} tasks on' if tasks > 1 else 'from the first task on'}"


def _by_time(found: Sequence[Outcome], times: Mapping[str, Any]) -> int | None:
    tuned = [taken for one in found if one.changes_trunk and (taken := seconds_of(one, times)) is not None]
    together = times.get("together")
    if not tuned or together is None:
        return None
    scale, alone = 1000 / times["texts"], max(times["one"][name] for name in together["runs"])
    each = max(0.0, (together["seconds"] - alone) / (len(together["runs"]) - 1))
    return break_even(Price(scale * max(0.0, alone - each), scale * each), Price(0, min(tuned)))


def _by_bytes(found: Sequence[Outcome]) -> int | None:
    sizes: dict[bool, list[int]] = {True: [], False: []}
    for one in found:
        for repeat in one.repeats:
            sizes[one.changes_trunk] += repeat.result["cost"].get("disk_bytes", {}).values()
    trunk = 4 * next((repeat.result["cost"]["trunk_parameters"] for one in found for repeat in one.repeats), 0)
    if not (sizes[True] and sizes[False] and trunk):
        return None
    return break_even(Price(trunk, max(sizes[False])), Price(0, trunk + min(sizes[True])))


def _median(values: Sequence[float]) -> float | None:
    return statistics.median(values) if values else None
