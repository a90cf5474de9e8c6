"""Fronts of quality against costs over the trunks, regimes and sizes of a study, and its machines, of made-up runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from trunkline.studies.machines import machines
from trunkline.studies.outcomes import Outcome, Repeat
from trunkline.studies.prices import COSTS, front_of
from trunkline.studies.statistics import pareto_front

ROWS = {"100": 100, "all": 1000}


def cell(method, test, seconds, *, trunk="a", size="all", regime="separate", floor=False, **more):
    tasks = {"mood": {"test": test}} if test != "none" else {}
    return {
        "method": method, "trunk": trunk, "size": size, "regime": regime, "floor": floor, "tasks": tasks,
        "cost": {"seconds": seconds, **more},
    }  # fmt: skip


def on(front, cost="seconds"):
    return [(one["method"], one["trunk"], one["regime"]) for one in front.get(cost, ())]


CELLS = [
    cell("probe", 0.80, 1.0),
    cell("probe", 0.79, 0.5, trunk="b"),
    cell("adalayers", 0.90, 2.0),
    cell("adalayers", 0.90, 2.5, trunk="b"),  # as good and dearer
    cell("lora", 0.89, 9.0),
    cell("lora", 0.95, 9.0, regime="joint"),
    cell("free", 0.99, 0.0, floor=True),  # baselines are no methods
    cell("small", 0.99, 0.1, size="100"),
    cell("failed", "none", 0.1),
    cell("undefined", None, 0.1),
    cell("untimed", 0.99, None),
]


def test_a_front_is_of_all_trunks_and_regimes_at_the_largest_size():
    found = front_of(CELLS, "mood", "accuracy", ROWS)
    expected = [("probe", "a", "separate"), ("probe", "b", "separate"), ("adalayers", "a", "separate"), ("lora", "a", "joint")]
    assert on(found) == expected and set(found) == {"seconds"}
    assert found["seconds"][0] == {"method": "probe", "trunk": "a", "size": "all", "regime": "separate"}


def test_of_errors_the_lower_are_the_better():
    found = front_of([cell("near", 0.1, 5.0), cell("far", 0.9, 1.0), cell("dear", 0.5, 6.0)], "mood", "mae", ROWS)
    assert on(found) == [("near", "a", "separate"), ("far", "a", "separate")]


def test_every_cost_has_a_front_of_its_own():
    costs = {name: 2.0 for name in COSTS}
    cheap = cell("cheap", 0.5, **{**costs, "bytes_per_task": 1.0})
    found = front_of([cell("good", 0.9, **costs), cheap], "mood", "accuracy", ROWS)
    assert set(found) == set(COSTS)
    assert {cost for cost in COSTS if ("cheap", "a", "separate") in on(found, cost)} == {"bytes_per_task"}


@pytest.mark.parametrize(("rows", "expected"), [({"1": 9, "2": 9}, "2"), ({"1": 9, "2": 3}, "1"), ({}, "2")])
def test_of_equally_large_sizes_the_last_one_counts(rows, expected):
    found = front_of([cell("x", 0.5, 1.0, size="1"), cell("x", 0.5, 1.0, size="2")], "mood", "accuracy", rows)
    assert [one["size"] for one in found["seconds"]] == [expected]


def test_a_task_that_nothing_was_found_of_has_no_front():
    assert front_of(CELLS, "cities", "f1", ROWS) == {}


def test_equal_methods_are_on_the_front_together():
    assert pareto_front([0.5, 0.5, 0.4], [1, 1, 1]).tolist() == [True, True, False]


HERE, OTHER = ({"device": "cpu", "machine": {"processor": "x", "cores": cores}} for cores in (2, 4))


def outcome(*runs, environments=None):
    environments = environments or [HERE] * len(runs)
    repeats = [
        Repeat(seed, Path("study") / "runs" / run, {"environment": there} if there else {})
        for seed, (run, there) in enumerate(zip(runs, environments, strict=True))
    ]
    return Outcome(None, {}, [], repeats)


def test_runs_are_told_by_the_machine_they_were_trained_on():
    found = machines([outcome("p", "q", environments=[HERE, OTHER]), outcome("r", "s")], {}, Path("study"))
    assert found == [
        {"environment": HERE, "runs": ["runs/p", "runs/r", "runs/s"], "predictions": False},
        {"environment": OTHER, "runs": ["runs/q"], "predictions": False},
    ]


def test_runs_are_named_once_and_those_of_older_versions_not_at_all():
    found = machines([outcome("p", "q", environments=[HERE, None]), outcome("p")], {}, Path("study"))
    assert found == [{"environment": HERE, "runs": ["runs/p"], "predictions": False}]


def test_predictions_may_be_timed_on_a_machine_of_their_own():
    assert machines([outcome("p")], {"environment": HERE}, Path("study"))[0]["predictions"]
    first, second = machines([outcome("p")], {"environment": OTHER}, Path("study"))
    assert not first["predictions"] and second == {"environment": OTHER, "runs": [], "predictions": True}
    assert machines([], {}, Path("study")) == []
