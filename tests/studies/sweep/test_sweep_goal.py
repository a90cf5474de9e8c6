"""What a sweep searches for, worked out by hand, and what is reported of a run with several tasks."""

from __future__ import annotations

import math

import pytest

from trunkline.events import BatchEnded, Evaluated, StopRun
from trunkline.studies.sweep.goal import Goal, Reporter


def goal(metrics, **weights) -> Goal:
    return Goal(metrics, {name: weights.get(name, 1.0) for name in metrics})


@pytest.mark.parametrize(
    ("metrics", "weights", "scores", "direction", "value"),
    [
        ({"a": "accuracy"}, {}, {"a": 0.5}, "maximize", 0.5),
        ({"a": "mae"}, {}, {"a": 0.5}, "minimize", 0.5),
        ({"a": "mae", "b": "loss"}, {}, {"a": 0.5, "b": 1.5}, "minimize", 1.0),
        ({"a": "f1", "b": "mae"}, {}, {"a": 0.5, "b": 0.25}, "maximize", 0.125),
        ({"a": "f1", "b": "accuracy"}, {"a": 3}, {"a": 0.5, "b": 0.9}, "maximize", 0.6),
        ({"a": "f1", "b": "accuracy"}, {"a": 0}, {"a": None, "b": 0.9}, "maximize", 0.9),
        ({"a": "f1", "b": "accuracy"}, {}, {"a": None, "b": 0.9}, "maximize", None),
        ({"a": "f1", "b": "accuracy"}, {}, {"b": 0.9}, "maximize", None),
        ({"a": "f1"}, {}, {"a": math.nan}, "maximize", None),
    ],
)
def test_the_goal_is_the_weighted_mean_of_what_the_tasks_monitor(metrics, weights, scores, direction, value):
    found = goal(metrics, **weights)
    assert found.direction == direction
    assert found.mean(scores) == (None if value is None else pytest.approx(value))
    assert found.better(1.0, 2.0) == (direction == "minimize")


def test_it_is_named_for_people():
    assert goal({"a": "f1"}).named() == "validation f1"
    assert goal({"a": "f1", "b": "mae"}).named() == "mean of a f1 and b mae on validation"
    assert goal({"a": "f1", "b": "mae"}, a=2).named() == "weighted mean of a f1 and b mae on validation"
    assert goal({"a": "f1", "b": "mae"}, a=0).named() == "validation b mae"


class Trial:
    """Takes reports as Optuna's does."""

    def __init__(self, prune_at: int | None = None, broken: bool = False) -> None:
        self.reported, self.prune_at, self.broken = {}, prune_at, broken

    def report(self, value, step):
        if self.broken:
            raise OSError("the database is away")
        self.reported.setdefault(step, value)

    def should_prune(self):
        return self.prune_at is not None and max(self.reported) >= self.prune_at


def judged(score: float | None, best: bool = True, metric: str = "f1") -> dict:
    return {"validation": {metric: score}, "best": best}


BOTH = goal({"a": "f1", "b": "f1"})
EVENTS = [
    Evaluated(10, 1, {"a": judged(0.2), "b": judged(0.4)}),
    Evaluated(20, 2, {"a": judged(0.6), "b": judged(0.6)}),
    Evaluated(30, 3, {"a": judged(0.4, best=False), "b": judged(0.8)}),
    Evaluated(40, 4, {"b": judged(0.2, best=False)}),  # a has stopped, and keeps the weights of epoch 2
]
EXPECTED = {1: 0.3, 2: 0.6, 3: 0.6, 4: 0.4}


def entries(events):
    return [{"step": one.step, "epoch": one.epoch, "tasks": one.tasks} for one in events]


def test_a_task_that_has_stopped_counts_with_its_best_score():
    trial = Trial()
    reporter = Reporter(trial, BOTH)
    for event in EVENTS:
        reporter(event)
    assert trial.reported == pytest.approx(EXPECTED)


@pytest.mark.parametrize("resumed", range(5))
def test_a_run_that_was_resumed_anywhere_reports_the_same(resumed):
    trial = Trial()
    reporter = Reporter(trial, BOTH, history=entries(EVENTS[:resumed]))
    for event in EVENTS[resumed:]:
        reporter(event)
    assert trial.reported == pytest.approx(EXPECTED)


def test_a_finished_run_reports_all_that_it_was_judged_by():
    trial = Trial()
    Reporter(trial, BOTH).rest(entries(EVENTS))
    assert trial.reported == pytest.approx(EXPECTED)


def test_evaluations_after_steps_are_counted():
    trial = Trial()
    reporter = Reporter(trial, goal({"a": "f1"}), every=4)
    for step, epoch in ((4, 1), (8, 1), (12, 2), (14, 2)):
        reporter(Evaluated(step, epoch, {"a": judged(step / 100)}))
    assert trial.reported == {1: 0.04, 2: 0.08, 3: 0.12, 4: 0.14}


def test_a_pruned_trial_stops_its_run_and_an_undefined_score_or_another_event_does_not():
    reporter = Reporter(Trial(prune_at=2), BOTH)
    reporter(EVENTS[0])
    reporter(BatchEnded(0, 1, 2, {}))
    reporter(Evaluated(15, 2, {"a": judged(None), "b": judged(0.1)}))
    with pytest.raises(StopRun):
        reporter(EVENTS[1])


def test_a_storage_that_is_away_does_not_stop_the_training():
    reporter = Reporter(Trial(broken=True), BOTH)
    for event in EVENTS:
        reporter(event)
