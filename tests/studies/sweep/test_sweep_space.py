"""The values that are searched: how they are read, what Optuna is asked for, and what is refused before anything runs."""

from __future__ import annotations

import json

import optuna
import pytest
from hypothesis import given as given_by
from hypothesis import settings as limits
from hypothesis import strategies as st
from sweeptools import planned, values

from trunkline.errors import BadInput
from trunkline.studies.sweep.config import load_sweep, without_urls
from trunkline.studies.sweep.search import Sweep
from trunkline.studies.sweep.space import Parameter


@pytest.mark.parametrize(
    ("space", "key", "distribution"),
    [
        ({"learning_rate": {"low": "1e-4", "high": 1, "log": True}}, "training.learning_rate", (float, 1e-4, 1.0, True, None)),
        ({"weight_decay": {"low": 0, "high": 1}}, "training.weight_decay", (float, 0.0, 1.0, False, None)),
        ({"method.dim": {"low": 8, "high": 64}}, "method.dim", (int, 8, 64, False, 1)),
        ({"method.dim": {"low": 8.0, "high": 64, "log": True}}, "method.dim", (int, 8, 64, True, 1)),
        ({"training.epochs": {"low": 1, "high": 9, "step": 4}}, "training.epochs", (int, 1, 9, False, 4)),
        ({"weight_decay": {"low": 0, "high": 0.3, "step": 0.1}}, "training.weight_decay", (float, 0.0, 0.3, False, 0.1)),
        ({"trunk.max_length": {"low": 8, "high": 16}}, "trunk.max_length", (int, 8, 16, False, 1)),
    ],
)
def test_a_range_is_of_the_numbers_that_its_key_takes(space, key, distribution, tiny_trunk_dir, sweep_rows):
    plan = planned(values(tiny_trunk_dir, sweep_rows, space=space))
    trial = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0)).ask()
    settings = plan.space.suggest(trial)
    kind, low, high, log, step = distribution
    found = trial.distributions[key]
    assert (found.low, found.high, found.log, found.step) == (low, high, log, step)
    assert type(settings[key]) is kind and settings == plan.space.settings(trial.params)


CHOICES = [None, True, 3, 0.5, "mean", [1, 2], {"name": "probe"}]


def test_choices_of_any_kind_come_back_as_they_are_written():
    parameter = Parameter("x", choices=tuple(CHOICES))
    study = optuna.create_study(sampler=optuna.samplers.GridSampler({"x": parameter.labels}, seed=0))
    found = []
    study.optimize(lambda trial: found.append(parameter.suggest(trial)) or 0.0)
    assert sorted(map(json.dumps, found)) == sorted(map(json.dumps, CHOICES))


@limits(max_examples=50, deadline=None)
@given_by(low=st.integers(-50, 50), steps=st.integers(1, 40), step=st.sampled_from([1, 2, 5, 0.1, 0.25, 0.3]))
def test_a_grid_has_the_values_that_optuna_takes(low, steps, step):
    whole = isinstance(step, int)
    high = round(low + steps * step, 10)
    parameter = Parameter("x", low=low, high=high, step=step, whole=whole)
    grid = parameter.grid()
    assert len(grid) == steps + 1 and (grid[0], grid[-1]) == (low, high)
    kind = optuna.distributions.IntDistribution if whole else optuna.distributions.FloatDistribution
    assert all(kind(low, high, step=step)._contains(value) for value in grid)


def test_the_steps_of_a_range_are_the_numbers_that_one_would_write():
    parameter = Parameter("x", low=0.1, high=0.7, step=0.1)
    assert [parameter.value(0.1 + count * 0.1) for count in range(7)] == [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7]


def test_methods_can_be_choices_as_a_whole(tiny_trunk_dir, sweep_rows):
    methods = ["probe", {"name": "adalayers", "dim": 8, "heads": 2}]
    plan = planned(values(tiny_trunk_dir, sweep_rows, space={"method": methods}, sampler="grid"))
    assert plan.trials == 2 and plan.grid == {"method": ["probe", json.dumps(methods[1], sort_keys=True)]}
    assert [plan.trial({"method": one}).method.name for one in methods] == ["probe", "adalayers"]


RATE = {"low": 1e-4, "high": 1e-1}


@pytest.mark.parametrize(
    ("sweep", "message"),
    [
        ({"space": {}}, "sweep.space: found 0 of them, expected at least 1"),
        ({"space": {"learning_rat": RATE}}, "sweep.space: training.learning_rat: unknown name 'learning_rat'; did you mean"),
        ({"space": {"method.dimm": [8]}}, "sweep.space: method.dimm: unknown name 'dimm'; did you mean 'dim'"),
        ({"space": {"methods.dim": [8]}}, "sweep.space: methods: unknown name 'methods'; did you mean 'method'"),
        ({"space": {"method.dim": []}}, "sweep.space.method.dim: found an empty list, expected at least one choice"),
        ({"space": {"method.dim": [8, 8]}}, "sweep.space.method.dim: found 8 twice, expected each choice once"),
        ({"space": {"method.dim": [8, "x"]}}, "sweep.space: method.dim: found 'x', expected a whole number"),
        ({"space": {"method.dim": 8}}, "sweep.space.method.dim: found 8, expected a list of choices, or a range"),
        ({"space": {"method.dim": {"low": 8}}}, "sweep.space.method.dim: high is missing, expected low and high"),
        ({"space": {"method.dim": {"low": 8, "high": 16, "lgo": True}}}, "unknown name 'lgo'; did you mean 'log'"),
        ({"space": {"method.dim": {"low": 16, "high": 8}}}, "found low 16 and high 8, expected low below high"),
        ({"space": {"method.dim": {"low": 8, "high": 8}}}, "found low 8 and high 8, expected low below high"),
        ({"space": {"method.dim": {"low": 8, "high": "many"}}}, "method.dim.high: found 'many', expected a number"),
        ({"space": {"method.dim": {"low": 8, "high": float("inf")}}}, "method.dim.high: found inf, expected a number"),
        ({"space": {"method.dim": {"low": 8.5, "high": 16}}}, "sweep.space: method.dim: found 8.5, expected a whole number"),
        ({"space": {"method.dim": {"low": 8, "high": 16, "step": 0.5}}}, "method.dim.step: found 0.5, expected a whole number"),
        (
            {"space": {"method.dim": {"low": 8, "high": 16, "step": 3}}},
            "found 3, expected one that leads from low 8 to high 16",
        ),
        ({"space": {"method.dim": {"low": 8, "high": 16, "step": -8}}}, "step: found -8, expected one that leads from low 8"),
        ({"space": {"dropout": RATE}}, "sweep.space: training.dropout"),
        ({"space": {"learning_rate": {**RATE, "low": 0, "log": True}}}, "found low 0 with log: true, expected one above 0"),
        ({"space": {"learning_rate": {**RATE, "log": "yes"}}}, "learning_rate.log: found 'yes', expected true or false"),
        ({"space": {"learning_rate": {**RATE, "log": True, "step": 0.1}}}, "found step with log: true, expected one of them"),
        ({"space": {"learning_rate": {"low": -1, "high": 1}}}, "sweep.space: training.learning_rate: found -1"),
        ({"space": {"optimizer": {"low": 1, "high": 2}}}, "sweep.space: training.optimizer"),
        ({"space": {"learning_rate": RATE, "training.learning_rate": RATE}}, "training.learning_rate is given twice"),
        ({"space": {"method": ["probe"], "method.dim": [8]}}, "method.dim is a part of method, which is searched too"),
        ({"space": {"seed": [1, 2]}}, "sweep.space.seed: cannot be searched, as all trials are judged alike"),
        ({"space": {"data.test": ["10%"]}}, "sweep.space.data.test: cannot be searched"),
        ({"space": {"data.validation": ["10%", "20%"]}}, "sweep.space.data.validation: cannot be searched"),
        ({"space": {"tasks.mood.metric": ["accuracy"]}}, "sweep.space.tasks.mood.metric: cannot be searched"),
        ({"space": {"trackers": [["jsonl"], []]}}, "sweep.space.trackers: cannot be searched"),
        ({"space": {"method.layers": [[1], [9]]}}, "9"),
        ({"space": {"learning_rate": RATE}, "sampler": "grid"}, "learning_rate: found a range without a step, expected a list"),
        ({"space": {"method.dim": {"low": 8, "high": 16, "log": True}}, "sampler": "grid"}, "found a range of logarithms"),
        (
            {"space": {"method.dim": {"low": 8, "high": 1000}, "training.epochs": {"low": 1, "high": 99}}, "sampler": "grid"},
            "found 98,307 combinations, expected at most 10,000 for sampler: grid",
        ),
        ({"sampler": "annealing"}, "sweep.sampler"),
        ({"pruner": "hyper"}, "sweep.pruner"),
        ({"trials": 0}, "sweep.trials"),
        ({"seeds": 0}, "sweep.seeds"),
        ({"weights": {"modo": 1}}, "sweep.weights: unknown name 'modo'; did you mean 'mood'"),
        ({"weights": {"mood": 0}}, "sweep.weights: found 0 for every task"),
        ({"weights": {"mood": -1}}, "sweep.weights.mood"),
        ({"strage": "x"}, "sweep.strage: unknown name 'strage'; did you mean 'storage'"),
    ],
)
def test_bad_sweeps_are_refused_in_a_sentence_before_anything_runs(sweep, message, tiny_trunk_dir, sweep_rows):
    with pytest.raises(BadInput) as caught:
        planned(values(tiny_trunk_dir, sweep_rows, **sweep))
    assert message in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sweep": None}, "config: sweep: found null"),
        ({"data": {"train": "nowhere.jsonl"}}, "nowhere.jsonl"),
        ({"task": {}}, "config: task: unknown name 'task'; did you mean 'tasks'"),
        ({"training": {"epochs": 0}}, "config: training.epochs"),
        ({"tasks": {"mood": {"kind": "sequence", "label": "label", "metric": "bleu"}}}, "bleu"),
        ({"methods": {"a": None}}, "config: methods: unknown name 'methods'"),
    ],
)
def test_a_bad_config_is_refused_as_that_of_a_run_would_be(change, message, tiny_trunk_dir, sweep_rows):
    with pytest.raises(BadInput) as caught:
        planned({**values(tiny_trunk_dir, sweep_rows), **change})
    assert message in str(caught.value) and "sweep.space" not in str(caught.value)


def test_what_trains_in_stages_cannot_be_pruned(tiny_trunk_dir, sweep_rows):
    given = values(tiny_trunk_dir, sweep_rows, pruner="median", space={"learning_rate": RATE})
    given["tasks"]["stars"] = {"kind": "regression", "target": "stars"}
    given["method"] = {"name": "lora", "r": 2}
    with pytest.raises(
        BadInput, match=r"sweep.pruner: found median, expected none, as a run of regime separate trains 2 stages"
    ):
        planned(given)
    given["sweep"]["pruner"] = "none"
    planned(given)


@pytest.mark.parametrize(
    ("storage", "message"),
    [
        ("trials.db", "not the URL of a database, expected one such as sqlite:"),
        ("nosuch://anna:geheim@host/x", "not the URL of a database"),
        ("sqlite://", "found a database in memory, expected a file"),
        ("sqlite:///:memory:", "found a database in memory, expected a file"),
        ("sqlite:///nowhere/trials.db", "nowhere: no such folder"),
        ("sqlite:///rows.jsonl", "/rows.jsonl cannot be reached or used (file is not a database)"),
        ("mysql://anna:geheim@host/x", "the driver of mysql databases is not installed"),
        ("postgresql://anna:geheim@127.0.0.1:9/x", "postgresql://127.0.0.1:9/x cannot be reached or used (connection refused)"),
    ],
)
def test_a_storage_that_cannot_be_used_is_refused_in_a_sentence(
    storage, message, tiny_trunk_dir, sweep_rows, tmp_path, monkeypatch
):
    monkeypatch.chdir(sweep_rows.parent)
    with pytest.raises(BadInput) as caught:
        Sweep(planned(values(tiny_trunk_dir, sweep_rows, storage=storage, space={"learning_rate": RATE})), tmp_path / "sweep")
    said = str(caught.value)
    assert said.startswith("config: sweep.storage: ") and message in said
    assert not (tmp_path / "sweep").exists()
    assert "geheim" not in said and "anna" not in said and "\n" not in said


SECRET = "postgresql://anna:ge heim@1@host/db"


@pytest.mark.parametrize(
    "overrides",
    [
        ["sweep.storage=" + SECRET, "sweep.trials=0"],
        ["sweep={storage: '" + SECRET + "', trials: 0}"],
        ["sweep={storage: " + SECRET + ": x, trials: [}"],
        ["sweep.sampler=" + SECRET],
        ["sweep.storage=x", "sweep.trials=" + SECRET],
    ],
)
def test_no_message_about_an_override_shows_a_password(overrides, tmp_path):
    (tmp_path / "a.yaml").write_text("data: {train: x}\nsweep: {space: {learning_rate: [1]}}\n")
    with pytest.raises(BadInput) as caught:
        load_sweep(tmp_path / "a.yaml", overrides)
    assert not any(part in str(caught.value) for part in ("anna", "heim", "ge h"))


def test_a_storage_is_given_by_an_override_as_it_is(tmp_path):
    (tmp_path / "a.yaml").write_text("data: {train: x}\nsweep: {space: {learning_rate: [1]}, storage: sqlite:///y.db}\n")
    assert load_sweep(tmp_path / "a.yaml", ["sweep.storage=" + SECRET]).section.storage == SECRET
    assert load_sweep(tmp_path / "a.yaml").section.storage == "sqlite:///y.db"


def test_messages_without_urls_are_let_be():
    assert str(without_urls(BadInput("a.yaml: sweep.trials: found 0"))) == "a.yaml: sweep.trials: found 0"
