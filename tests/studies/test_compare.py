"""`trunkline.compare` on a tiny trunk: what it returns, keeps and estimates, how it resumes, and what it does not write."""

from __future__ import annotations

import json
import os
import shutil
import signal
import statistics
from pathlib import Path

import pytest
from clitools import made_up, write_csv
from synthetic import write_rows

import trunkline
from trunkline.errors import BadInput
from trunkline.events import BatchEnded, Preparing, StatesProgress
from trunkline.files import directory_bytes
from trunkline.studies import compare
from trunkline.studies.config import study_of
from trunkline.studies.estimates.forecasting import rehearse
from trunkline.studies.estimates.pace import Pace, kind_of
from trunkline.studies.given import study_given
from trunkline.studies.plan import Plan, units
from trunkline.studies.report.results import read_results
from trunkline.studies.study import Study
from trunkline.studies.unit_events import RoundStarted, UnitEnded, UnitsElsewhere, UnitStarted


@pytest.fixture(scope="module")
def values(tiny_trunk_dir, tmp_path_factory):
    rows = write_rows(tmp_path_factory.mktemp("rows") / "rows.jsonl", 80)
    return {
        "trunk": {"name": str(tiny_trunk_dir), "dtype": "fp32", "device": "cpu"},
        "data": {"train": str(rows), "validation": "20%", "test": "20%"},
        "tasks": {"mood": {"kind": "sequence", "label": "label"}},
        "training": {"epochs": 3, "batch_tokens": 128, "patience": None},
        "methods": {"probe": None, "layer": {"method": {"name": "single_layer", "layer": 1, "dim": 8, "heads": 2}}},
        "study": {"seeds": 2, "tune": {"learning_rate": [0.01]}, "floors": False},
    }


@pytest.fixture(scope="module")
def finished(values, tmp_path_factory):
    """A study with the events of it."""
    seen, folder = [], tmp_path_factory.mktemp("finished")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRUNKLINE_CACHE", str(folder / "cache"))
        found = trunkline.compare(values, out=folder / "study", progress=False, subscribers=[seen.append])
    return found, seen


def test_the_summary_has_the_means_of_what_the_runs_have_found(finished):
    found, _ = finished
    assert found.summary["finished"] and [cell["method"] for cell in found.summary["cells"]] == ["probe", "layer"]
    for cell in found.summary["cells"]:
        assert cell["settings"] == {"learning_rate": 0.01} and not cell["failed"]
        task = cell["tasks"]["mood"]
        results = [json.loads((found.path / one["run"] / "result.json").read_text()) for one in task["by_seed"]]
        assert [one["seed"] for one in task["by_seed"]] == [0, 1]
        for split in ("validation", "test"):
            scores = [result["tasks"]["mood"][split]["accuracy"] for result in results]
            assert task[split] == pytest.approx(statistics.mean(scores))
        assert task["deviation"] == pytest.approx(statistics.stdev(scores))
        assert cell["cost"]["trained_parameters"] == sum(results[0]["cost"]["trained_parameters"].values())
    lines = repr(found).splitlines()
    assert lines[1] == "  mood (accuracy on test)" and [line.split()[0] for line in lines[2:4]] == ["probe", "layer"]
    task = found.summary["cells"][0]["tasks"]["mood"]
    assert f"{task['test']:.4f} [{task['interval'][0]:.3f}, {task['interval'][1]:.3f}]" in lines[2]


def test_what_was_estimated_is_kept_beside_what_it_took(finished):
    found, seen = finished
    kept = json.loads((found.path / "estimates.json").read_text())
    ended = {event.unit.key: event for event in seen if isinstance(event, UnitEnded)}
    assert kept["units"].keys() == ended.keys() and len(ended) == 2
    for key, one in kept["units"].items():
        assert one["estimated"] > 0 and one["took"] == pytest.approx(ended[key].seconds, abs=0.01) and one["epochs"] == 1.0
        assert one["runs"] == [str(run) for run in ended[key].unit.runs]
    estimate = found.summary["estimate"]
    assert estimate["took"] == pytest.approx(sum(one["took"] for one in kept["units"].values()), abs=0.02)
    assert estimate["off"] == pytest.approx(estimate["estimated"] / estimate["took"] - 1, abs=1e-3)


def test_a_few_batches_show_how_much_there_is_to_do(finished):
    """Counted before: what the runs themselves then counted."""
    found, seen = finished
    kept = json.loads((found.path / "estimates.json").read_text())["paces"]
    unit = next(event.unit for event in seen if isinstance(event, UnitStarted))
    pace = Pace.from_dict(kept[kind_of(unit)])
    run = found.path / "runs" / unit.runs[0].key
    result = json.loads((run / "result.json").read_text())
    tokens = {event.split: event.total for event in seen if isinstance(event, StatesProgress)}
    assert pace.tokens == result["cost"]["epochs"][0]["tokens"] == tokens["train"]
    assert (pace.stored, pace.found) == (sum(tokens.values()), 0)
    assert (pace.judged, pace.last) == (3 * tokens["validation"], tokens["validation"] + pace.tested)
    assert (pace.rows, pace.runs, pace.epochs, pace.layers) == (48, 2, 3, (1, 3))  # the probe reads the last layer
    assert {json.loads(method)["name"]: share for method, share in pace.depths.items()} == {"probe": 1, "single_layer": 1 / 3}
    assert pace.bytes * pace.stored == result["cost"]["states_bytes"]
    sizes = [directory_bytes(found.path / "runs" / run.key) for run in unit.runs]
    assert pace.disk == pytest.approx(statistics.mean(sizes), rel=0.2)
    assert min(pace.passing, pace.training, pace.scoring, pace.read, pace.memory) > 0


def test_the_same_call_again_trains_nothing_and_loads_no_trunk(finished, values):
    found, _ = finished
    seen = []
    again = trunkline.compare(values, out=found.path, progress=False, subscribers=[seen.append])
    assert again.summary["cells"] == found.summary["cells"]
    # The data are read, as they might be others now; nothing is measured.
    assert seen == [Preparing("reading the data"), RoundStarted(()), RoundStarted(()), Preparing("comparing what was found")]


def test_what_an_earlier_launch_has_measured_is_not_measured_again(finished, values, tmp_path):
    study, seen = tmp_path / "study", []
    shutil.copytree(finished[0].path, study)
    [again] = [event.unit for event in finished[1] if isinstance(event, UnitStarted) and event.unit.runs[0].seed == 1]
    for run in again.runs:
        shutil.rmtree(study / "runs" / run.key)
    trunkline.compare(values, out=study, progress=False, subscribers=[seen.append])
    assert [event.unit.key for event in seen if isinstance(event, UnitStarted)] == [again.key]
    assert not any(isinstance(event, Preparing) and event.what.startswith("measuring a few batches") for event in seen)


@pytest.fixture
def handler(signalled):
    """What the caller does with SIGTERM, which is to be there again afterwards."""

    def own(number, frame):
        raise AssertionError("a signal has come outside of a study")

    before = signal.signal(signal.SIGTERM, own)
    yield own
    signal.signal(signal.SIGTERM, before)


def test_a_study_that_is_stopped_says_what_is_kept(handler, values, tmp_path):

    def stop(event):
        if isinstance(event, BatchEnded):
            os.kill(os.getpid(), signal.SIGTERM)

    kept = rf"interrupted: 0 of 4 runs are done and kept in {tmp_path}/s; what was under way has a checkpoint; the same command"
    with pytest.raises(KeyboardInterrupt, match=kept):
        trunkline.compare(values, out=tmp_path / "s", progress=False, subscribers=[stop])
    assert signal.getsignal(signal.SIGTERM) is handler
    assert list((tmp_path / "s" / "stacks").glob("*/state.json"))

    def killed(event):  # between runs, where nothing is under way
        if isinstance(event, UnitStarted):
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(KeyboardInterrupt, match=r"0 of 4 runs are done and kept in [^;]*; the same command resumes$"):
        trunkline.compare(values, out=tmp_path / "s", progress=False, subscribers=[killed])


def test_a_study_that_was_stopped_can_be_reported(values, tmp_path):
    def stop(event):
        if isinstance(event, UnitStarted) and event.unit.runs[0].seed == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trunkline.compare(values, out=tmp_path / "s", progress=False, subscribers=[stop])
    found = read_results(tmp_path / "s")
    assert not found.finished and [cell.method for cell in found.cells if "mood" in cell.tasks] == [
        cell.method for cell in found.cells
    ]
    assert all(len(cell.tasks["mood"].by_seed) == 1 for cell in found.cells)


def test_a_rehearsal_plans_everything_and_writes_nothing(values, tmp_path, monkeypatch):
    monkeypatch.setenv("TRUNKLINE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    plan = study_given(values, ["methods.layer=null", "methods.layer.method=probe", "methods.layer.training.epochs=1"]).plan
    found = rehearse(Study(plan, tmp_path / "study"))
    assert (found["runs"], found["done"]) == (4, 0)
    order = [("probe", 0), ("layer", 0), ("probe", 1), ("layer", 1)]  # trained for another number of epochs, so not together
    assert [unit["runs"] for unit in found["units"]] == [[f"{name}, learning_rate 0.01, seed {seed}"] for name, seed in order]
    assert [unit["seeds"] for unit in found["units"]] == [[seed] for _, seed in order]
    beside = found["floors"]["seconds"] + found["timing"]["seconds"]
    assert found["seconds"] == pytest.approx(sum(unit["seconds"] for unit in found["units"]) + beside, abs=0.05)
    assert found["disk_bytes"]["states"] > 0 and found["memory_bytes"] > 1e6
    assert [path for path in tmp_path.rglob("*") if path.is_file() and path.name != "machine.json"] == []


def test_a_rehearsal_says_what_is_found_in_the_data(values, tmp_path, capsys):
    """What a run would say of its splits, and of texts that are too long for its trunk, each once for all sizes."""
    rows = [json.loads(line) for line in Path(values["data"]["train"]).read_text().splitlines()]
    rows += rows[:3] + [{**rows[0], "text": f"{number} " + "word " * 2_000} for number in range(20)]
    data = tmp_path / "rows.jsonl"
    data.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    given = study_given({**values, "data": {**values["data"], "train": str(data)}}, ["study.sizes=[40, all]"])
    found = rehearse(Study(given.plan, tmp_path / "study"))["findings"]
    assert len(found) == len(set(found))
    result = trunkline.fit({key: values[key] for key in ("trunk", "tasks")} | {
        "data": {**values["data"], "train": str(data)}, "method": "probe", "training": {"epochs": 1, "batch_tokens": 128}
    }, run_dir=tmp_path / "run", progress=False)  # fmt: skip
    assert any("twice" in said or "more than once" in said or "duplicate" in said for said in found), found
    own = [said for said in result.findings if "longer" in said or "cut" in said]
    assert own and set(own) <= set(found)


def test_what_another_process_trains_is_told(finished, values, tmp_path):
    """A lock is held by a descriptor of its own, also within one process."""
    study, seen = Study(study_given(values, []).plan, tmp_path / "s"), []
    study.claim()
    [unit] = units(study.plan.searches())

    class Seen(BaseException):
        pass

    def see(event):
        seen.append(event)
        if isinstance(event, UnitsElsewhere):
            raise Seen

    with study.locked(unit.key), pytest.raises(Seen):
        study.train(see)
    assert seen[-1].units[0].key == unit.key and not any(isinstance(event, UnitStarted) for event in seen)


def test_a_file_of_data_is_compared_by_a_few_methods(tmp_path):
    path = write_csv(tmp_path / "moods.csv", made_up(60))
    given = study_given(path, ["tasks.score=null", "study.seeds=2"])
    assert given.name == "moods" and any("mood" in sentence for sentence in given.sentences)
    assert [cell.method for cell in given.plan.cells] == ["probe", "adalayers", "lora"]
    assert {len(cell.candidates) for cell in given.plan.cells} == {2} and not given.plan.findings
    config = given.plan.searches()[0].config
    assert config.data.test == pytest.approx(0.1) and "mood" in config.tasks and "score" not in config.tasks


def test_paths_of_overrides_are_those_of_the_shell(values, tmp_path, monkeypatch):
    (tmp_path / "configs").mkdir()
    config = tmp_path / "configs" / "study.yaml"
    config.write_text(json.dumps(values))
    monkeypatch.chdir(tmp_path)
    write_rows(tmp_path / "other.jsonl", 5)
    plan = study_given("configs/study.yaml", ["data.train=other.jsonl"]).plan
    assert plan.searches()[0].config.data.train == str(tmp_path / "other.jsonl")


@pytest.mark.parametrize(
    ("given", "overrides", "message"),
    [
        (3, [], "compare: found 3, expected a YAML file of a study, its mapping, or the name of a file with data"),
        ("nowhere.yaml", [], "nowhere.yaml: no such file"),
        ({}, ["training.epochs=x"], "data"),
        ({"data": {}, "tasks": {"a": {}}, "method": "probe"}, [], "found the config of one run, expected methods"),
    ],
)
def test_what_cannot_be_compared_is_refused_in_a_sentence(given, overrides, message):
    with pytest.raises(BadInput, match=message) as caught:
        trunkline.compare(given, overrides=overrides)
    assert "\n" not in str(caught.value) and not Path("studies").exists()


def test_names_that_no_file_can_have_are_refused(values, tmp_path):
    for name, of in (("y" * 300, "the study's folder 'y{40}'...: found a name of 300"), ("z/" * 2500, "found a path of")):
        with pytest.raises(BadInput, match=of):
            trunkline.compare(values, out=tmp_path / name, progress=False)
    with pytest.raises(BadInput, match=r"^the study's folder .*: cannot be one \("):
        trunkline.compare(values, out=tmp_path / "a\0b", progress=False)
    for suffix in ("yaml", "csv"):
        with pytest.raises(BadInput, match=r"^'x{40}'...: found a name of 30[45] bytes, expected at most 255$"):
            trunkline.compare(f"{'x' * 300}.{suffix}", progress=False)
    assert not list(tmp_path.iterdir())


def test_an_override_is_named_where_it_is_wrong(values):
    with pytest.raises(BadInput, match=r"override 'training.epochs=none': training.epochs: found 'none'"):
        study_given(values, ["training.epochs=none"])
    with pytest.raises(BadInput, match=r"trackers.0.*expected|no_such"):
        trunkline.compare({**values, "trackers": ["no_such"]})


def test_a_launch_of_several_processes_is_refused(tmp_path, monkeypatch, tiny_trunk_dir):
    rows = write_rows(tmp_path / "rows.jsonl", 30)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(BadInput, match=r"^compare: found a launch of 2 processes, expected one process; start the same study"):
        trunkline.compare(str(rows), overrides=[f"trunk.name={tiny_trunk_dir}"], out=tmp_path / "study", progress=False)
    assert not (tmp_path / "study").exists()


@pytest.mark.parametrize(
    "go", [lambda plan, out: compare.run(Study(plan, out), None), lambda plan, out: rehearse(Study(plan, out))]
)
def test_a_folder_of_something_else_is_refused_before_the_data_are_read(go, tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    given = {
        "data": {"train": str(tmp_path / "large.jsonl"), "validation": "10%", "test": "10%"},
        "tasks": {"mood": {"kind": "sequence", "label": "label"}},
        "methods": ["probe"],
    }
    with pytest.raises(BadInput, match=r"is not a study, but contains 'mine.txt'"):
        go(Plan(study_of(given)), tmp_path)
