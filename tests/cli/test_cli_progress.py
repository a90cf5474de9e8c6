import importlib
import io
import json
import sys
from pathlib import Path

import pytest
from clitools import done, made_up, write_jsonl
from rich.console import Console

from trunkline.events import (
    EpochEnded,
    Evaluated,
    RunStarted,
    StageStarted,
    TaskFacts,
    TimeEstimated,
    TrainingStarted,
)
from trunkline.states.budget import readable
from trunkline.trackers.progress import FitProgress
from trunkline.trackers.wording import duration
from trunkline.training.config import load_config
from trunkline.training.fit import fit

CONFIG = (
    "data: {train: rows.jsonl, validation: 20%, test: 20%}\n"
    "tasks:\n  mood: {kind: sequence, label: mood}\n  city: {kind: token, spans: spans}\n"
)


@pytest.fixture
def config(tmp_path, tiny_overrides):
    write_jsonl(tmp_path / "rows.jsonl", made_up(60))
    (tmp_path / "tuned.yaml").write_text(CONFIG + "method: {name: bitfit}\n")
    (tmp_path / "side.yaml").write_text(CONFIG)
    return [text for text in tiny_overrides if not text.startswith("method.")] + ["training.epochs=1"]


def lines_of(*arguments):
    return done("fit", *arguments, "--run-dir", "run").stderr.splitlines()


def summed(key="trained_parameters"):
    return sum(json.loads(Path("run/result.json").read_text())["cost"][key].values())


def test_side_branches_have_a_count_each(config, tiny_overrides):
    lines = lines_of("side.yaml", *tiny_overrides, "training.epochs=1")
    trained = json.loads(Path("run/result.json").read_text())["cost"]["trained_parameters"]
    assert f"task mood: sequence, 2 labels; {trained['mood']:,} weights to train" in lines
    assert f"task city: token, 1 type of span; {trained['city']:,} weights to train" in lines


def test_what_is_done_is_told_as_it_begins(config, tiny_overrides):
    lines = lines_of("side.yaml", *tiny_overrides, "training.epochs=1")
    trunk = tiny_overrides[0].removeprefix("trunk.name=")
    steps = ["fit side.yaml: loading libraries", "reading the data", f"loading the trunk {trunk}", "tokenizing 60 texts"]
    assert lines[:4] == steps and lines[4].startswith("task mood: ")
    for split in ("train", "validation"):
        begun, ended = (
            next(i for i, line in enumerate(lines) if line.startswith(f"{opening}layer states of {split}: "))
            for opening in ("computing ", "")
        )
        tokens = lines[begun].split()[-2]
        assert begun < ended and lines[ended].split()[4] == tokens


@pytest.mark.parametrize(
    ("command", "arguments", "later"),
    [
        ("fit", ["rows.csv"], ["trunkline.training.hints"]),
        ("demo", [], ["trunkline.model.bundle", "trunkline.training.config"]),
    ],
)
def test_the_first_line_comes_before_the_libraries_that_take_long_to_load(command, arguments, later, monkeypatch):
    class Told(BaseException):
        pass

    def told(sentence):
        raise Told

    importlib.import_module(f"trunkline.cli.{command}")
    module = sys.modules[f"trunkline.cli.{command}"]
    monkeypatch.setattr(module, "tell", told)
    for name in later:
        monkeypatch.setitem(sys.modules, name, None)  # which makes an import of it fail
    with pytest.raises(Told):
        getattr(module, command).__wrapped__(*arguments)


def test_joint_tasks_have_one_count_together(config):
    lines = lines_of("tuned.yaml", *config, "training.regime=joint")
    assert [line for line in lines if "task " in line or "weights to train" in line] == [
        "task mood: sequence, 2 labels",
        "task city: token, 1 type of span",
        f"{summed():,} weights to train together",
    ]


def test_a_stage_says_what_it_trains_and_how_many_stages_were_done_before(config):
    values = load_config("tuned.yaml", [*config, "training.regime=sequential"])

    class Killed(BaseException):
        pass

    def killed(event):  # before the third stage has a checkpoint
        if isinstance(event, StageStarted) and event.name == "2-city":
            raise Killed

    with pytest.raises(Killed):
        fit(values, run_dir="run", subscribers=[killed])
    lines = lines_of("tuned.yaml", *config, "training.regime=sequential")
    assert "resuming: 2 of 3 stages are done (alone-city, 1-mood); --fresh trains again" in lines
    stages = {stage["name"]: stage["cost"] for stage in json.loads(Path("run/result.json").read_text())["stages"]}
    assert [line for line in lines if "weights to train" in line] == [
        f"stage 2-city: trains city; {stages['2-city']['trained_parameters']['city']:,} weights to train"
    ]
    assert not any("done" in line for line in lines_of("tuned.yaml", *config, "training.regime=sequential", "--fresh"))


def test_the_bytes_of_branches_and_of_what_stages_keep_are_told(config):
    result = done("fit", "tuned.yaml", *config, "training.regime=sequential", "--run-dir", "run")
    cost = json.loads(Path("run/result.json").read_text())["cost"]
    size = {
        part: sum(file.stat().st_size for file in Path("run", part).rglob("*") if file.is_file() and file.name != "stage.json")
        for part in ("branches", "stages")
    }
    assert (sum(cost["disk_bytes"].values()), cost["stages_bytes"]) == (size["branches"], size["stages"])
    assert f"branches {readable(size['branches'])}, stages {readable(size['stages'])}" in result.stdout


def test_no_line_ends_in_blanks():
    console = Console(file=io.StringIO(), width=80)
    progress = FitProgress(console)
    spent = {"epochs": 20, "seconds": 1.0, "evaluation_seconds": 0.5, "tokens": 5}
    progress(EpochEnded(epoch=1, **spent))
    for best in (True, False):
        found = {"validation": {}, "best": best}
        progress(Evaluated(step=3, epoch=2, tasks={"a": found, "b": found}))
        progress(EpochEnded(epoch=2, **spent))
    lines = console.file.getvalue().splitlines()
    assert len(lines) == 3 and all(line == line.rstrip() for line in lines)
    assert lines[0].split() == ["epoch", "1/20", "1.0", "s", "about", "28", "s", "left"]  # 19 of 1.5 s


def told(*events):
    console = Console(file=io.StringIO(), width=200)
    progress = FitProgress(console)
    for event in events:
        progress(event)
    return console.file.getvalue().splitlines()


def started(**facts):
    return RunStarted(Path("r"), "1a", {}, (TaskFacts("mood", "sequence", "f1", 2, **facts),), {}, ())


def test_labels_and_rows_are_shown_before_training():
    data = {
        "unit": "row", "rows": {"train": 1200, "validation": 20}, "unlabelled": {"train": 3, "validation": 0},
        "labels": {"train": {"bad\n": 2, "good": 1198}},
    }  # fmt: skip
    assert told(started(data=data))[1:] == [
        "  rows: train 1,200 (and 3 without a label), validation 20",
        "  labels in train: good 1,198, bad\\n 2",
    ]
    many = {**data, "unit": "span", "labels": {"train": {f"l{n}": 50 - n for n in range(50)}}}
    [line] = [line for line in told(started(data=many)) if "labels in train" in line]
    assert line.startswith("  labels in train (spans): 50; the most frequent l0 50, l1 49,") and line.endswith("l48 2, l49 1")
    assert "l6 " not in line and "l43 " not in line and "the rarest l44 6" in line
    [line] = [
        line
        for line in told(started(data={**data, "labels": {}, "by_size": {"train": [90, 4, 1]}}))
        if "labels in train" in line
    ]
    assert line == "  labels in train: 3, the most frequent 90, the rarest 1"
    numbers = told(started(data={"rows": {"train": 3}, "unlabelled": {}, "numbers": {"train": [-1.5, 2, 1e6]}}))
    assert numbers[2] == "  numbers in train: from -1.5 to 1e+06, mean 2"


def test_steps_time_and_the_star_are_explained():
    best = Evaluated(step=3, epoch=1, tasks={"mood": {"validation": {"f1": 0.5}, "best": True}})
    ended = EpochEnded(epoch=1, epochs=2, seconds=100.0, evaluation_seconds=20.0, tokens=5)
    lines = told(started(positive="hate"), TrainingStarted(28, 20), TimeEstimated(170.0), best, ended, TimeEstimated(9.0))
    assert lines[1:] == [
        "20 epochs of 28 steps (560 in all)",
        "* marks the best validation score so far, whose weights are kept",
        "all epochs take about 3 min, by the speed of the first steps",
        "epoch 1/2   100.0 s  mood f1 (hate) 0.5000*  about 2 min left",
    ]
    assert told(TrainingStarted(1, 1, patience=3))[0] == "1 epoch of 1 step"
    about = "at most 20 epochs of about 28 steps (about 560 in all), ending early after 3 evaluations without a better score"
    assert told(TrainingStarted(28, 20, patience=3, varying=True))[0] == about
    early = "at most 20 epochs of 28 steps (560 in all), ending early after 3 evaluations without a better score"
    assert told(TrainingStarted(28, 20, patience=3))[0] == early


@pytest.mark.parametrize(("seconds", "words"), [(0.2, "1 s"), (89, "89 s"), (100, "2 min"), (5300, "88 min"), (7200, "2 h")])
def test_durations_that_are_about_right(seconds, words):
    assert duration(seconds) == words
