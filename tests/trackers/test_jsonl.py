"""The tracker `jsonl`, and what all trackers have from a run: told in order, outside of its identity, never in its way."""

from __future__ import annotations

import json

import pytest
from synthetic import config, write_rows

from trunkline.errors import BadInput
from trunkline.events import EpochEnded, Finding, Preparing, RunEnded, RunStarted
from trunkline.trackers import TrackerConfig, trackers
from trunkline.training.config import resolve
from trunkline.training.fit import fit


@pytest.fixture
def values(tiny_trunk_dir, tmp_path):
    rows = write_rows(tmp_path / "rows.jsonl", 60)
    values = config(tiny_trunk_dir, rows, tasks=("mood",), epochs=2, evaluate_every=1)
    return {**values, "trackers": ["jsonl"]}


class Stopped(BaseException):
    pass


def lines_of(run):
    return [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]


def stop(event):
    if isinstance(event, EpochEnded):
        raise Stopped


def test_a_run_has_a_line_for_every_event(values, tmp_path):
    result = fit(values, run_dir=tmp_path / "run")
    lines = lines_of(tmp_path / "run")
    names = [line["event"] for line in lines]
    assert names[0] == "RunStarted" and names[-1] == "RunEnded" and names.count("EpochEnded") == 2
    assert lines[0]["identity"] == result.summary["identity"] and lines[0]["config"]["training"]["epochs"] == 2
    told = [{key: line[key] for key in ("step", "epoch", "tasks")} for line in lines if line["event"] == "Evaluated"]
    assert told == result.summary["history"]
    assert {line["task"]: line["path"] for line in lines if line["event"] == "BranchSaved"} == {
        name: str(path) for name, path in result.branches.items()
    }
    assert lines[-1]["outcome"] == "finished" and lines[-1]["summary"] == result.summary
    assert names.count("CheckpointSaved") > 0 and [line["time"] for line in lines] == sorted(line["time"] for line in lines)


def test_a_run_that_is_resumed_adds_to_its_file(values, tmp_path):
    run = tmp_path / "run"
    with pytest.raises(Stopped):
        fit(values, run_dir=run, subscribers=[stop])
    before = lines_of(run)
    assert before[-1] | {"time": 0} == {"time": 0, "event": "RunEnded", "path": str(run), "outcome": "failed", "summary": None}
    with (run / "events.jsonl").open("a") as file:
        file.write('{"time": 1, "even')  # as a kill leaves it
    fit(values, run_dir=run)
    after = lines_of(run)
    assert after[: len(before)] == before and after[len(before)]["event"] == "RunStarted"
    assert "Resumed" in [line["event"] for line in after]


def test_a_file_of_another_program_is_left_alone_and_training_goes_on(values, tmp_path, caplog):
    (tmp_path / "run").mkdir()
    fit({**values, "trackers": []}, run_dir=tmp_path / "run")
    (tmp_path / "run" / "events.jsonl").write_text("mine")
    result = fit(values, run_dir=tmp_path / "run", fresh=True)
    assert result.tasks and (tmp_path / "run" / "events.jsonl").read_text() == "mine"
    assert "JsonLines failed at RunStarted" in caplog.text


def test_trackers_are_no_part_of_the_identity(values, tmp_path):
    first = fit({**values, "trackers": []}, run_dir=tmp_path / "run")
    assert fit(values, run_dir=tmp_path / "run").summary == first.summary and not (tmp_path / "run" / "events.jsonl").exists()
    assert resolve(values).identity() == resolve({**values, "trackers": "jsonl"}).identity()


def test_a_tracker_is_a_registered_class_with_settings_of_its_own(values, tmp_path, monkeypatch, caplog):
    told = []

    class Named:
        class Config(TrackerConfig):
            project: str

        def __init__(self, config):
            self.config = config

        def __call__(self, event):
            told.append((self.config.project, type(event)))
            if isinstance(event, EpochEnded):
                raise RuntimeError

    monkeypatch.setitem(trackers._things, "named", Named)
    fit({**values, "trackers": [{"name": "named", "project": "p"}, "jsonl"]}, run_dir=tmp_path / "run")
    assert next(kind for _, kind in told if kind is not Preparing) is RunStarted and told[-1] == ("p", EpochEnded)
    assert caplog.text.count("it gets no more events, and training continues") == 1
    assert lines_of(tmp_path / "run")[-1]["event"] == "RunEnded"


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (["jsnl"], r"trackers\.0\.name: .*jsnl.*jsonl"),
        ([{"name": "jsonl", "file": "x"}], r"trackers\.0\.file"),
        (3, r"trackers: .*expected a list"),
    ],
)
def test_what_is_no_tracker_is_refused(values, given, sentence):
    with pytest.raises(BadInput, match=sentence):
        resolve({**values, "trackers": given})


def test_findings_follow_the_start_of_the_run(values, tmp_path):
    told = []
    fit(values, run_dir=tmp_path / "run", subscribers=[told.append])
    kinds = [type(event) for event in told]
    assert kinds.count(RunStarted) == kinds.count(RunEnded) == 1
    assert all(kinds.index(RunStarted) < place for place, kind in enumerate(kinds) if kind is Finding)
