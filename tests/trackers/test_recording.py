"""What every tool for tracking is told of a run, and in which run of its: each number once, no texts, only where asked."""

from __future__ import annotations

import json
import sys

import pytest
import torch
import yaml
from trackedruns import Told, evaluated, of_test, stopped_after, tell
from transformers import get_linear_schedule_with_warmup

from trunkline.errors import BadInput
from trunkline.events import EpochEnded, Evaluated, Publisher, RunEnded, RunStarted, StageStarted
from trunkline.trackers import TrackerConfig, recording, trackers
from trunkline.trackers.base import library
from trunkline.trackers.measures import parameters
from trunkline.trackers.recording import Recording
from trunkline.trackers.tracked import FILE
from trunkline.training.config import resolve
from trunkline.training.fit import fit
from trunkline.training.rundir import clear

EXTRAS = ("mlflow", "tensorboard", "trackio", "wandb")


class Tool:
    """One that notes what it is given; `runs` are those that it knows."""

    def __init__(self, runs=()):
        self.runs, self.begun, self.rows, self.numbers, self.kept, self.ends = list(runs), None, [], {}, ({}, {}), []

    def begin(self, run):
        self.begun = run
        if run.known not in self.runs:
            self.runs.append(f"run {len(self.runs)}")
            return self.runs[-1]
        return run.known

    def log(self, numbers, step, row):
        self.rows.append(row)
        for name, value in numbers.items():
            self.numbers.setdefault(name, []).append((step, value))

    def keep(self, texts, folders):
        self.kept = texts, folders

    def end(self, outcome):
        self.ends.append(outcome)


def recorded(events, tool=None, **settings):
    tool = Tool() if tool is None else tool
    tell(Recording(TrackerConfig(name="x"), tool), events)
    return tool


def tracked_of(run):
    return json.loads((run / FILE).read_text())["runs"]


def test_numbers_have_a_name_by_split_and_task_and_those_of_the_result(told):
    tool = recorded(told.events)
    found = {name: dict(pairs) for name, pairs in tool.numbers.items()}
    expected = evaluated(told.summary)
    assert len(expected["layers/mood/03"]) == len(told.summary["history"]) > 3
    assert {name: found[name] for name in expected} == expected
    assert {name: pairs[0][1] for name, pairs in tool.numbers.items() if "/test/" in name} == of_test(told.summary)
    epochs = told.summary["cost"]["epochs"]
    for key in ("seconds", "evaluation_seconds", "tokens_per_second"):
        values = [value for _, value in tool.numbers[f"epoch/{key}"]]
        assert values == pytest.approx([epoch[key] for epoch in epochs], abs=0.06)
    assert dict(tool.numbers["epoch"]) == {entry["step"]: entry["epoch"] for entry in told.summary["history"]}
    assert [step for step, _ in tool.numbers["epoch/seconds"]] == [
        max(entry["step"] for entry in told.summary["history"] if entry["epoch"] == epoch) for epoch in (1, 2, 3)
    ]
    assert tool.numbers["cost/trained_parameters"][0][1] == told.summary["cost"]["trained_parameters_total"]
    assert tool.rows == list(range(len(tool.rows)))


def test_the_learning_rate_is_that_of_the_last_step(told):
    tool = recorded(told.events)
    weight = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([weight], lr=told.values["training"]["learning_rate"])
    config = next(event.config for event in told.events if isinstance(event, RunStarted))
    steps = max(step for step, _ in tool.numbers["learning_rate/mood"])
    schedule = get_linear_schedule_with_warmup(optimizer, config["training"]["warmup"] * steps, steps)
    expected = {}
    for step in range(1, steps + 1):
        expected[step] = optimizer.param_groups[0]["lr"]
        optimizer.step()
        schedule.step()
    found = dict(tool.numbers["learning_rate/mood"])
    assert found == pytest.approx({step: expected[step] for step in found}) and len(set(found.values())) > 3


def test_parameters_are_the_config_flat_without_its_trackers(told):
    begun = next(event for event in told.events if isinstance(event, RunStarted))
    long = {**begun.config, "trackers": [{"uri": "secret"}], "x": {"list": ["a"] * 500, "none": None, "flag": True}}
    found = parameters(RunStarted(begun.path, "1a", long, (), {"mood": 5}, ()))
    assert found["training.epochs"] == 3 and found["method.name"] == "adalayers" and found["tasks.mood.kind"] == "sequence"
    assert found["trained_parameters.mood"] == 5 and found["identity"] == "1a" and found["x.flag"] is True
    assert found["x.list"].startswith('["a", "a", ') and len(found["x.list"]) == 500 and "x.none" not in found
    assert "secret" not in str(found)
    assert recorded(told.events).begun.monitored == ("validation/mood/accuracy", "validation/cities/f1")


def test_a_run_that_is_resumed_goes_on_in_the_same_tracked_run_and_nothing_is_logged_twice(told):
    first = recorded(told.until_epoch(2))
    again = recorded(told.events, Tool(first.runs))  # from its beginning, as there was no checkpoint
    whole = recorded(told.moved(told.path).events, Tool())
    assert again.begun.known == "run 0" and again.runs == ["run 0"] and first.ends == []
    assert again.rows == list(range(len(first.rows), len(first.rows) + len(again.rows)))
    for name, pairs in evaluated(told.summary).items():
        assert dict(first.numbers.get(name, []) + again.numbers.get(name, [])) == pairs
        assert len(first.numbers.get(name, []) + again.numbers.get(name, [])) == len(pairs)
    assert whole.numbers == {}, "all of it was logged"


def test_real_runs_are_resumed_so_too(trained, tmp_path, monkeypatch):
    tools, runs = [], []

    class Noting:
        Config = TrackerConfig

        def __init__(self, config):
            tools.append(Tool(runs))
            self._recording = Recording(config, tools[-1])

        def __call__(self, event):
            self._recording(event)

    monkeypatch.setitem(trackers._things, "noting", Noting)
    stopped_after(trained, 2, tmp_path / "run", trackers="noting")
    runs.append("run 0")
    values = {**trained.values, "trackers": "noting"}
    fit(values, run_dir=tmp_path / "run", progress=False)
    first, second = tools
    assert (first.ends, second.ends, second.begun.known) == (["failed"], ["finished"], "run 0")
    both = {name: first.numbers.get(name, []) + second.numbers.get(name, []) for name in {*first.numbers, *second.numbers}}
    for name, pairs in evaluated(trained.summary).items():
        assert dict(both[name]) == pytest.approx(pairs) and len(both[name]) == len(pairs)
    assert [step for step, _ in second.numbers["final/test/mood/accuracy"]] == [trained.summary["history"][-1]["step"]]
    fit(values, run_dir=tmp_path / "run", progress=False)
    assert tools[2].begun is None, "a run that was finished before is not tracked"


def test_a_run_that_is_trained_afresh_begins_another(told):
    recorded(told.until_epoch(2))
    clear(told.path)
    again = recorded(told.events, Tool(["run 0"]))
    assert again.begun.known is None and len(again.numbers["epoch"]) == len(told.summary["history"])


def test_a_run_that_the_tool_has_lost_begins_another(told):
    recorded(told.until_epoch(2))
    again = recorded(told.events, Tool(["someone else's"]))
    assert again.begun.known == "run 0" and again.runs[-1] == "run 1"
    assert len(again.numbers["epoch"]) == len(told.summary["history"])
    assert [entry["id"] for entry in tracked_of(told.path)] == ["run 1"]


def test_trackers_of_one_run_and_other_runs_of_one_directory_are_told_apart(told):
    tell(Recording(TrackerConfig(name="a"), Tool()), told.until_epoch(1))
    tell(Recording(TrackerConfig(name="b"), Tool(["run 0"])), told.until_epoch(1))
    assert {entry["tracker"]["name"]: entry["id"] for entry in tracked_of(told.path)} == {"a": "run 0", "b": "run 1"}
    begun, *others = told.events
    while not isinstance(begun, RunStarted):
        begun, *others = others
    other = RunStarted(begun.path, "another", begun.config, begun.tasks, begun.trained_parameters, ())
    tool = Tool(["run 0"])
    tell(Recording(TrackerConfig(name="a"), tool), [other, *others])
    assert tool.begun.known is None and len(tool.numbers["epoch"]) == len(told.summary["history"])


def test_numbers_of_stages_are_told_apart(told):
    begun = next(event for event in told.events if isinstance(event, RunStarted))
    judged = {"mood": {"validation": {"f1": 0.5, "by_label": {}}, "best": True, "train_loss": None, "layers": {}}}
    stages = [
        event
        for name in ("1-mood", "2-mood")
        for event in (StageStarted(name, ("mood",), 5), Evaluated(3, 1, judged), EpochEnded(1, 1, 1.0, 0.1, 10, step=3))
    ]
    tool = recorded([begun, *stages])
    assert tool.numbers["1-mood/validation/mood/f1"] == tool.numbers["2-mood/validation/mood/f1"] == [(3, 0.5)]
    assert tool.numbers["2-mood/epoch/tokens_per_second"] == [(3, 10.0)]
    assert not any(name.endswith(("loss", "by_label")) for name in tool.numbers)


def test_artefacts_are_config_result_and_branches_that_are_not_large(told, monkeypatch):
    texts, folders = recorded(told.events).kept
    assert folders == {f"branches/{name}": told.path / "branches" / name for name in ("mood", "cities")}
    assert yaml.safe_load(texts["config.yaml"])["training"]["epochs"] == 3
    assert json.loads(texts["result.json"])["tasks"] == told.summary["tasks"]
    sizes = {name: told.summary["cost"]["disk_bytes"][name] for name in ("mood", "cities")}
    monkeypatch.setattr(recording, "LARGEST", min(sizes.values()))
    assert list(recorded(told.events).kept[1]) == [f"branches/{min(sizes, key=sizes.get)}"]


@pytest.mark.parametrize("outcome", ["interrupted", "failed"])
def test_a_run_that_is_not_finished_keeps_its_config(told, outcome):
    tool = recorded([*told.until_epoch(1), RunEnded(told.path, outcome)])
    assert list(tool.kept[0]) == ["config.yaml"] and tool.kept[1] == {} and tool.ends == [outcome]
    assert recorded([RunEnded(told.path, outcome)]).ends == [], "it has not begun"


def test_no_text_and_no_finding_reaches_a_tool(told: Told):
    tool = recorded(told.events)
    given = str((tool.begun.parameters, tool.numbers, tool.kept))
    assert told.summary["findings"] and not any(finding in given for finding in told.summary["findings"])
    assert len(told.texts()) > 40 and not any(text in given for text in told.texts())
    assert "findings" not in json.loads(tool.kept[0]["result.json"])


def test_a_file_of_another_program_is_left_alone(told, caplog):
    (told.path / FILE).write_text("mine")
    Publisher([Recording(TrackerConfig(name="x"), Tool())])(RunStarted(told.path, "1a", {}, (), {}, ()))
    assert "was written by another program" in caplog.text and "training continues" in caplog.text
    clear(told.path)
    assert (told.path / FILE).read_text() == "mine"


@pytest.mark.parametrize("name", EXTRAS)
def test_a_missing_package_is_one_sentence_before_work_starts(name, trained, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, name, None)
    values = {**trained.values, "trackers": ["jsonl", name]}
    with pytest.raises(BadInput) as caught:
        fit(values, run_dir=tmp_path / "run", progress=False)
    sentence = f"trackers.1.name: the tracker {name} needs the package {name}: pip install 'trunkline[{name}]'"
    assert str(caught.value) == f"config: {sentence}" and not (tmp_path / "run").exists()
    assert resolve(values).trackers[1].name == name, "a config can be read without it"


def test_a_folder_that_is_called_like_a_package_is_none(tmp_path, monkeypatch):
    (tmp_path / "notinstalled").mkdir()
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(BadInput, match=r"needs the package notinstalled: pip install 'trunkline\[wandb\]'"):
        library("notinstalled", "wandb")


def test_trackers_are_no_part_of_the_identity_and_their_folders_are_relative_to_the_config(trained, tmp_path):
    given = [
        {"name": "tensorboard", "folder": "logs"},
        {"name": "wandb", "folder": "~/w"},
        "mlflow",
        "trackio",
    ]
    config = resolve({**trained.values, "trackers": given}, base=tmp_path)
    assert config.identity() == resolve(trained.values).identity()
    assert config.trackers[0].folder == str(tmp_path / "logs") and "~" not in config.trackers[1].folder
    overridden = resolve({**trained.values, "trackers": given}, base=tmp_path, overrides=["trackers=x"])
    assert overridden.trackers[0].folder != config.trackers[0].folder


def test_what_is_sent_nowhere_by_default():
    assert tracker_config("wandb").mode == "offline" and tracker_config("mlflow").uri is None
    keys = {name: sorted(trackers.get(name).Config.model_fields) for name in EXTRAS}
    assert keys == {
        "mlflow": ["experiment", "name", "run", "uri"],
        "tensorboard": ["folder", "name"],
        "trackio": ["name", "project", "run"],
        "wandb": ["folder", "mode", "name", "project", "run"],
    }


def tracker_config(name):
    return trackers.get(name).Config()


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"name": "wandb", "mode": "cloud"}, r"trackers\.0\.mode: found 'cloud', expected 'offline' or 'online'"),
        ({"name": "mlflow", "url": "http://x"}, r"trackers\.0\.url: .*did you mean 'uri'"),
        ({"name": "trackio", "uri": "x"}, r"trackers\.0\.uri: not a key of trackio but of mlflow"),
        ("wandbs", r"trackers\.0\.name: .*did you mean 'wandb'"),
    ],
)
def test_wrong_settings_are_one_sentence(trained, given, sentence):
    with pytest.raises(BadInput, match=sentence):
        resolve({**trained.values, "trackers": [given]})
