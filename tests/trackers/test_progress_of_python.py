"""What a fit shows that Python has called: how it ended, where things are, and no more lines than can be read."""

from __future__ import annotations

import io

import pytest
from rich.console import Console
from synthetic import config, write_rows

import trunkline
from trunkline.events import (
    ColumnsInterpreted,
    EpochEnded,
    Evaluated,
    Finding,
    Resumed,
    RunEnded,
    RunStarted,
    TaskFacts,
    TrainingStarted,
)
from trunkline.trackers.progress import MOST_SENTENCES, MOST_TASKS, FitProgress


def shown(*events, fresh="--fresh"):
    console = Console(file=io.StringIO(), width=200)
    progress = FitProgress(console, fresh=fresh)
    for event in events:
        progress(event)
    return console.file.getvalue()


def test_the_end_of_a_fit_says_its_scores_its_folder_and_what_is_stored(tiny_trunk_dir, tmp_path, capfd, monkeypatch):
    monkeypatch.setenv("TRUNKLINE_CACHE", str(tmp_path / "cache"))
    values = config(tiny_trunk_dir, write_rows(tmp_path / "rows.jsonl", 40), tasks=("mood",), epochs=1)
    result = trunkline.fit(values, run_dir=tmp_path / "run")
    lines = capfd.readouterr().err.splitlines()
    assert lines[-2:] == [*result.score_lines(), f"the run is in {tmp_path / 'run'}"]
    (stored,) = [line for line in lines if line.startswith("layer states take ")]
    assert f"MB in {tmp_path / 'cache' / 'states'} and are used again; `trunkline states prune` removes them" in stored
    trunkline.fit(values, run_dir=tmp_path / "run")
    again = capfd.readouterr().err
    assert "(fresh=True trains again)" in again and again.splitlines()[-2:] == lines[-2:] and "take" not in again


def test_an_early_end_is_said_with_the_number_of_epochs(tmp_path):
    epochs = [EpochEnded(number, 9, 1.0, 0.1, 10) for number in (1, 2, 3)]
    ended = shown(TrainingStarted(5, 9, 2), *epochs, RunEnded(tmp_path, "finished", {}))
    assert ended.endswith("training ended early, after 3 of 9 epochs: no better validation score in 2 evaluations\n")
    whole = shown(TrainingStarted(5, 3, 2), *epochs, RunEnded(tmp_path, "finished", {}))
    assert "early, after" not in whole
    assert "early, after" not in shown(TrainingStarted(5, 9, 2), *epochs, RunEnded(tmp_path, "interrupted"))


@pytest.mark.parametrize("fresh", ["--fresh", "fresh=True"])
def test_training_again_is_said_as_the_caller_says_it(fresh):
    assert f"; {fresh} trains again" in shown(Resumed(1, 20), fresh=fresh)


def test_many_tasks_columns_and_findings_are_summed_up(tmp_path):
    facts = tuple(TaskFacts(f"task{number}", "multilabel", "f1_micro", 2) for number in range(26))
    settings = {"tasks": {one.name: {"threshold": "tuned"} for one in facts[1:]}}
    started = shown(RunStarted(tmp_path, "", settings, facts, {}, ()))
    assert started.count("multilabel, 2 labels") == MOST_TASKS and "and 18 more tasks: task8, task9, " in started
    assert started.count("epochs are judged at a threshold of 0.5; the final one is chosen on validation") == MOST_TASKS - 1
    findings = shown(*(Finding(f"finding {number}.") for number in range(40)), RunEnded(tmp_path, "finished", {}))
    assert findings.count("note: ") == MOST_SENTENCES and findings.endswith(
        f"and {40 - MOST_SENTENCES} more notes in result.json\n"
    )
    columns = shown(ColumnsInterpreted(tuple(f"column {number}." for number in range(31))))
    assert columns.endswith("column 29.\nand 1 more column\n")


def test_the_scores_of_many_tasks_are_summed_up_in_the_line_of_an_epoch():
    judged = {f"task{number}": {"validation": {"accuracy": 0.5}, "best": True} for number in range(MOST_TASKS + 3)}
    line = shown(Evaluated(5, 1, judged), EpochEnded(1, 1, 1.0, 0.1, 10))
    assert line.count("task") == MOST_TASKS and line.replace("\u00a0", " ").endswith("and 3 more\n")


def test_the_repr_of_many_tasks_is_bounded(tmp_path):
    from trunkline.training.fit import RunResult

    tasks = {f"t{number}": {"monitor": "accuracy", "validation": {"accuracy": 0.5}} for number in range(26)}
    assert "  and 6 more in .tasks" in repr(RunResult(tmp_path, {"tasks": tasks, "cost": {}})).splitlines()
