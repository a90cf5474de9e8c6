"""Trials that are really trained: ordinary runs that never see the test split, resumed to the bit, stopped without a trace."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import optuna
import pytest
import yaml
from sweeptools import Ended, planned, trials_of, values
from synthetic import write_rows

from trunkline.errors import BadInput, TrunklineError
from trunkline.events import AlreadyFinished, BatchEnded, CheckpointSaved
from trunkline.studies.sweep import search
from trunkline.studies.sweep.search import Sweep
from trunkline.training import resumable
from trunkline.training.config import load_config
from trunkline.training.fit import fit

SPACE = {"learning_rate": {"low": 1e-3, "high": 1e-1, "log": True}, "method.dim": [8, 16]}


@pytest.fixture
def given(tiny_trunk_dir, sweep_rows):
    made = values(tiny_trunk_dir, sweep_rows, space=SPACE, trials=2, sampler="random")
    made["training"]["epochs"] = 1
    return made


def test_trials_are_runs_without_a_test_split_and_the_best_is_judged_on_it_once(given, tmp_path):
    sweep = Sweep(planned(given), tmp_path / "sweep")
    facts = sweep.search().facts
    rows = set()
    for trial in sweep.study.trials:
        run = tmp_path / "sweep" / "runs" / trial.user_attrs["run"]
        result = json.loads((run / "result.json").read_text())
        task = result["tasks"]["mood"]
        assert "test" not in task and not list(run.glob("answers/*")) and "test" not in result["rows"]
        assert trial.value == task["validation"]["accuracy"] == trial.user_attrs["scores"]["mood"]
        assert trial.intermediate_values == {1: result["history"][0]["tasks"]["mood"]["validation"]["accuracy"]}
        rows.add(tuple(result["digests"][name] for name in ("train", "validation")))
    [best] = facts["repeated"].values()
    result = fit(load_config(tmp_path / "sweep" / "best.yaml"), run_dir=best, progress=False).summary  # the very run
    assert {tuple(result["digests"][name] for name in ("train", "validation"))} == rows
    task = result["tasks"]["mood"]
    assert facts["tasks"]["mood"]["test"] == {
        "mean": task["test"]["accuracy"],
        "deviation": None,
        "by_seed": {"3": task["test"]["accuracy"]},
    }
    assert task["validation"]["accuracy"] == facts["best"]["value"] == max(trial.value for trial in sweep.study.trials)
    file = Path(best) / "result.json"
    file.write_text("{")
    with pytest.raises(BadInput) as caught:
        sweep.search()  # `sweep` has no --fresh
    assert str(caught.value) == f"{file}: not the result of a run, as it is no JSON; train in another folder (--out)"


@pytest.mark.slow
def test_nothing_of_a_test_file_changes_what_is_searched_and_found(given, sweep_rows, tmp_path):
    write_rows(tmp_path / "other.jsonl", 20, seed=5)
    found = {}
    for name, file in (("a", sweep_rows), ("b", tmp_path / "other.jsonl")):
        given["data"]["test"] = str(file)
        sweep = Sweep(planned(given), tmp_path / name)
        found[name] = sweep.search().facts, trials_of(sweep)
    (facts, known), (other, others) = found["a"], found["b"]
    assert known == others and facts["best"]["number"] == other["best"]["number"]
    assert facts["tasks"]["mood"]["validation"] == other["tasks"]["mood"]["validation"]
    assert facts["tasks"]["mood"]["test"] != other["tasks"]["mood"]["test"]
    for trial in (tmp_path / "a" / "runs" / one.user_attrs["run"] for one in sweep.study.trials):
        data = yaml.safe_load((trial / "config.yaml").read_text())["data"]
        assert data["test"] is None and data["set_aside"] is None


def test_pruned_runs_leave_nothing_that_takes_space(given, tmp_path, monkeypatch):
    monkeypatch.setattr(resumable, "SAVING_SHARE", 1e9)  # a checkpoint after every evaluation
    monkeypatch.setattr(search, "pruner", lambda *_: optuna.pruners.ThresholdPruner(lower=1.1, n_warmup_steps=2))
    given["training"]["epochs"] = 4
    given["sweep"]["pruner"] = "median"
    saved, ended = [], Ended()

    def see(event) -> None:
        saved.append(event) if isinstance(event, CheckpointSaved) else ended(event)

    sweep = Sweep(planned(given), tmp_path / "sweep")
    with pytest.raises(TrunklineError, match=r"none of 2 trials has a score \(all were pruned\)"):
        sweep.search(see)
    assert len(saved) == 2  # after the first evaluation of each, which is not pruned yet
    assert [(one.state, one.done) for one in ended] == [("pruned", 1), ("pruned", 2)]
    for trial in sweep.study.trials:
        assert trial.state.name == "PRUNED" and set(trial.intermediate_values) == {1, 2}
        assert trial.value == trial.intermediate_values[2]
        run = tmp_path / "sweep" / "runs" / trial.user_attrs["run"]
        assert {path.name for path in run.rglob("*") if path.is_file()} == {"run.json", ".lock", "config.yaml"}


@pytest.mark.slow
def test_equal_settings_are_trained_once(given, tmp_path):
    given["sweep"] |= {"space": {"method.dim": [8, 16]}, "trials": 5}
    told = []
    facts = Sweep(planned(given), tmp_path / "sweep").search(told.append).facts
    assert facts["trials"]["complete"] == 5 and len(list((tmp_path / "sweep" / "runs").iterdir())) == 3
    assert sum(isinstance(event, AlreadyFinished) for event in told) == 3


@pytest.mark.slow
def test_settings_that_cannot_be_trained_fail_alone(given, tmp_path):
    given["sweep"] |= {"space": {"learning_rate": [1e-2, 1e30]}, "sampler": "grid"}
    given["training"] |= {"clip_norm": None, "epochs": 2}
    facts = Sweep(planned(given), tmp_path / "sweep").search().facts
    assert facts["trials"] == {"total": 2, "complete": 1, "pruned": 0, "failed": 1}
    [why] = facts["failed"].values()
    assert "loss" in why and "lower training.learning_rate" in why


class Killing:
    """A subscriber that kills its process, or asks it to stop, at the batch with this number."""

    def __init__(self, number: int, how: signal.Signals) -> None:
        self.left, self.how = number, how

    def __call__(self, event) -> None:
        if isinstance(event, BatchEnded):
            self.left -= 1
            if self.left == 0:
                os.kill(os.getpid(), self.how)


def _search(given, path, publish) -> None:
    resumable.SAVING_SHARE = 1e9
    Sweep(planned(given), path).search(publish)


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_sweep_that_is_stopped_at_any_batch_ends_with_the_same_runs(how, given, processes, tmp_path):
    given["training"] |= {"epochs": 6, "patience": 1}
    given["tasks"]["stars"] = {"kind": "regression", "target": "stars"}
    given["sweep"] |= {"sampler": "tpe", "pruner": "median", "trials": 9, "seed": 4}
    whole = Sweep(planned(given), tmp_path / "whole")
    whole.search()
    expected = trials_of(whole)
    assert {state for _, state, *_ in expected} == {"COMPLETE", "PRUNED"}
    for number in (5, 9, 2, 23, 14):
        one = processes.Process(target=_search, args=(given, tmp_path / "stopped", Killing(number, how)))
        one.start()
        one.join(300)
        assert one.exitcode != 0
    stopped = Sweep(planned(given), tmp_path / "stopped")
    facts = stopped.search().facts
    found = [trial for trial in trials_of(stopped) if trial[1] != "FAIL"]
    assert found == expected and facts["trials"]["total"] == 9
    for trial in stopped.study.trials:
        if trial.state.name == "COMPLETE":
            results = [tmp_path / name / "runs" / trial.user_attrs["run"] / "result.json" for name in ("whole", "stopped")]
            one, other = (json.loads(file.read_text()) for file in results)
            assert one["history"] == other["history"]
