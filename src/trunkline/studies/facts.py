"""What a study has found, as one JSON object: `results.json`, which tables, reports and pages are made of.

Scores are means over seeds on the test split, with an interval of 95 %. Which methods are compared: the one that is best on
validation with all others, and every method with the simple baseline that is best on validation. All claims of a study are
corrected together. (docs/statistics.md)
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from accelerate import Accelerator

import trunkline
from trunkline.errors import BadInput
from trunkline.files import write_json
from trunkline.studies.floor_runs import floor_outcomes
from trunkline.studies.machines import machines
from trunkline.studies.outcomes import Outcome, Repeat, outcomes
from trunkline.studies.prices import break_even_of, cost_of, front_of
from trunkline.studies.readings import mixed_data
from trunkline.studies.statistics import Answers, Claim, Resampled, claims_together, estimate, resample, resamples_for
from trunkline.studies.study import MARK, Study
from trunkline.studies.times import read_times
from trunkline.studies.unscored import unscored
from trunkline.studies.wording import of_study
from trunkline.tasks.base import LOWER_IS_BETTER
from trunkline.training.answered import KeptAnswers, load_answers
from trunkline.training.environment import environment

RESULTS, SCHEMA = "results.json", 1
Place = tuple[str, str, str]  # trunk, size, regime


@dataclass(frozen=True)
class _Table:
    """The methods of one task in one place, resampled together."""

    task: str
    place: Place
    methods: dict[str, Resampled]
    validation: dict[str, float]  # means, by method; only of those that have one
    floors: frozenset[str]

    def best(self, names: Sequence[str]) -> str | None:
        """That with the best mean on validation, of equal ones the first."""
        known = [name for name in names if name in self.validation and name in self.methods]
        sign = -1 if self.metric in LOWER_IS_BETTER else 1
        return max(known, key=lambda name: sign * self.validation[name], default=None)

    @property
    def metric(self) -> str:
        return next(iter(self.methods.values())).answers.metric

    def pairs(self) -> list[tuple[str, str]]:
        """What is compared with what."""
        own = [name for name in self.methods if name not in self.floors]
        best, floor = self.best(own), self.best([name for name in self.methods if name in self.floors])
        found = [(best, name) for name in own if best is not None and name != best]
        return found + [(name, floor) for name in own if floor is not None]


def facts(study: Study) -> dict[str, Any]:
    """Everything that is known of a study so far, plain JSON. A study that is under way has fewer cells with scores."""
    found = outcomes(study)
    regimes = dict.fromkeys(one.cell.regime for one in found)  # simple baselines stand beside the methods of each
    floors = [replace(one, cell=replace(one.cell, regime=own)) for own in regimes for one in floor_outcomes(study)]
    every = [*floors, *found]
    tables = _tables(every, study)
    told = _claims(tables, study.plan.config.study.margin)
    first = next((repeat.result for one in found for repeat in one.repeats), None)
    times = read_times(study)
    places = machines(found, times, study.path)
    cells = [_cell(one, tables, study.path, times) for one in every]
    tasks = _tasks([*found, *floors], study.plan.searches()[0].config.tasks)
    return {
        "schema": SCHEMA,
        "name": study.path.resolve().name,
        "path": str(study.path),
        "finished": all(one.settings is not None and len(one.repeats) == len(one.cell.seeds) for one in found),
        "config": study.plan.config.model_dump(mode="json"),
        "margin": study.plan.config.study.margin,
        "environment": places[0]["environment"] if places else environment(Accelerator(cpu=True)),
        "machines": places,
        "versions": _versions(),
        "data": {} if first is None else {"digests": first["digests"], "rows": first["rows"], "by_size": _sizes(found)},
        "tasks": tasks,
        "methods": {one.cell.method: _method(one) for one in every},
        "cells": cells,
        "claims": told,
        "below_floor": _below_floor(tables, told),
        "fronts": {name: front_of(cells, name, task["metric"], _sizes(found)) for name, task in tasks.items()},
        "curves": _curves(cells),
        "break_even": break_even_of(found, times),
        "findings": [*study.plan.findings, *mixed_data(study, found), *unscored(every, cells, _answers)],
    }


def write_facts(study: Study) -> dict[str, Any]:
    """`facts`, kept in the study's folder."""
    found = facts(study)
    write_json(study.path / RESULTS, found)
    return found


def read_facts(folder: Path) -> dict[str, Any]:
    """What `write_facts` has kept. BadInput where there is no such file, or it is of another version."""
    from trunkline.files import read_object

    file = folder / RESULTS
    if not file.exists() and (folder / MARK).is_file():
        raise BadInput(
            f"{folder}: none of this study is finished yet, so there is nothing to show; trunkline compare resumes it"
        )
    if not file.is_file():
        raise BadInput(f"{file}: no such file; expected the folder of a study (trunkline compare makes one)")
    found = read_object(file)
    if found.get("schema") != SCHEMA:
        raise BadInput(f"{file}: found schema {found.get('schema')!r}, expected {SCHEMA}; run trunkline compare again")
    return found


def _tables(every: Sequence[Outcome], study: Study) -> list[_Table]:
    """By task and place, all methods with runs."""
    places = list(dict.fromkeys(_place(one) for one in every if not one.floor))
    methods: dict[tuple[str, Place], dict[str, Outcome]] = {}
    for place in places:
        for one in every:
            if _place(one) == place and one.repeats:
                for task in one.repeats[0].result["tasks"]:
                    methods.setdefault((task, place), {})[one.cell.method] = one
    count = sum(2 * len(own) for own in methods.values())
    return [
        _Table(
            task,
            place,
            resample(
                {name: [_answers(repeat, task) for repeat in one.repeats] for name, one in own.items()},
                resamples=resamples_for(count),
            ),
            {name: mean for name, one in own.items() if (mean := _mean(one.repeats, task, "validation")) is not None},
            frozenset(name for name, one in own.items() if one.floor),
        )
        for (task, place), own in methods.items()
    ]


def _answers(repeat: Repeat, task: str) -> Answers:
    return Answers.of(_kept(repeat, task))


def _kept(repeat: Repeat, task: str) -> KeptAnswers:
    try:
        return load_answers(repeat.path, task)
    except BadInput as error:
        raise of_study(error) from None


def _claims(tables: Sequence[_Table], margin: float) -> list[dict[str, Any]]:
    made = claims_together([(table.methods, table.pairs()) for table in tables], margin)
    return [_claim(one, table) for table, own in zip(tables, made, strict=True) for one in own]


def _claim(one: Claim, table: _Table) -> dict[str, Any]:
    trunk, size, regime = table.place
    return {
        "task": table.task,
        "trunk": trunk,
        "size": size,
        "regime": regime,
        "a": one.first,
        "b": one.second,
        "difference": one.points,
        "interval": None if one.low is None else [one.low, one.high],
        "p_holm": one.p_difference,
        "p_equivalence_holm": one.p_equivalence,
        "test": "paired bootstrap, Holm",
        "effect": one.effect,
        "effect_name": one.effect_name,
        "verdict": one.answer,
    }


def _below_floor(tables: Sequence[_Table], told: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """What is not better than the best simple baseline, in words."""
    floors = {(table.task, table.place): table.floors for table in tables}
    words = {"worse": "is worse than", "equivalent": "is equivalent to", "undecided": "is not shown to be better than"}
    found = []
    for claim in told:
        place = claim["trunk"], claim["size"], claim["regime"]
        if claim["b"] in floors[claim["task"], place] and claim["verdict"] in words:
            beside = "" if claim["difference"] is None else f" ({claim['difference']:+.2f} points)"
            sentence = f"{claim['a']} {words[claim['verdict']]} {claim['b']} for {claim['task']}{beside}"
            found.append({**{key: claim[key] for key in ("task", "trunk", "size", "regime")}, "method": claim["a"],
                          "floor": claim["b"], "sentence": sentence})  # fmt: skip
    return found


def _cell(one: Outcome, tables: Sequence[_Table], folder: Path, times: Mapping[str, Any]) -> dict[str, Any]:
    tasks = {}
    for task in one.repeats[0].result["tasks"] if one.repeats else ():
        table = next(t for t in tables if t.task == task and one.cell.method in t.methods and t.place == _place(one))
        found = estimate(table.methods[one.cell.method])
        own = [repeat.result["tasks"][task] for repeat in one.repeats]
        metric = table.metric
        tasks[task] = {
            "validation": _mean(one.repeats, task, "validation"),
            "test": found.mean,
            "deviation": found.spread,
            "interval": None if found.low is None else [found.low, found.high],
            "no_interval": found.no_interval,
            "covers": found.covers,
            "by_seed": [
                {
                    "seed": repeat.seed,
                    "validation": result["validation"].get(metric),
                    "test": result["test"].get(metric),
                    "metrics": {key: value for key, value in result["test"].items() if not isinstance(value, dict)},
                    "run": str(repeat.path.relative_to(folder)),
                }
                for repeat, result in zip(one.repeats, own, strict=True)
            ],
            **{key: own[0]["test"][key] for key in ("by_label", "confusion") if key in own[0]["test"]},
        }
    return {
        "method": one.cell.method,
        "floor": one.floor,
        "trunk": one.cell.trunk,
        "size": one.cell.size,
        "regime": one.cell.regime,
        "settings": one.settings,
        "searched": [{"settings": settings, "validation": scores} for settings, scores in one.searched],
        "failed": dict(one.failed),
        "tasks": tasks,
        "cost": cost_of(one, times),
    }


def _place(one: Outcome) -> Place:
    return one.cell.trunk, one.cell.size, one.cell.regime


def _mean(repeats: Sequence[Repeat], task: str, split: str) -> float | None:
    scores = [repeat.result["tasks"][task][split].get(repeat.result["tasks"][task]["monitor"]) for repeat in repeats]
    return None if not scores or None in scores else statistics.fmean(scores)


def _tasks(found: Sequence[Outcome], sections: Mapping[str, Any]) -> dict[str, Any]:
    """What the first with a result says of each task; those of runs know more than simple baselines."""
    tasks: dict[str, Any] = {}
    for one in found:
        for repeat in one.repeats[:1]:
            for name, task in repeat.result["tasks"].items():
                labels = _kept(repeat, name).labels if name not in tasks else None
                known = {
                    "kind": sections[name].kind,
                    "metric": task["monitor"],
                    "positive": task.get("positive"),
                    "labels": labels,
                }
                tasks.setdefault(name, {**known, "higher_is_better": task["monitor"] not in LOWER_IS_BETTER})
    return tasks


def _method(one: Outcome) -> dict[str, Any]:
    searched = [key for key, _ in one.cell.candidates[0]]
    return {"floor": one.floor, "changes_trunk": one.changes_trunk, "method": one.method, "parameters_searched": searched}


def _sizes(found: Sequence[Outcome]) -> dict[str, int]:
    """Training rows of each size, with the first seed."""
    sizes: dict[str, int] = {}
    for one in found:
        for repeat in one.repeats[:1]:
            sizes.setdefault(one.cell.size, sum(n for split, n in repeat.result["rows"].items() if split.endswith("train")))
    return sizes


def _curves(cells: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """By task and method, the scores at every size, where there are several."""
    curves: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for cell in cells:
        for task, own in cell["tasks"].items():
            point = {"size": cell["size"], "trunk": cell["trunk"], "regime": cell["regime"], "mean": own["test"]}
            curves.setdefault(task, {}).setdefault(cell["method"], []).append({**point, "interval": own["interval"]})
    several = len({cell["size"] for cell in cells}) > 1
    return curves if several else {}


def _versions() -> dict[str, str]:
    import torch
    import transformers

    return {"trunkline": trunkline.__version__, "torch": torch.__version__, "transformers": transformers.__version__}
