"""What the progress of a study says, on a clock that stands still but for the test."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest
from rich.console import Console

from trunkline.events import (
    BatchEnded,
    ColumnsInterpreted,
    EpochEnded,
    EvaluationProgress,
    Finding,
    Preparing,
    Resumed,
    RunStarted,
    StageStarted,
    StatesProgress,
    StatesStored,
    TrainingStarted,
)
from trunkline.studies import progress
from trunkline.studies.config import study_of
from trunkline.studies.estimates.pace import Estimate, Forecast
from trunkline.studies.estimates.timing import TimingForecast
from trunkline.studies.plan import Plan, units
from trunkline.studies.progress import StudyProgress, best_of, listing, names
from trunkline.studies.study import Study
from trunkline.studies.unit_events import RoundStarted, UnitEnded, UnitsElsewhere, UnitStarted
from trunkline.trackers import every_minute
from trunkline.trackers.wording import duration
from trunkline.training import clock


@pytest.fixture
def wait(monkeypatch):
    time = [100.0]
    for module in (clock, every_minute):
        monkeypatch.setattr(module, "now", lambda: time[0])

    def forward(seconds):
        time[0] += seconds

    return forward


class Fixed(Forecast):
    """Every unit takes 100 seconds."""

    def estimates(self, units):
        return {unit.key: Estimate(10.0, 80.0, 10.0) for unit in units}


@pytest.fixture
def study(tmp_path):
    values = {
        "data": {"train": "rows.jsonl", "test": "10%"},
        "tasks": {"mood": {"kind": "sequence", "label": "label"}},
        "methods": {
            "probe": None,
            "layer": {"method": "single_layer", "each": {"method.layer": [0, 2]}},
            "lora": {"seeds": 1},
        },
        "study": {"seeds": 2, "tune": {"learning_rate": [1e-3, 1e-2]}},
    }
    return Study(Plan(study_of(values)), tmp_path / "study")


def shown(study, terminal=False, width=200):
    console = Console(file=io.StringIO(), width=width, force_terminal=terminal, highlight=False)
    return StudyProgress(console, study, Fixed())


def written(display):
    return display.console.file.getvalue()


def result(accuracy):
    return {"tasks": {"mood": {"monitor": "accuracy", "validation": {"accuracy": accuracy}}}}


def test_a_study_is_told_unit_by_unit_without_control_characters(study, wait):
    display = shown(study)
    stack, first, second = searches = units(study.plan.searches())
    key = stack.runs[0].key
    with display:
        display(ColumnsInterpreted(("'label' is a label.",)))
        display(Preparing("reading the data"))
        display(RoundStarted(tuple(searches)))
        display(UnitStarted(stack))
        display(Preparing("tokenizing 9 texts"))
        for _ in range(2):
            display(Finding("train: 2 texts occur twice."))
        display(StatesProgress("train", 0, 10))
        display(StatesProgress("train", 10, 10))
        display(StatesStored("train", Path("cache"), 500))
        display(StatesStored("validation", Path("cache"), 500))
        display(Resumed(1, 7))
        display(TrainingStarted(4, 2))
        display(BatchEnded(0, 1, 4, {f"{key}/mood": 0.5}))
        wait(30)
        display(EpochEnded(1, 2, 1.0, 1.0, 5))  # too early for a line
        display(BatchEnded(1, 2, 4, {f"{key}/mood": 0.5}))
        wait(31)
        display(EpochEnded(2, 2, 1.0, 1.0, 5))
        wait(60)
        display(EvaluationProgress("test", 3, 4))
        display(Finding("mood: never predicts 'x'"))  # of one run
        results = {run.key: result(0.1 * number) for number, run in enumerate(stack.runs[:-1])}
        display(UnitEnded(stack, 200.0, results, {stack.runs[-1].key: "the loss is nan"}))
        display(UnitStarted(first))
        display(UnitEnded(first, 100.0, {first.runs[0].key: result(0.25)}, {}))
        display(UnitsElsewhere((second,)))
    text = written(display)
    assert not set(text) - {"\n"} & {chr(one) for one in range(32)}
    assert re.sub(r", about \d+ \w+ left", "", text).splitlines() == [
        "'label' is a label.",
        "reading the data",
        "probe, layer layer=0, layer layer=2 (6 runs together); 0 of 11 runs done",
        "  note: train: 2 texts occur twice.",
        "  layer states take 1.0 KB in cache; `trunkline states prune` removes them",
        "  resuming after step 7 (epoch 2)",
        "  epoch 2 of 2; 0 of 11 runs done",
        "  evaluating on test, 75%; 0 of 11 runs done",
        "  took 3 min; on validation mood accuracy 0.4000 (layer layer=2, learning_rate 0.001); 0 of 11 runs done, 1 failed",
        "  failed: layer layer=2, learning_rate 0.01: the loss is nan",
        "lora, learning_rate 0.001, seed 0; 0 of 11 runs done, 1 failed",
        "  took 2 min; on validation mood accuracy 0.2500; 0 of 11 runs done, 1 failed",
        "another process trains lora, learning_rate 0.01, seed 0; waiting for it",
    ]


def test_the_time_left_has_the_timing_of_predictions_that_follows(study, wait, monkeypatch):
    monkeypatch.setattr(progress, "forecast_times", lambda study, forecast: TimingForecast(200.0, 0))
    display = shown(study)
    stack, _, _ = searches = units(study.plan.searches())
    display(RoundStarted(tuple(searches)))
    assert display.left == f"0 of 11 runs done, about {duration(400 + 200)} left"
    display(UnitStarted(stack))
    display(UnitEnded(stack, 205.0, {stack.runs[0].key: result(0.5)}, {}))  # 2 x as estimated, with the prior
    assert display.left == f"0 of 11 runs done, about {duration(2 * 500)} left"
    display(RoundStarted(()))
    assert display.left == f"0 of 11 runs done, about {duration(2 * 200)} left"


def test_the_time_left_is_that_of_all_rounds_as_it_turns_out(study, wait):
    display = shown(study)
    searches = units(study.plan.searches())
    display(RoundStarted(tuple(searches)))
    assert display.left == "0 of 11 runs done, about 7 min left"  # three units of the first round, one of the second
    display(UnitStarted(searches[1]))
    display(RunStarted(Path("r"), "1", {}, (), {}, ("a", "b")))
    for stage in "ab":
        display(StageStarted(stage, ("mood",), 5))
        display(TrainingStarted(4, 2))
        display(BatchEnded(1, 2, 4, {}))  # six of eight batches
    wait(10 + 80 * 0.875)
    assert display.left == "0 of 11 runs done, about 5 min left"  # 320 s: all as it was estimated
    wait(1000)
    overall, own = 1085 / 85, (1080 + 5 * 1085 / 85) / 85  # the machine is slow: time_left.py
    assert display.left == f"0 of 11 runs done, about {duration(200 * overall + 120 * own)} left"
    display(UnitsElsewhere((searches[0], searches[2])))
    assert display.left == f"0 of 11 runs done, about {duration(100 * overall + 20 * own)} left"
    display(RoundStarted(()))
    assert display.left == "0 of 11 runs done"


def test_bars_name_the_methods_and_leave_nothing_behind(study, wait):
    display = shown(study, terminal=True, width=80)
    searches = units(study.plan.searches())
    with display:
        display(RoundStarted(tuple(searches)))
        display(UnitStarted(searches[0]))
        display(TrainingStarted(4, 2))
        wait(30)
        display(BatchEnded(0, 2, 4, {f"{run.key}/mood": 0.5 for run in searches[0].runs}))
        whole, own = display.bars.tasks
        assert (whole.description, whole.fields["left"]) == ("0/11 runs", "6 min left")
        assert whole.completed == pytest.approx((10 + 80 / 4) / 400)
        assert (own.description, own.completed, own.total) == ("epoch 1/2", 2, 8)
        assert own.fields["note"] == "loss probe, mood 0.500  +2"
        display(UnitEnded(searches[0], 100.0, {}, {}))
        assert [task.description for task in display.bars.tasks] == ["0/11 runs"]
    with (other := shown(study, terminal=True, width=80)):
        other(UnitStarted(next(unit for unit in searches if not unit.stacked)))
        other(TrainingStarted(4, 2))
        other(BatchEnded(0, 2, 4, {"mood": 0.5}))  # of a run by itself
        assert other.bars.tasks[1].fields["note"] == "loss lora, mood 0.500"


def test_what_runs_are_called_among_each_other(study):
    searches = units(study.plan.searches())
    assert list(names(searches[0].runs).values())[:3] == [
        "probe, learning_rate 0.001",
        "probe, learning_rate 0.01",
        "layer layer=0, learning_rate 0.001",
    ]
    again = study.plan.repeats(dict.fromkeys(study.plan.cells, 1))
    assert list(names([*again, study.plan.searches()[1]]).values()) == [
        "probe, seed 1",
        "layer layer=0",
        "layer layer=2",
        "probe, seed 0",
    ]
    assert listing(["a, 1", "a, 2", "b"]) == "a, b" and listing(["a, 1"]) == "a, 1"
    assert listing(list("abcdef"), 1) == "a and 5 more"


def test_the_best_is_the_lowest_where_less_is_better():
    found = {
        name: {"tasks": {"stars": {"monitor": "mae", "validation": {"mae": score}}}}
        for name, score in {"a": 0.5, "b": 0.25, "c": None}.items()
    }
    assert best_of(found, {"a": "probe", "b": "lora", "c": "full"}) == "stars mae 0.2500 (lora)"
    assert best_of({"c": found["c"]}, {"c": "full"}) == "stars mae -"


def finishing(study, monkeypatch):
    """A set of keys of runs: those that are finished."""
    done = set()
    monkeypatch.setattr(study, "result", lambda run: result(0.5) if run.key in done else None)
    return done


def test_what_was_done_before_is_part_of_the_bar_and_none_of_the_time_left(study, wait, monkeypatch):
    stack, first, second = searches = units(study.plan.searches())
    finishing(study, monkeypatch).update(run.key for run in stack.runs)
    display = shown(study, terminal=True)
    display(RoundStarted((first, second)))
    assert display.left == "6 of 11 runs done, about 5 min left"  # two units, and one of the second round
    assert display.bars.tasks[0].completed == pytest.approx(6 / 11)
    display(UnitStarted(first))
    display(StatesProgress("train", 0, 10))
    display(StatesProgress("train", 5, 10))  # half of what is before training
    assert display.bars.tasks[0].completed == pytest.approx(6 / 11 + 5 / 11 * 5 / 300)
    assert len(searches) == 3


def test_units_that_other_processes_have_finished_are_no_longer_ahead(study, wait, monkeypatch):
    done = finishing(study, monkeypatch)
    stack, first, second = units(study.plan.searches())
    display = shown(study)
    display(RoundStarted((stack, first, second)))
    done.update(run.key for run in stack.runs)
    display(UnitStarted(first))
    assert display.left == "6 of 11 runs done, about 5 min left"


def test_a_run_that_failed_and_then_did_not_is_counted_no_more(study, wait):
    [_, first, _] = units(study.plan.searches())
    key = first.runs[0].key
    display = shown(study)
    display(UnitStarted(first))
    display(UnitEnded(first, 1.0, {}, {key: f"{Path.cwd() / 'rows.jsonl'}: no such file"}))
    assert "failed: lora, learning_rate 0.001, seed 0: rows.jsonl: no such file" in written(display)
    assert display.left.endswith(", 1 failed")
    display(UnitStarted(first))
    display(UnitEnded(first, 1.0, {key: result(0.5)}, {}))
    assert "failed" not in display.left


def test_a_long_unit_has_a_line_a_minute_since_the_last_one(study, wait):
    display = shown(study)
    [_, first, _] = units(study.plan.searches())
    wait(100)
    display(UnitStarted(first))
    display(RunStarted(Path("r"), "1", {}, (), {}, ("a", "b")))
    display(StageStarted("a", ("mood",), 5))
    display(StageStarted("b", ("mood",), 5))
    display(EpochEnded(1, 3, 1.0, 1.0, 5))  # the unit has just begun
    wait(60)
    display(EpochEnded(2, 3, 1.0, 1.0, 5))
    wait(59)
    display(EpochEnded(3, 3, 1.0, 1.0, 5))
    assert [line for line in written(display).splitlines() if "epoch" in line] == [
        "  stage 2 of 2, epoch 2 of 3; 0 of 11 runs done"
    ]


def test_long_epochs_and_long_passes_of_the_trunk_have_a_line_a_minute_too(study, wait):
    display, terminal = shown(study), shown(study, terminal=True)
    [_, first, _] = units(study.plan.searches())
    for one in (display, terminal):
        one(StatesProgress("train", 0, 10))  # of a simple baseline, before the first round
        one(RoundStarted(tuple(units(study.plan.searches()))))
    wait(60)
    for one in (display, terminal):
        one(StatesProgress("train", 3, 10))
        one(UnitStarted(first))
        one(TrainingStarted(9, 2))
    for seconds, batch in ((59, 1), (2, 2), (59, 3), (1, 4)):
        wait(seconds)
        for one in (display, terminal):
            one(BatchEnded(0, batch, 8, {"mood": 0.5}))
    said = [line for line in written(display).splitlines() if line.startswith("  ")]
    assert [re.sub(r", about \d+ \w+ left", ", about TIME left", line) for line in said] == [
        "  layer states of train, 30%; 0 of 11 runs done, about TIME left",
        "  epoch 1 of 2, 25%; 0 of 11 runs done, about TIME left",
        "  epoch 1 of 2, 50%; 0 of 11 runs done, about TIME left",
    ]
    assert "layer states of train, " not in written(terminal) and "epoch 1 of 2, " not in written(terminal)


def test_only_so_many_findings_and_tasks_are_told(study, wait):
    display = shown(study)
    for number in range(40):
        display(Finding(f"finding {number}"))
    assert len(written(display).splitlines()) == 30
    tasks = {name: {"monitor": "accuracy", "validation": {"accuracy": 0.5}} for name in "abcdef"}
    said = best_of({"x": {"tasks": tasks}}, {"x": "probe"})
    assert said.startswith("a accuracy 0.5000") and said.endswith("d accuracy 0.5000, and 2 more")


def test_runs_of_several_sizes_are_told_apart():
    values = {
        "data": {"train": "rows.jsonl", "test": "10%"},
        "tasks": {"mood": {"kind": "sequence", "label": "label"}},
        "methods": {"probe": None},
        "study": {"seeds": 1, "sizes": [10, "all"]},
    }
    assert list(names(Plan(study_of(values)).searches()).values()) == ["probe, size 10", "probe, size all"]
