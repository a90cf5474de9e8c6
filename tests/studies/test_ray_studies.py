"""Studies and sweeps on workers: what is found is what one process finds, whatever is killed."""

import json
import random
from contextlib import nullcontext

import pytest
from clitools import done, made_up, write_jsonl
from raytools import command, ended, until
from synthetic import write_rows
from tiny import tiny_bert

from trunkline.cluster import Connected, raise_error
from trunkline.errors import BadInput, TrunklineError
from trunkline.studies.config import study_of
from trunkline.studies.on_ray import RayUnits, train_on_worker
from trunkline.studies.outcomes import outcomes
from trunkline.studies.plan import Plan
from trunkline.studies.study import Study
from trunkline.studies.unit_events import UnitEnded


class Here(Connected):
    """Calls what workers would, here: in another order, and with what JSON leaves of the arguments."""

    def map(self, work, calls):
        numbered = list(enumerate(calls))
        random.Random(1).shuffle(numbered)
        for number, arguments in numbered:
            found = json.loads(json.dumps(work(*json.loads(json.dumps(arguments)))))
            raise_error(found)
            yield number, found


HERE = Here({"num_cpus": 1.0, "num_gpus": 0.0, "resources": {}})


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    return write_rows(tmp_path_factory.mktemp("rows") / "rows.jsonl", 120)


def plan(trunk, rows, **methods):
    values = {
        "trunk": {"name": str(trunk), "dtype": "fp32", "device": "cpu"},
        "data": {"train": str(rows), "validation": "20%", "test": "20%"},
        "tasks": {"mood": {"kind": "sequence", "label": "label"}},
        "training": {"epochs": 1, "batch_tokens": 256, "patience": None, "seed": 3},
        "methods": {"probe": None, **methods},
        "study": {"seeds": 2, "tune": {"learning_rate": [1e-3, 1e-2]}, "floors": False},
    }
    return Plan(study_of(values))


def kept_in(events):
    return lambda event: events.append(event) if isinstance(event, UnitEnded) else None


def scores(study):
    return {
        (one.cell.method, repeat.seed): (one.settings, repeat.result["tasks"]["mood"]["test"], repeat.result["history"])
        for one in outcomes(study)
        for repeat in one.repeats
    }


@pytest.mark.slow
def test_units_that_workers_train_have_the_results_of_one_process(tiny_trunk_dir, rows, tmp_path):
    other = {
        "adalayers": {"method": {"name": "adalayers", "dim": 16, "heads": 2}},
        "lora": {"method": {"name": "lora", "r": 4}},
    }
    made, ended_units = plan(tiny_trunk_dir, rows, **other), []
    one, many = Study(made, tmp_path / "one"), Study(made, tmp_path / "many")
    one.train()
    many.train(kept_in(ended_units), elsewhere=RayUnits(HERE))
    assert scores(many) == scores(one) and len(scores(one)) == 6
    assert sum(len(event.unit.runs) for event in ended_units) == 9 and any(len(event.unit.runs) > 1 for event in ended_units)
    assert not list((tmp_path / "many" / "stacks").glob("*.json"))


def test_a_run_that_fails_is_told_and_tried_again_by_the_next_launch(tiny_trunk_dir, rows, tmp_path, monkeypatch):
    def broken(*arguments, **more):
        raise ValueError("a text of a user")

    made, failed = plan(tiny_trunk_dir, rows), []
    study = Study(made, tmp_path / "study")
    with monkeypatch.context() as patch:
        patch.setattr("trunkline.studies.units.fit_stacked", broken)
        patch.setattr("trunkline.studies.units.fit", broken)
        study.train(
            lambda event: failed.append(event.failed) if isinstance(event, UnitEnded) else None, elsewhere=RayUnits(HERE)
        )
    assert [set(one.values()) for one in failed] == [{"ValueError"}]
    study.train(elsewhere=RayUnits(HERE))
    assert len(scores(study)) == 2 and not list((tmp_path / "study" / "failed").glob("*.json"))


def test_what_a_worker_cannot_use_is_said(tiny_trunk_dir, rows, tmp_path):
    made = plan(tiny_trunk_dir, rows)
    config = made.searches()[0].config.as_dict()
    found = train_on_worker(str(tmp_path / "none"), "unit", {"key": config}, False, 1)
    assert found["bad_input"] and found["error"].endswith("expected a folder on a disk that all machines share")
    Study(made, tmp_path / "study").claim()
    found = train_on_worker(str(tmp_path / "study"), "unit", {"key": config}, False, 1)
    assert "found another version of Trunkline on a worker" in found["error"]
    with pytest.raises(TrunklineError):
        raise_error(found)
    memory = plan(tiny_trunk_dir, rows)
    for run in memory.searches():
        run.config.memory.tables["data"] = None
    with pytest.raises(BadInput, match="found data in memory and the engine ray, expected files"):
        Study(memory, tmp_path / "other").train(elsewhere=RayUnits(HERE))


SWEEP = (
    "trunk: {name: trunk, dtype: fp32, device: cpu}\n"
    "data: {train: rows.jsonl, validation: 20%, test: 20%}\n"
    "tasks: {mood: {kind: sequence, label: mood}}\n"
    "method: {name: adalayers, dim: 16, heads: 2}\n"
    "training: {epochs: 1, batch_tokens: 256}\n"
    "sweep:\n"
    "  space: {learning_rate: {low: 1e-3, high: 1e-1, log: true}, method.dim: [16, 32]}\n"
    "  sampler: random\n"
    "  trials: 3\n"
    "  seeds: 2\n"
)


@pytest.mark.slow
def test_trials_that_workers_run_are_those_of_one_process(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("trunkline.cluster.connected", lambda *asked: nullcontext(HERE))
    monkeypatch.setattr("trunkline.cluster.require_ray", lambda *what: None)
    write_jsonl(tmp_path / "rows.jsonl", made_up(60))
    tiny_bert(tmp_path / "trunk")
    (tmp_path / "sweep.yaml").write_text(SWEEP)
    one = json.loads(done("sweep", "sweep.yaml", "--out", "one", "--json").stdout)
    told = done("sweep", "sweep.yaml", "--out", "many", "--engine", "ray", "--json")
    many = json.loads(told.stdout)
    assert many["tasks"] == one["tasks"] and many["best"]["settings"] == one["best"]["settings"]
    assert {trial["value"] for trial in many["top"]} == {trial["value"] for trial in one["top"]}
    assert [line.split(":")[0] for line in told.stderr.splitlines() if "/3  trial" in line][-1].startswith("3/3  trial")
    again = done("sweep", "sweep.yaml", "--out", "many", "--engine", "ray", "--json")
    assert json.loads(again.stdout)["tasks"] == many["tasks"] and "trial" not in again.stderr.replace("trials", "")


@pytest.mark.slow
def test_a_node_is_killed_while_a_study_is_trained(machines, tmp_path):
    write_jsonl(tmp_path / "rows.jsonl", made_up(400))
    tiny_bert(tmp_path / "trunk")
    (tmp_path / "study.yaml").write_text(
        "trunk: {name: trunk, dtype: fp32, device: cpu}\n"
        "data: {train: rows.jsonl, validation: 20%, test: 20%}\n"
        "tasks: {mood: {kind: sequence, label: mood}}\n"
        "training: {epochs: 3, batch_tokens: 256}\n"
        "methods: {probe: null, lora: {method: {name: lora, r: 4}}, bitfit: null}\n"
        "study: {seeds: 2, floors: false, tune: {learning_rate: [1e-3, 1e-2]}}\n"
    )
    ended(command("compare", "study.yaml", "--out", "one", "--json", cwd=tmp_path))
    doomed, _ = machines.of_size(2)
    asked = ["--engine", "ray", "--ray", f"address={machines.address}"]
    process = command("compare", "study.yaml", "--out", "many", *asked, cwd=tmp_path)
    until(lambda: list((tmp_path / "many" / "runs").glob("*/result.json")), process)
    machines.kill(doomed)
    assert "Traceback" not in ended(process)

    def tasks(name):
        files = (tmp_path / name / "runs").glob("*/result.json")
        return {file.parent.name: json.loads(file.read_text())["tasks"]["mood"]["test"] for file in files}

    assert tasks("many") == tasks("one") and len(tasks("one")) == 9
