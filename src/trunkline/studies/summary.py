"""What a study has found, as plain JSON: by cell the settings that were chosen, the scores of its seeds, and what it cost."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from trunkline.model.approach import approach_of
from trunkline.studies.compare import Study
from trunkline.studies.outcomes import Outcome, Repeat, outcomes
from trunkline.tasks.base import LOWER_IS_BETTER


def summary(study: Study) -> dict[str, Any]:
    """Everything that the runs of a study have found so far."""
    found = outcomes(study)
    repeats = [repeat for one in found for repeat in one.repeats]
    config = study.plan.config
    return {
        "name": study.path.name,
        "path": str(study.path),
        "finished": all(len(one.repeats) == len(one.cell.seeds) for one in found),
        "margin": config.study.margin,
        "tasks": _tasks(repeats),
        "methods": {one.cell.method: _method(study, one) for one in found},
        "cells": [_cell(one) for one in found],
        "claims": [],
        "below_floor": [],
        "findings": study.plan.findings,
    }


def score(task: Mapping[str, Any]) -> str:
    """The test score of a cell in words: the mean with its interval, or over several seeds with the deviation."""
    if task["test"] is None:
        return "-"
    if task.get("interval"):
        low, high = task["interval"]
        return f"{task['test']:.4f} [{low:.3f}, {high:.3f}]"
    return f"{task['test']:.4f}" + (f" ± {task['deviation']:.4f}" if task.get("deviation") is not None else "")


def _tasks(repeats: Sequence[Repeat]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for repeat in repeats:
        for name, task in repeat.result["tasks"].items():
            found.setdefault(
                name,
                {
                    "kind": task["kind"],
                    "metric": task["monitor"],
                    "higher_is_better": task["monitor"] not in LOWER_IS_BETTER,
                    "positive": task.get("positive"),
                },
            )
    return found


def _method(study: Study, one: Outcome) -> dict[str, Any]:
    config = study.plan.run(one.cell, 0, one.cell.seeds[0]).config
    return {
        "floor": False,
        "changes_trunk": approach_of(config.method).changes_trunk,
        "method": config.as_dict()["method"],
        "parameters_searched": sorted({key for settings in one.cell.candidates for key, _ in settings}),
    }


def _cell(one: Outcome) -> dict[str, Any]:
    return {
        "method": one.cell.method,
        "trunk": one.cell.trunk,
        "size": one.cell.size,
        "regime": one.cell.regime,
        "settings": None if one.settings is None else dict(one.settings),
        "searched": [{"settings": dict(settings), "validation": scores} for settings, scores in one.searched],
        "failed": dict(one.failed),
        "tasks": {name: _scores(name, one.repeats) for name in (one.repeats[0].result["tasks"] if one.repeats else ())},
        "cost": _cost(one.repeats),
    }


def _scores(name: str, repeats: Sequence[Repeat]) -> dict[str, Any]:
    by_seed = []
    for repeat in repeats:
        task = repeat.result["tasks"][name]
        own = {split: task.get(split, {}).get(task["monitor"]) for split in ("validation", "test")}
        by_seed.append({"seed": repeat.seed, **own, "run": f"runs/{repeat.path.name}"})
    known = {split: [one[split] for one in by_seed if one[split] is not None] for split in ("validation", "test")}
    means = {split: statistics.fmean(values) if values else None for split, values in known.items()}
    deviation = statistics.stdev(known["test"]) if len(known["test"]) > 1 else None
    return {**means, "deviation": deviation, "interval": None, "by_seed": by_seed}


def _cost(repeats: Sequence[Repeat]) -> dict[str, Any] | None:
    if not repeats:
        return None
    costs = [repeat.result["cost"] for repeat in repeats]
    return {
        "trained_parameters": costs[0]["trained_parameters_total"],
        "added_parameters": costs[0]["added_parameters_total"],
        "seconds": statistics.median(cost["seconds"] for cost in costs),
        "stacked": max(cost["stacked"] for cost in costs),
        "peak_memory_bytes": max(cost["peak_memory_bytes"] for cost in costs),
    }
