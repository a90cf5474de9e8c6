"""Studies on a tiny trunk: what is trained, what is chosen, and that stopping and failing change nothing else."""

from __future__ import annotations

import contextlib
import json
import os
import signal

import pytest
from synthetic import write_rows

from trunkline.errors import BadInput
from trunkline.events import BatchEnded, Publisher
from trunkline.studies.checks import check
from trunkline.studies.config import study_of
from trunkline.studies.outcomes import outcomes
from trunkline.studies.plan import Plan, choose, units
from trunkline.studies.study import Study


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    return write_rows(tmp_path_factory.mktemp("rows") / "rows.jsonl", 120)


def values(trunk, rows, **study):
    return {
        "trunk": {"name": str(trunk), "dtype": "fp32", "device": "cpu"},
        "data": {"train": str(rows), "validation": "20%", "test": "20%"},
        "tasks": {"mood": {"kind": "sequence", "label": "label"}},
        "training": {"epochs": 2, "batch_tokens": 256, "patience": None, "seed": 3},
        "methods": {
            "probe": None,
            "adalayers": {"method": {"name": "adalayers", "dim": 16, "heads": 2}},
            "layer": {"method": {"name": "single_layer", "dim": 16, "heads": 2}, "each": {"method.layer": [0, 3]}},
            "lora": {"method": {"name": "lora", "r": 4}, "seeds": 1},
        },
        "study": {"seeds": 2, "tune": {"learning_rate": [1e-3, 1e-2]}, "floors": False, **study},
    }


def scores(study):
    """By method, seed and settings, all that is to be the same however often a study was stopped."""
    found = {}
    for one in outcomes(study):
        for repeat in one.repeats:
            task = repeat.result["tasks"]["mood"]
            found[one.cell.method, repeat.seed] = (one.settings, task["validation"], task["test"], repeat.result["history"])
    return found


@pytest.fixture(scope="module")
def finished(tiny_trunk_dir, rows, tmp_path_factory):
    study = Study(Plan(study_of(values(tiny_trunk_dir, rows))), tmp_path_factory.mktemp("studies") / "whole")
    study.train()
    return study


def test_every_cell_has_its_seeds_and_the_settings_that_are_best_on_validation(finished):
    found = {one.cell.method: one for one in outcomes(finished)}
    assert list(found) == ["probe", "adalayers", "layer layer=0", "layer layer=3", "lora"]
    for name, one in found.items():
        assert not one.failed
        assert [repeat.seed for repeat in one.repeats] == ([3] if name == "lora" else [3, 4])
        reached = {settings["learning_rate"]: scores["mood"] for settings, scores in one.searched}
        assert set(reached) == {1e-3, 1e-2}
        assert reached[one.settings["learning_rate"]] == max(reached.values())
        for repeat in one.repeats:
            assert (repeat.path / "answers" / "mood.safetensors").is_file()
            config = (repeat.path / "config.yaml").read_text()
            assert f"learning_rate: {one.settings['learning_rate']}" in config and f"seed: {repeat.seed}" in config


def test_all_seeds_are_judged_on_the_same_rows(finished):
    digests = {
        (name, repeat.result["digests"][name])
        for one in outcomes(finished)
        for repeat in one.repeats
        for name in repeat.result["digests"]
    }
    assert len(digests) == 3


def test_a_finished_study_trains_nothing_again_and_an_enlarged_one_only_what_is_new(finished, tiny_trunk_dir, rows):
    said = []
    again = Study(Plan(study_of(values(tiny_trunk_dir, rows))), finished.path)
    again.train(say=said.append)
    assert said == []
    larger = values(tiny_trunk_dir, rows)
    larger["methods"] |= {"scalar_mix": {"seeds": 1}}
    Study(Plan(study_of(larger)), finished.path).train(say=said.append)
    assert len(said) == 1 and "scalar_mix" in said[0]


def stopped_at(number, given, path):
    """Train a study in a process that asks itself to stop at the batch of this number, counted over all runs."""
    seen = iter(range(10**6))

    def see(event):
        if isinstance(event, BatchEnded) and next(seen) == number:
            os.kill(os.getpid(), signal.SIGTERM)

    with contextlib.suppress(KeyboardInterrupt):
        Study(Plan(study_of(given)), path).train(Publisher([see]))


def test_a_study_that_is_stopped_anywhere_ends_with_the_same_results(finished, processes, tiny_trunk_dir, rows, tmp_path):
    given = values(tiny_trunk_dir, rows)
    for number in (1, 4, 9, 2, 30):
        one = processes.Process(target=stopped_at, args=(number, given, tmp_path / "study"))
        one.start()
        one.join(120)
        assert one.exitcode == 0
    study = Study(Plan(study_of(given)), tmp_path / "study")
    study.train()
    assert scores(study) == scores(finished)


def test_a_run_that_fails_is_noted_and_tried_again_by_the_next_launch(tiny_trunk_dir, rows, tmp_path):
    given = values(tiny_trunk_dir, rows)
    given["methods"] = {
        "probe": None,
        "broken": {
            "method": {"name": "adalayers", "dim": 16, "heads": 2},
            "training": {"learning_rate": 1e30, "clip_norm": None},
        },
    }
    given["study"] = {"seeds": 2, "floors": False}
    study = Study(Plan(study_of(given)), tmp_path / "study")
    study.train()
    fine, broken = outcomes(study)
    assert len(fine.repeats) == 2 and not fine.failed
    assert broken.settings is None and not broken.repeats
    [why] = broken.failed.values()
    assert "loss" in why and "lower training.learning_rate" in why
    said = []
    Study(study.plan, study.path).train(say=said.append)
    assert len(said) == 1


def _train(given, path):
    Study(Plan(study_of(given)), path).train()


def test_processes_share_a_study(finished, processes, tiny_trunk_dir, rows, tmp_path):
    given = values(tiny_trunk_dir, rows)
    both = [processes.Process(target=_train, args=(given, tmp_path / "study")) for _ in range(2)]
    for one in both:
        one.start()
    for one in both:
        one.join()
        assert one.exitcode == 0
    assert scores(Study(Plan(study_of(given)), tmp_path / "study")) == scores(finished)


def test_a_folder_that_another_process_is_making_is_no_other_thing(tiny_trunk_dir, rows, tmp_path, monkeypatch):
    study = Study(Plan(study_of(values(tiny_trunk_dir, rows))), tmp_path / "study")
    study.path.mkdir()
    (study.path / ".study.json.trunkline-0a1b2c3d.tmp").touch()  # or was killed there
    study.refuse_other()

    def overtaken(folder, mark):
        """While the folder is listed, the other process marks it and goes on."""
        (folder / mark).write_text("{}")
        return folder / "runs"

    monkeypatch.setattr("trunkline.studies.study.foreign_entry", overtaken)
    study.refuse_other()


def test_a_folder_of_something_else_is_left_alone(tiny_trunk_dir, rows, tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(BadInput, match=r"is not a study, but contains 'mine.txt'; expected a new or empty folder"):
        Study(Plan(study_of(values(tiny_trunk_dir, rows))), tmp_path).train()
    assert os.listdir(tmp_path) == ["mine.txt"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"trunks": ["minilm"]}, "trunks: given together with trunk"),
        ({"method": "lora"}, "method"),
        ({"sweep": {"space": {}}}, "sweep: found the config of a sweep, expected that of a study; trunkline sweep takes it"),
        ({"study": {"sizes": ["all", "all"]}}, "found 'all' twice"),
        ({"study": {"seeds": 0}}, "study.seeds"),
        ({"study": {"margin": 0}}, "study.margin"),
        ({"study": {"tune": {"learning_rate": []}}}, "study.tune.learning_rate"),
        ({"study": {"tune": {"learning_rat": [1]}}}, "learning_rat"),
        ({"study": {"tune": {"method.dimm": [1]}}}, "dimm"),
        ({"study": {"sizes": [1000]}}, "^config: study.sizes: found 1000, but .* has 72 rows to train on"),
        ({"study": {"sizes": [2.5]}}, "study.sizes.0: found 2.5, expected a whole number or a string"),
        ({"study": {"seeds": [1, 2, 1]}}, "study.seeds: found 1 twice, expected each once"),
        ({"study": {"seeds": 10**8}}, "study.seeds: found 100000000, expected a number less than or equal to 10000"),
        ({"methods": {"probe": {"seeds": [4, 4]}}}, "methods.probe.seeds: found 4 twice"),
        ({"methods": {"probe": {"seeds": 0}}}, "methods.probe.seeds: found 0, expected a number greater"),
        (
            {"training": {"seed": 2**32 - 1}},
            "training.seed: found 4294967295, expected at most 4294967294, as there are 2 seeds",
        ),
        ({"training": {"seed": "x"}}, "training.seed: found 'x', expected a whole number from 0 to 4294967295"),
        ({"study": {"tune": {"learning_rate": [1e-3, "1e-3"]}}}, "study.tune.learning_rate: found 0.001 twice"),
        ({"study": {"tune": {"seed": [1, 2]}}}, "study.tune.seed: found a key that must be the same for all runs"),
        ({"study": {"tune": {"data.test": ["10%", "20%"]}}}, "study.tune.data.test: found a key that must be the same"),
        (
            {"methods": {"probe": {"each": {"tasks.mood.metric": ["f1"]}}}},
            "methods.probe.each.tasks.mood.metric: found a key that",
        ),
        (
            {"methods": {"probe": {"each": {"method": {"layer": "every"}}}}},
            "methods.probe.each.method: found a mapping, expected",
        ),
        ({"study": {"tune": {"learning_rate": [*range(1, 200)], "weight_decay": [*range(200)]}}}, "found 39,800 combinations"),
        ({"study": {"regimes": ["foo"]}}, "study.regimes.0: found 'foo', expected 'separate'"),
        ({"study": {"regimes": ["joint"]}, "methods": ["probe"]}, "no method has one of these"),
        ({"methods": {"a": {"method": "probe"}, "b": {"method": "probe"}}}, "b and a are the same"),
        ({"methods": {"a/b": {"method": "probe"}}}, "a/b"),
        ({"methods": {}}, "methods"),
        ({"methods": ["nothing"]}, "nothing"),
        ({"methods": {"a": {"method": {"name": "single_layer", "layer": 9}}}}, "9"),
        ({"tasks": {"mood": {"kind": "sequence", "label": "label", "metric": "bleu"}}}, "bleu"),
        ({"tasks": {"mood": {"kind": "sequence", "label": "label", "metric": "loss"}}}, "found loss, expected a metric"),
        ({"data": {"train": "rows.jsonl"}}, "data.test: not given"),
    ],
)
def test_bad_studies_are_refused_in_a_sentence_before_anything_runs(
    change, message, tiny_trunk_dir, rows, tmp_path, monkeypatch
):
    monkeypatch.chdir(rows.parent)
    with pytest.raises(BadInput, match=message) as caught:
        check(Plan(study_of({**values(tiny_trunk_dir, rows), **change})))
    assert "\n" not in str(caught.value)


def test_units_hold_what_can_be_trained_together(tiny_trunk_dir, rows):
    plan = Plan(study_of(values(tiny_trunk_dir, rows)))
    first, *rest = units(plan.searches())
    assert first.stacked and len(first.runs) == 8  # four side branches, two rates
    assert [len(unit.runs) for unit in rest] == [1, 1] and not any(unit.stacked for unit in rest)
    assert len({json.dumps(run.config.as_dict()["data"]) for run in plan.searches()}) == 1


def test_the_choice_is_the_best_mean_over_tasks_where_more_may_be_worse():
    def found(f1, mae):
        return {
            "a": {"monitor": "f1", "validation": {"f1": f1}},
            "b": {"monitor": "mae", "validation": {"mae": mae}},
        }

    assert choose({0: found(0.5, 0.3), 1: found(0.6, 0.3), 2: found(0.6, 0.5)}) == 1
    assert choose({0: found(0.9, None), 1: found(0.1, 0.3)}) == 1  # a score that is not there is worse than any
    assert choose({}) is None
